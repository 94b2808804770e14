"""The commands `gemini-nb demo` and `gemini-nb simulator`.

Opening the notebooks with a plain `jupyter lab notebooks/` goes wrong in small ways: saving changes the
checkout, a `python3` kernel of another environment may answer, a config file of the user may have switched
the token off or moved the server to a public address, and Ctrl-C asks a question that is not seen. So the
demo runs on copies, with configuration, data and settings of its own in a temporary folder, keeps Jupyter's
token and cross-site check, and removes the folder at the end. Notebooks whose cells were changed are kept.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import gemini_nb
from gemini_nb.errors import GeminiError, did_you_mean

FIRST_NOTEBOOK = "quickstart.ipynb"
SHUTDOWN_SECONDS = 15.0
_KERNEL = "Python 3 (gemini_nb demo)"


class _DemoError(Exception):
    """Something that keeps the demo from starting, in one sentence."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    parser = _parser()
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        known = [f"--{name.replace('_', '-')}" for name in vars(arguments)]
        meant = did_you_mean(unknown[0].partition("=")[0], known)
        parser.error(f"unrecognized arguments: {' '.join(unknown)}. {meant}".rstrip())
    try:
        if arguments.command == "demo":
            return _demo(arguments)
        return _simulator(arguments)
    except (_DemoError, GeminiError, OSError) as error:
        sys.stderr.write(f"gemini-nb {arguments.command}: {error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gemini-nb", description="Stream Gemini answers into notebook panes."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="open the notebooks in JupyterLab, with simulated answers")
    demo.add_argument("--port", type=int, help="port of the JupyterLab server (default: a free one)")
    demo.add_argument("--no-browser", action="store_true", help="print the address, open nothing")
    demo.add_argument(
        "--lab-args",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="…",
        help="all that follows goes to JupyterLab",
    )
    simulator = commands.add_parser("simulator", help="run the Gemini-compatible server by itself")
    simulator.add_argument("--port", type=int, default=8765, help="port on 127.0.0.1 (default: %(default)s)")
    simulator.add_argument("--key", help="the API key that is accepted (default: any)")
    simulator.add_argument(
        "--pace", type=float, default=1.0, help="what the pauses in an answer are multiplied by"
    )
    simulator.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="SPEC",
        help="what goes wrong with the next request to the model, such as 503~retry-after=2 or"
        " cut=3~how=rst~times=2; give it once for each request",
    )
    simulator.add_argument(
        "--recordings", metavar="FILE", help="play back the kept answers of this file or folder"
    )
    simulator.add_argument("--list-faults", action="store_true", help="describe the faults and leave")
    return parser


def _version() -> str:
    try:
        return importlib.metadata.version("gemini-nb")
    except importlib.metadata.PackageNotFoundError:
        return "from a checkout that is not installed"


# ------------------------------------------------------------------------------------------- the simulator


def _simulator(arguments: argparse.Namespace) -> int:
    if arguments.list_faults:
        from gemini_nb.simulator import faults

        _say((faults.__doc__ or "").rstrip())
        return 0
    from gemini_nb.simulator import serve  # the demo does not need the server in this process

    with contextlib.suppress(KeyboardInterrupt):
        serve(
            port=arguments.port,
            api_key=arguments.key,
            pace=arguments.pace,
            faults=arguments.fault or None,
            recordings=arguments.recordings,
        )
    return 0


# ------------------------------------------------------------------------------------------------ the demo


def _demo(arguments: argparse.Namespace) -> int:
    missing = [name for name in ("jupyterlab", "ipykernel") if importlib.util.find_spec(name) is None]
    if missing:
        raise _DemoError(f'{missing[0]} is not installed: pip install "gemini-nb[demo]"')
    shipped = _shipped_notebooks()
    port = arguments.port or _free_port()
    with _stopped_by_signals(), _temporary_folder(shipped) as folder:
        environment = demo_environment(os.environ, folder)
        _say(f"The notebooks are copies in {folder / 'notebooks'}, removed at the end if no cell changed.")
        if environment["GEMINI_NB_AUTH"] == "simulator":
            _say("The answers are simulated: no key is used and nothing leaves this machine.")
        _say("The address with its token follows. Ctrl-C ends the demo.")
        command = lab_command(
            folder,
            port,
            fixed_port=bool(arguments.port),
            browser=not arguments.no_browser,
            extra=arguments.lab_args,
        )
        return _run(command, environment, folder / "notebooks")


def _shipped_notebooks() -> Path:
    """A wheel carries the notebooks inside the package; in a checkout they stand beside it."""
    package = Path(gemini_nb.__file__).parent
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if (folder / FIRST_NOTEBOOK).is_file():
            return folder
    raise _DemoError("the notebooks are missing from this installation: reinstall gemini-nb")


def lab_command(
    folder: Path, port: int, *, fixed_port: bool, browser: bool, extra: Sequence[str]
) -> list[str]:
    """Say how JupyterLab is started; only `extra` can weaken what protects its server."""
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        f"--ServerApp.root_dir={folder / 'notebooks'}",
        f"--LabApp.default_url=/lab/tree/{FIRST_NOTEBOOK}",
        "--Application.log_level=WARN",
    ]
    if fixed_port:  # a port that we chose may be taken by another process, and then Jupyter tries the next
        command.append("--ServerApp.port_retries=0")
    if not browser:
        command.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    return [*command, *extra]


def demo_environment(base: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Give JupyterLab `base` with folders of its own, this environment's kernel and simulated answers.

    Data folders of `base` are still searched, but after the private one, whose `python3` kernel is this
    Python. A token that the environment sets is left out: Jupyter makes a random one and prints it.
    """
    environment = {k: v for k, v in base.items() if k not in {"JUPYTER_TOKEN", "JUPYTER_TOKEN_FILE"}}
    private = folder / "jupyter"
    environment["GEMINI_NB_AUTH"] = base.get("GEMINI_NB_AUTH") or "simulator"
    environment["JUPYTER_CONFIG_DIR"] = str(private / "config")
    environment["JUPYTER_DATA_DIR"] = str(private / "data")
    environment["JUPYTER_RUNTIME_DIR"] = str(private / "runtime")
    environment["JUPYTERLAB_SETTINGS_DIR"] = str(private / "settings")
    environment["JUPYTERLAB_WORKSPACES_DIR"] = str(private / "workspaces")
    environment["IPYTHONDIR"] = str(private / "ipython")
    others = base.get("JUPYTER_PATH")
    environment["JUPYTER_PATH"] = os.pathsep.join([str(private / "data"), *([others] if others else [])])
    return environment


def _run(command: list[str], environment: dict[str, str], folder: Path) -> int:
    """Run JupyterLab until it ends or a signal ends us; 0 when the user ended it.

    On Ctrl-C JupyterLab asks whether it is meant, if it can read the terminal. So it gets neither the
    terminal's input nor its session; SIGTERM it obeys at once, and takes its kernels along.
    """
    process = subprocess.Popen(  # noqa: S603 - our own interpreter, with the user's own arguments
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        return process.wait()
    except KeyboardInterrupt:
        _say("\nEnding the demo.")
        return 0
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(SHUTDOWN_SECONDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            process.wait()


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let a closed terminal and `kill` end the demo as Ctrl-C does, with the folder cleaned up."""
    signals = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {number: signal.signal(number, signal.default_int_handler) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _temporary_folder(shipped: Path) -> Iterator[Path]:
    """Make a folder with copies of the notebooks, a kernel and settings; keep only what was changed."""
    folder = Path(tempfile.mkdtemp(prefix="gemini-nb-demo-"))
    copies = folder / "notebooks"
    try:
        shutil.copytree(shipped, copies, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
        fit_to_kernel(copies, _KERNEL)
        _write_json(
            folder / "jupyter/data/kernels/python3/kernel.json",
            {
                "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                "display_name": _KERNEL,
                "language": "python",
                "metadata": {"debugger": True},
            },
        )
        _write_json(  # without it JupyterLab asks whether to fetch news from the internet
            folder / "jupyter/settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings",
            {"fetchNews": "false", "checkForUpdates": False},
        )
        yield folder
    finally:
        shutil.rmtree(folder / "jupyter", ignore_errors=True)
        changed = changed_files(shipped, copies)
        if changed:
            _say(f"Kept in {copies}, because you changed or added them: {', '.join(changed)}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def fit_to_kernel(folder: Path, display_name: str) -> None:
    """Write into notebooks what JupyterLab notes of their kernel, down to the version of its Python.

    JupyterLab does so itself as soon as the kernel has answered, and then marks as unsaved a notebook
    that the user has not touched.

    Args:
        folder: where the notebooks are; what cannot be read there stays as it is.
        display_name: of this environment's kernel, as Jupyter lists it.
    """
    from ipykernel.ipkernel import IPythonKernel

    kernel = {"display_name": display_name, "language": "python", "name": "python3"}
    for path in folder.rglob("*.ipynb"):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            notebook = json.loads(path.read_bytes())
            notebook["metadata"] |= {"kernelspec": kernel, "language_info": IPythonKernel.language_info}
            _write_json(path, notebook)


def changed_files(shipped: Path, copies: Path) -> list[str]:
    """Name the files that differ from the shipped ones; the outputs of a notebook do not count."""
    changed = []
    for path in sorted(copies.rglob("*")):
        name = path.relative_to(copies)
        if path.is_dir() or ".ipynb_checkpoints" in name.parts or "__pycache__" in name.parts:
            continue
        if not (shipped / name).is_file() or _substance(path) != _substance(shipped / name):
            changed.append(name.as_posix())
    return changed


def _substance(path: Path) -> object:
    """Return what the user wrote into the file: a notebook's cells, or every byte of anything else."""
    content = path.read_bytes()
    if path.suffix == ".ipynb":
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(content)["cells"]]
    return content


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
