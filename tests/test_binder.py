"""What Binder would make of this repository, without Docker: its own tool names the steps, and they are run.

repo2docker is asked for its Dockerfile. The base environment's packages, at the versions of its lock file, go
into a fresh environment, then every step that comes after the repository was copied is run as it is written.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest

from lab import Browser, LabPage, LabServer

ROOT = Path(__file__).parent.parent
REPOSITORY_COPIED = "COPY --chown=0:0 src/ ${REPO_DIR}/"
# Packages of conda's that have another name on PyPI, or none at all.
OTHER_NAMES = {"jupyterhub-singleuser": "jupyterhub"}
NOT_PYTHONS = {"conda-forge", "python", "nodejs", "pip"}
# Asked of the model: the page holds the cells that are in sight only.
SETTLED = """answers => {
  const cells = window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells;
  const code = cells.filter(cell => cell.cell_type === 'code');
  const outputs = code.flatMap(cell => cell.getOutputs());
  return code.every(cell => cell.execution_count !== null)
    && outputs.filter(output => output.data?.['text/markdown']).length === answers;
}"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@dataclass(frozen=True, slots=True)
class Image:
    """What would be in the image.

    Attributes:
        home: where the repository is.
        environment: the variables that its processes see, and no others.
        start: what goes in front of every command.
        python: the version that runs, such as "3.12".
        wanted: the version that Binder would run.
    """

    home: Path
    environment: dict[str, str]
    start: str
    python: str
    wanted: str

    def command(self, *words: str) -> list[str]:
        return [self.start, *words]


def run(*command: str, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}"
    return done.stdout


def find_python(version: str) -> str:
    """The interpreter of this version, or the one that runs the tests."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [shutil.which(f"python{version}"), *map(str, pyenv.glob(f"versions/{version}*/bin/python"))]
    for path in filter(None, found):
        with suppress(OSError, subprocess.CalledProcessError):  # a shim may stand for nothing
            subprocess.run([path, "-c", "import ensurepip, venv"], check=True, capture_output=True)
            return path
    return sys.executable


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a git checkout, so there is nothing to clone")
    folder = tmp_path_factory.mktemp("binder")
    home = folder / "home"
    run("git", "clone", "--quiet", f"file://{ROOT}", str(home), cwd=folder)
    tools = folder / "tools"
    run(sys.executable, "-m", "venv", str(tools), cwd=folder)
    run(str(tools / "bin/pip"), "install", "-q", "jupyter-repo2docker", "setuptools", cwd=folder)
    said = run(str(tools / "bin/jupyter-repo2docker"), "--no-build", "--debug", ".", cwd=home)
    wanted = re.search(r"Building conda environment for python=(\d+\.\d+)", said)
    assert wanted is not None, said
    steps = said.partition(REPOSITORY_COPIED)[2].splitlines()
    assert steps, said

    python = find_python(wanted[1])
    prefix = folder / "environment"
    run(python, "-m", "venv", str(prefix), cwd=folder)
    pip = str(prefix / "bin/pip")
    packages, versions = base_packages(tools, wanted[1])
    (folder / "versions.txt").write_text("\n".join(versions))
    run(pip, "install", "-q", "-c", "versions.txt", *packages, cwd=folder)
    environment = {
        "HOME": str(home),
        "REPO_DIR": str(home),
        "NB_USER": "jovyan",
        "USER": "jovyan",
        "LANG": "C.UTF-8",
        "SHELL": "/bin/bash",
        "KERNEL_PYTHON_PREFIX": str(prefix),
        "NB_PYTHON_PREFIX": str(prefix),
        "PATH": os.pathsep.join([str(prefix / "bin"), "/usr/local/bin", "/usr/bin", "/bin"]),
    }
    of_pip = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
    for step in steps:
        if step.startswith("RUN "):
            run("bash", "-c", step.removeprefix("RUN "), cwd=home, env={**environment, **of_pip})
    [start] = [line for line in steps if line.startswith("ENV R2D_ENTRYPOINT=")]
    path = start.partition("=")[2].strip('"').replace("${REPO_DIR}", str(home))
    version = run(
        str(prefix / "bin/python"), "-c", "import sys; print('%d.%d' % sys.version_info[:2])", cwd=home
    )
    return Image(home, {**environment, "R2D_ENTRYPOINT": path}, path, version.strip(), wanted[1])


def base_packages(tools: Path, version: str) -> tuple[list[str], list[str]]:
    """What repo2docker puts into every image, and the versions of its lock file that PyPI has, too."""
    [folder] = tools.glob("lib/python*/site-packages/repo2docker/buildpacks/conda")
    lock = (folder / f"environment.py-{version}-linux-64.lock").read_text()
    locked = dict(re.findall(r"/([^/]+)-([^-/]+)-[^-/]+\.conda#", lock))
    listed = re.findall(r"^- ([\w-]+)", (folder / f"environment.py-{version}.yml").read_text(), re.MULTILINE)
    names = [OTHER_NAMES.get(name, name) for name in listed if name not in NOT_PYTHONS]
    assert "jupyterlab" in names
    return names, [
        f"{OTHER_NAMES.get(name, name)}=={version}" for name, version in locked.items() if name[0] != "_"
    ]


def test_the_environment_has_binders_python(image: Image) -> None:
    assert image.wanted == "3.12"
    if image.python != image.wanted:
        pytest.skip(f"no Python {image.wanted} here: Binder's environment was tried with {image.python}")


def test_no_environment_of_ours_stands_in_the_way(image: Image) -> None:
    """An environment.yml would have the others ignored; a key has no place in a public image."""
    assert sorted(path.name for path in (image.home / "binder").iterdir()) == [
        "postBuild",
        "requirements.txt",
        "runtime.txt",
        "start",
    ]
    shown = run(*image.command("env"), cwd=image.home, env=image.environment)
    assert "GEMINI_NB_AUTH=simulator" in shown
    assert "API_KEY" not in shown


def test_the_quickstart_runs_in_binders_environment(image: Image, tmp_path: Path) -> None:
    done = tmp_path / "done.ipynb"
    words = ["jupyter", "nbconvert", "--to", "notebook", "--execute", f"--output={done}", "quickstart.ipynb"]
    run(*image.command(*words), cwd=image.home / "notebooks", env=image.environment)
    notebook = nbformat.read(done, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not any(output.output_type == "error" for output in outputs)
    answers = [
        output.data["text/markdown"] for output in outputs if "text/markdown" in output.get("data", {})
    ]
    assert len(answers) == 2
    assert all("simulated" in answer for answer in answers)
    where = "import gemini_nb; print(gemini_nb.__file__)"
    assert "site-packages" in run(
        *image.command("python", "-c", where), cwd=image.home / "notebooks", env=image.environment
    )


@contextmanager
def serving(image: Image, server: LabServer) -> Iterator[None]:
    words = ["jupyter", "lab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1"]
    words += [f"--ServerApp.port={server.url.rpartition(':')[2]}", "--ServerApp.port_retries=0"]
    words += [f"--ServerApp.root_dir={image.home}", "--IdentityProvider.token="]
    words += ["--ServerApp.disable_check_xsrf=True", "--LabApp.expose_app_in_browser=True"]
    with server.log.open("wb") as log:
        process = subprocess.Popen(
            image.command(*words), cwd=image.home, env=image.environment, stdout=log, stderr=log
        )
    try:
        end = time.monotonic() + 60
        while True:
            with suppress(OSError):
                server.request("GET", "/api/status")
                break
            assert process.poll() is None, server.log.read_text()
            assert time.monotonic() < end, server.log.read_text()
            time.sleep(0.1)
        yield
        server.end_sessions()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@pytest.mark.browser
def test_the_page_that_the_badge_opens_loads_nothing_from_elsewhere(
    image: Image, browser: Browser, tmp_path: Path
) -> None:
    server = LabServer(tmp_path / "lab")
    asked: list[str] = []
    with serving(image, server), browser.active():
        context = browser.chromium.new_context(viewport={"width": 1280, "height": 1400})
        context.on("request", lambda request: asked.append(request.url))
        page = LabPage(server, context.new_page(), "quickstart.ipynb")
        page.page.on("websocket", lambda socket: asked.append(socket.url))
        page.page.goto(f"{server.url}/lab/tree/notebooks/quickstart.ipynb", timeout=60_000)
        page._wait_connected(idle=True)
        page.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
        page.page.wait_for_function(SETTLED, arg=2, timeout=120_000)
        dialogs = page.page.locator(".jp-Dialog").count()
        page.screenshot("binder")
        page.close()
    hosts = {urlsplit(url).hostname for url in asked if not url.startswith(("data:", "blob:"))}
    assert len(asked) > 20
    assert hosts == {"127.0.0.1"}
    assert dialogs == 0
    assert not page.errors
