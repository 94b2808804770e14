from __future__ import annotations

import http.client
import http.cookies
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import gemini_nb
from demo import Demo
from gemini_nb import cli


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with Demo(tmp_path_factory.mktemp("demo")) as demo:
        yield demo
        assert demo.end(signal.SIGTERM) == 0
        assert list(demo.temporary.iterdir()) == []


def test_nobody_gets_in_without_the_token(demo: Demo) -> None:
    for method, path in (("GET", "/api/contents"), ("GET", "/api/kernels"), ("POST", "/api/kernels")):
        with demo.request(method, path) as response:
            assert response.status == 403
    with demo.request("GET", "/api/contents", {"Authorization": "token known-to-everybody"}) as response:
        assert response.status == 403
    with demo.request("GET", "/lab") as response:
        assert response.status == 302
        assert "/login" in (response.headers["Location"] or "")
    with demo.request("GET", "/api/contents", {"Host": "attacker.example"}) as response:
        assert response.status == 403


def test_another_site_cannot_use_the_cookie(demo: Demo) -> None:
    with demo.request("GET", f"/lab?token={demo.token}") as response:
        jar = http.cookies.SimpleCookie()
        for header in response.headers.get_all("Set-Cookie") or []:
            jar.load(header)
    cookie = {"Cookie": "; ".join(f"{name}={morsel.value}" for name, morsel in jar.items())}
    with demo.request("GET", "/api/contents", cookie) as response:
        assert response.status == 200
    with demo.request("POST", "/api/kernels", cookie) as response:
        assert response.status == 403
        assert b"_xsrf" in response.read()


def test_the_kernel_is_the_one_that_has_the_extension(demo: Demo) -> None:
    specs = demo.as_person("GET", "/api/kernelspecs")
    assert isinstance(specs, dict)
    assert specs["default"] == "python3"
    assert specs["kernelspecs"]["python3"]["spec"]["argv"][0] == sys.executable


@pytest.mark.slow
def test_ctrl_c_ends_it_without_a_question_and_leaves_nothing(tmp_path: Path) -> None:
    with Demo(tmp_path) as demo:
        kernel = demo.as_person("POST", "/api/kernels")
        assert isinstance(kernel, dict)
        (folder,) = demo.temporary.glob("gemini-nb-demo-*")
        assert str(folder / "notebooks") in demo.lines[0]
        assert (folder / "notebooks/quickstart.ipynb").is_file()
        connection = json.loads((folder / f"jupyter/runtime/kernel-{kernel['id']}.json").read_text())

        assert demo.end(signal.SIGINT) == 0
        assert list(demo.temporary.iterdir()) == []
        assert "y/[n]" not in "".join(demo.lines)
        for port in (demo.port, connection["shell_port"]):
            with pytest.raises(ConnectionRefusedError):
                http.client.HTTPConnection("127.0.0.1", port, timeout=5).connect()


@pytest.mark.parametrize("browser", [True, False])
@pytest.mark.parametrize("fixed_port", [True, False])
def test_no_flag_opens_the_server(tmp_path: Path, browser: bool, fixed_port: bool) -> None:
    command = cli.lab_command(tmp_path, 8888, fixed_port=fixed_port, browser=browser, extra=["--dev-mode"])
    text = " ".join(command).lower()
    assert not re.search(
        r"token|password|xsrf|allow_origin|allow_remote|allow_unauthenticated|0\.0\.0\.0", text
    )
    assert "--ServerApp.ip=127.0.0.1" in command
    assert ("--no-browser" in command) is not browser
    assert ("--ServerApp.port_retries=0" in command) is fixed_port
    assert command[-1] == "--dev-mode"


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="there is no root user here")
@pytest.mark.parametrize(("user", "allowed"), [(0, True), (1000, False)])
def test_root_is_allowed_only_to_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, allowed: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    command = cli.lab_command(tmp_path, 8888, fixed_port=False, browser=True, extra=[])
    assert ("--allow-root" in command) is allowed


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "simulator"),
        ({"GEMINI_NB_AUTH": ""}, "simulator"),
        ({"GEMINI_API_KEY": "made-up"}, "simulator"),
        ({"GEMINI_API_KEY": "made-up", "GEMINI_NB_AUTH": "gemini"}, "gemini"),
    ],
)
def test_a_key_alone_does_not_send_the_demo_to_google(
    tmp_path: Path, given: dict[str, str], expected: str
) -> None:
    environment = cli.demo_environment(given, tmp_path)
    assert environment["GEMINI_NB_AUTH"] == expected
    assert environment.get("GEMINI_API_KEY") == given.get("GEMINI_API_KEY")
    private = [value for name, value in environment.items() if name.startswith(("JUPYTER", "IPYTHON"))]
    assert len(private) == 7
    assert all(Path(value).is_relative_to(tmp_path) for value in private)


def test_only_what_a_person_changed_is_kept(tmp_path: Path) -> None:
    shipped, copies = tmp_path / "shipped", tmp_path / "copies"

    def write(folder: Path, source: str, outputs: list[str]) -> None:
        folder.mkdir(exist_ok=True)
        cell = {"cell_type": "code", "source": [source], "outputs": outputs}
        (folder / "a.ipynb").write_text(json.dumps({"cells": [cell]}))

    write(shipped, "1 + 1", [])
    write(copies, "1 + 1", ["2"])
    (copies / ".ipynb_checkpoints").mkdir()
    (copies / ".ipynb_checkpoints/a-checkpoint.ipynb").write_text("anything")
    assert cli.changed_files(shipped, copies) == []
    write(copies, "1 + 2", [])
    (copies / "mine.py").write_text("x = 1")
    assert cli.changed_files(shipped, copies) == ["a.ipynb", "mine.py"]
    (copies / "a.ipynb").write_text("{half saved")
    assert "a.ipynb" in cli.changed_files(shipped, copies)


def test_a_missing_jupyterlab_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "jupyterlab" else find(name)
    )
    assert cli.main(["demo"]) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert 'pip install "gemini-nb[demo]"' in message


def test_the_simulator_gets_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, object]] = []
    module = types.ModuleType("gemini_nb.simulator")
    monkeypatch.setattr(module, "serve", lambda **settings: calls.append(settings), raising=False)
    monkeypatch.setitem(sys.modules, "gemini_nb.simulator", module)
    assert cli.main(["simulator"]) == 0
    assert cli.main(["simulator", "--port", "9000", "--key", "made-up", "--pace", "2"]) == 0
    assert cli.main(["simulator", "--fault", "503~retry-after=2", "--fault", "cut=3"]) == 0
    assert cli.main(["simulator", "--recordings", "here"]) == 0
    default = {"port": 8765, "api_key": None, "pace": 1.0, "faults": None, "recordings": None}
    assert calls == [
        default,
        {**default, "port": 9000, "api_key": "made-up", "pace": 2.0},
        {**default, "faults": ["503~retry-after=2", "cut=3"]},
        {**default, "recordings": "here"},
    ]


def test_a_taken_port_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["simulator", "--port", str(port)]) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert str(port) in message


def test_the_simulator_serves_until_ctrl_c() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "gemini_nb.cli", "simulator", "--port", "0", "--key", "made-up"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
        assert address is not None
        for key, status in (("made-up", 200), ("another", 400)):
            connection = http.client.HTTPConnection("127.0.0.1", int(address[1]), timeout=30)
            connection.request(
                "GET", "/v1beta/models", headers={"x-goog-api-key": key, "Connection": "close"}
            )
            assert connection.getresponse().status == status
            connection.close()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"gemini-nb {gemini_nb.__version__}\n"


def test_a_mistyped_option_is_asked_about(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["simulator", "--prot", "1"])
    assert ended.value.code == 2
    assert "unrecognized arguments: --prot 1. Did you mean --port?" in capsys.readouterr().err


def test_copies_say_of_their_kernel_what_jupyterlab_would(tmp_path: Path) -> None:
    shipped = tmp_path / "a.ipynb"
    shipped.write_text(json.dumps({"cells": [], "metadata": {"mine": 1, "kernelspec": {"name": "r"}}}))
    (tmp_path / "broken.ipynb").write_text("{")
    cli.fit_to_kernel(tmp_path, "Python 3 (another)")
    metadata = json.loads(shipped.read_text())["metadata"]
    assert metadata["mine"] == 1
    assert metadata["kernelspec"] == {
        "display_name": "Python 3 (another)",
        "language": "python",
        "name": "python3",
    }
    assert metadata["language_info"]["version"] == sys.version.split()[0]
    assert (tmp_path / "broken.ipynb").read_text() == "{"
