"""A Gemini-compatible server in this process, or in the foreground of a command."""

from __future__ import annotations

import atexit
import math
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from gemini_nb.config import real_number, whole_number
from gemini_nb.errors import CallerError, ConfigError
from gemini_nb.redaction import excerpt_of
from gemini_nb.simulator.faults import FaultPlan, FaultSource
from gemini_nb.simulator.recordings import Recordings
from gemini_nb.simulator.requests import Request
from gemini_nb.simulator.service import Scenario, Service
from gemini_nb.simulator.storage import CacheStore, FileStore

if TYPE_CHECKING:
    from gemini_nb.simulator.server import Server

__all__ = ["Simulator", "serve"]


class Simulator:
    """A real HTTP server on 127.0.0.1 that speaks Gemini's protocol and answers from scenarios.

        with Simulator() as simulator:
            client = genai.Client(api_key="any", http_options={"base_url": simulator.base_url})

    Args:
        api_key: the key (or, on the URLs of Vertex AI, the bearer token) that is accepted; None takes any
            that is not empty. One is always demanded.
        port: the port to listen on, 0 for any that is free.
        pace: what delays are multiplied by: 1 is as slow as a model, 0 as fast as the machine.
        seed: decides, with the prompt, what is made up; the same prompt gets the same answer.
        scenario: called with the request body and the model's id in place of the built-in scenarios. It
            returns an iterable of whole chunks (sent as they are), delays in seconds (times `pace`), bytes
            (sent raw) and `threading.Event` objects (waited for). It runs on the server's loop and must not
            block.
        verify: whether thought signatures are checked when they come back; None checks those of the built-in
            scenarios only.
        faults: what goes wrong with the requests to the model, one fault for each in order: an iterable of
            `Fault`, spec ("503~retry-after=2") or None, after whose end nothing goes wrong; a mapping from
            the request's number, from 0; or what is called with that number and the request. It runs on the
            server's loop and must not block. Requests that are refused for their key or their JSON do not
            count, nor do those with a fault in the model's id. Which faults there are, and how a model's id
            has one, is written in `gemini_nb.simulator.faults`.
        file_faults: the same for the requests to the Files API. A piece of an upload whose connection is
            reset is taken by half; one whose connection is closed is taken, and its answer lost.
        recordings: a file or folder of kept answers. It answers in place of scenarios, with its own timing
            times `pace`: a request gets the answer that was kept for it.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        port: int = 0,
        pace: float = 1.0,
        seed: int = 0,
        scenario: Scenario | None = None,
        verify: bool | None = None,
        faults: FaultSource = None,
        file_faults: FaultSource = None,
        recordings: str | os.PathLike[str] | None = None,
    ) -> None:
        if scenario is not None and recordings is not None:
            raise ConfigError("A simulator answers from a scenario or from recordings.", hint="Give one.")
        if api_key is not None and (not isinstance(api_key, str) or not api_key.strip()):
            raise ConfigError(
                "The simulator's api_key is text, and not empty.", hint="Leave it out to accept any key."
            )
        factor, number = real_number(pace), whole_number(port)
        if factor is None or not 0 <= factor < math.inf:
            raise ConfigError(f"pace is what pauses are multiplied by, 0 or more, not {excerpt_of(pace)}.")
        if number is None or not 0 <= number < 2**16:
            raise ConfigError(f"port is a whole number to 65,535, 0 for a free one, not {excerpt_of(port)}.")
        self._port = number
        self._lock = threading.Lock()
        self._server: Server | None = None
        self._service = Service(
            api_key=api_key,
            pace=factor,
            seed=seed,
            scenario=scenario,
            verify=scenario is None if verify is None else verify,
            plan=FaultPlan(faults),
            file_plan=FaultPlan(file_faults),
            recordings=None if recordings is None else Recordings(Path(recordings)),
        )

    @property
    def api_key(self) -> str | None:
        """The key it accepts, None where it takes any."""
        return self._service.api_key

    @property
    def base_url(self) -> str:
        """Where it listens, such as "http://127.0.0.1:8765".

        Raises:
            CallerError: it is not running.
        """
        return f"http://127.0.0.1:{self._running_server().port}"

    def _running_server(self) -> Server:
        if (server := self._server) is None:
            raise CallerError("The simulator is not running.", hint="Call start(), or use a with statement.")
        return server

    @property
    def requests(self) -> list[Request]:
        """The requests that arrived so far, in order; of more than 1,000, or of more than 64 MB, the newest.

        Of a text with more than 256 K characters, such as a file's data, size and hash are kept.
        """
        return self._service.record.newest()

    @property
    def request_count(self) -> int:
        """How many requests arrived so far, those included that are no longer remembered."""
        return self._service.record.count

    @property
    def faults(self) -> FaultSource:
        """What goes wrong with the requests to the model. Set it at any time; numbers begin at 0 again."""
        return self._service.plan.source

    @faults.setter
    def faults(self, source: FaultSource) -> None:
        self._service.plan = FaultPlan(source)

    @property
    def files(self) -> FileStore:
        """What was uploaded to it, and what becomes of the next files."""
        return self._service.files

    @property
    def caches(self) -> CacheStore:
        """What was cached at it."""
        return self._service.caches

    @property
    def file_faults(self) -> FaultSource:
        """What goes wrong with the requests to the Files API; to be set as `faults` is."""
        return self._service.file_plan.source

    @file_faults.setter
    def file_faults(self, source: FaultSource) -> None:
        self._service.file_plan = FaultPlan(source)

    @property
    def running(self) -> bool:
        """Whether it is serving."""
        return self._server is not None and self._server.thread.is_alive()

    @property
    def open_answers(self) -> int:
        """How many answers are being written now."""
        return len(self._server.running) if self._server is not None else 0

    def start(self) -> Self:
        """Bind the port and serve it; a running simulator stays as it is.

        Raises:
            ConfigError: the port is taken or not allowed.
        """
        from gemini_nb.simulator.server import Server  # imports aiohttp

        with self._lock:
            if self._server is None:
                try:
                    self._server = Server(self._service, self._port)
                except (OSError, OverflowError) as error:
                    raise ConfigError(
                        f"The simulator cannot listen on port {self._port}: {error}",
                        hint="Choose another port, or 0 for any that is free.",
                    ) from error
                atexit.register(self.close)
        return self

    def refuse(self, seconds: float) -> None:
        """Refuse connections for so many seconds, as a server does that is started again.

        When this returns, nothing listens on the port and all open connections have been reset. Called again,
        the new time counts from then; 0 ends it at once, and `math.inf` lasts until it is called again.

        Raises:
            CallerError: it is not running.
            ConfigError: the time is negative.
        """
        if not seconds >= 0:
            raise ConfigError(f"A simulator cannot refuse for {seconds!r} seconds.", hint="Give 0 or more.")
        self._running_server().refuse(seconds)

    def close(self) -> None:
        """Cut the answers that are being written and stop serving. Closing twice is fine."""
        with self._lock:
            server = self._server
        if server is not None:  # noted at the end: where an interrupt comes, the next call does the rest
            server.close()
            atexit.unregister(self.close)
            with self._lock:
                if self._server is server:
                    self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        where = self.base_url if self._server is not None else "not running"
        return f"<Simulator {where}, key {'any' if self.api_key is None else '***'}>"


def serve(
    port: int,
    api_key: str | None,
    pace: float,
    faults: FaultSource = None,
    recordings: str | os.PathLike[str] | None = None,
) -> None:
    """Serve in the foreground until Ctrl-C; the arguments are those of `Simulator`."""
    simulated = Simulator(port=port, api_key=api_key, pace=pace, faults=faults, recordings=recordings)
    with simulated as simulator:
        key = "any-key" if api_key is None else "the key you gave"
        kind = "simulated" if recordings is None else "recorded"
        try:
            print(_USAGE.format(url=simulator.base_url, key=key, kind=kind), flush=True)
            while simulator.running:
                threading.Event().wait(0.5)
        except KeyboardInterrupt:
            print("Stopped.", flush=True)


_USAGE = """\
Gemini simulator: {url}
Answers are {kind}. No model is asked and nothing leaves this machine.

In a notebook:
    import gemini_nb
    gemini_nb.get_manager().start_stream("Hello", auth="gemini", base_url="{url}",
                                         credentials={{"api_key": "{key}"}})

With any Gemini client:
    export GOOGLE_GEMINI_BASE_URL={url}
    export GEMINI_API_KEY={key}

Press Ctrl-C to stop."""
