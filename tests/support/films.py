"""What the tests of uploads share: large files that take no space, and streams against one simulator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gemini_nb
from gemini_nb.simulator import Simulator

__all__ = ["KEY", "MB", "Desk", "desk", "film"]

KEY = "a-key-of-the-tests"
MB = 2**20


def film(path: Path, megabytes: int = 21, mark: bytes = b"") -> Path:
    """Make a film of zeros, which is not written to the disk."""
    with path.open("wb") as file:
        file.write(b"\0\0\0\x18ftypmp42" + mark)
        file.truncate(megabytes * MB)
    return path


class Desk:
    """A manager and a simulator that it asks.

    Attributes:
        simulator: the server.
        manager: starts the streams.
    """

    def __init__(self, simulator: Simulator, manager: gemini_nb.StreamManager) -> None:
        self.simulator = simulator
        self.manager = manager

    @property
    def options(self) -> dict[str, Any]:
        return {
            "auth": "gemini",
            "base_url": self.simulator.base_url,
            "credentials": {"api_key": KEY},
            "retry": gemini_nb.RetryPolicy(initial_delay=0.01, max_delay=0.02),
        }

    def ask(self, *contents: Any, **options: Any) -> gemini_nb.Stream:
        return self.manager.start_stream(list(contents), **{**self.options, **options})

    def process(self, stream: gemini_nb.Stream) -> gemini_nb.Stream:
        """Let the service finish with the file once the stream waits for that."""
        assert any(
            isinstance(event, gemini_nb.UploadUpdated) and event.upload.status == "processing"
            for event in stream
        )
        self.simulator.files.finish_processing()
        return stream

    @property
    def commands(self) -> list[str]:
        """What was asked of the Files API, in order."""
        return [
            request.headers.get("x-goog-upload-command", request.method)
            for request in self.simulator.requests
            if "/files" in request.path
        ]

    @property
    def bodies(self) -> list[Any]:
        """The bodies of the model calls."""
        return [request.body for request in self.simulator.requests if "generate" in request.path.lower()]

    def file_data(self) -> dict[str, Any]:
        """The file data of the newest model call."""
        data: dict[str, Any] = self.bodies[-1]["contents"][-1]["parts"][0]["fileData"]
        return data


@contextlib.contextmanager
def desk(**options: Any) -> Iterator[Desk]:
    """Open a desk."""
    with Simulator(**{"pace": 0, **options}) as simulator:
        manager = gemini_nb.StreamManager()
        try:
            yield Desk(simulator, manager)
        finally:
            manager.shutdown()
