"""A running `gemini-nb demo`."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

__all__ = ["ADDRESS", "Demo"]

ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)/lab/tree/quickstart\.ipynb\?token=(\w{32,})")


class Demo:
    """A running `gemini-nb demo`, started by a user with settings that are all wrong for it."""

    def __init__(self, folder: Path, *lab_args: str) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        shadow = folder / "home/.local/share/jupyter/kernels/python3/kernel.json"
        shadow.parent.mkdir(parents=True)
        shadow.write_text(json.dumps({"argv": ["other"], "display_name": "other", "language": "python"}))
        unsafe = folder / "home/.jupyter/jupyter_server_config.json"
        unsafe.parent.mkdir(parents=True)
        unsafe.write_text(json.dumps({"IdentityProvider": {"token": ""}, "ServerApp": {"ip": "0.0.0.0"}}))
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")},
            "HOME": str(folder / "home"),
            "JUPYTER_PATH": str(shadow.parents[2]),
            "JUPYTER_TOKEN": "known-to-everybody",
            "TMPDIR": str(self.temporary),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gemini_nb.cli", "demo", "--no-browser", "--lab-args", *lab_args],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        try:
            self.port, self.token = self._address()
            while self.process.poll() is None:  # Jupyter prints the address a moment before it listens
                with contextlib.suppress(ConnectionRefusedError), self.request("GET", "/api"):
                    break
        except BaseException:
            self.__exit__()
            raise

    def _address(self) -> tuple[int, str]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if match := ADDRESS.search(line):
                return int(match[1]), match[2]
        raise RuntimeError("the demo ended early:\n" + "".join(self.lines))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.end(signal.SIGTERM)

    def request(
        self, method: str, path: str, headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, headers={"Connection": "close", **(headers or {})})
        return connection.getresponse()

    def as_person(self, method: str, path: str) -> object:
        with self.request(method, path, {"Authorization": f"token {self.token}"}) as response:
            assert response.status < 300
            return json.load(response)

    def end(self, number: int) -> int:
        """Send the signal to the whole group, as a terminal does, and return the exit status."""
        os.killpg(self.process.pid, number)
        rest, _ = self.process.communicate(timeout=30)
        self.lines.append(rest)
        return self.process.returncode
