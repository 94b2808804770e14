"""A real ipykernel for tests of magics, panes and background output.

Collecting "the messages of this cell until it is idle" is not enough here: panes go on changing after their
cell has returned, in messages whose parent is that cell or the one that runs now. So every message is filed
as it comes: output with the run that it names, a display update with every output of that id, widget state
with the widget. A `Result` therefore goes on growing while later code runs, as a notebook's output area does.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import zmq
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
from jupyter_core.utils import ensure_event_loop

from ports import free_port

if TYPE_CHECKING:
    from jupyter_client.blocking.client import BlockingKernelClient

__all__ = ["Kernel", "Result", "isolated_environment"]

START_SECONDS = 60.0
OPEN: set[Kernel] = set()
ANSI = re.compile(r"\x1b\[[0-9;]*m")
PRIVATE = ("GEMINI_", "GOOGLE_", "JUPYTER", "IPYTHON", "JPY_", "XDG_DATA_HOME")


def isolated_environment(home: Path) -> dict[str, str]:
    """Give the environment without the user's keys, proxies and Jupyter settings, and `home` as home."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(PRIVATE) and not name.upper().endswith("_PROXY")
    }
    environment["HOME"] = str(home)
    environment["IPYTHONDIR"] = str(home / "ipython")
    for name in ("CONFIG", "DATA", "RUNTIME"):
        environment[f"JUPYTER_{name}_DIR"] = str(home / name.lower())
    return environment


@dataclass(slots=True, eq=False)
class Result:
    """One execute request and everything that came of it so far."""

    status: str = "running"
    """running, then ok, error or aborted."""
    stdout: str = ""
    stderr: str = ""
    outputs: list[dict[str, Any]] = field(default_factory=list)
    """Mime bundles of displays and values, as they look now: updates of a display change its bundle."""
    error_text: str = ""
    """The traceback without colours."""
    messages: list[dict[str, Any]] = field(default_factory=list)
    """Every iopub message of this request."""
    payload: list[dict[str, Any]] = field(default_factory=list)
    """What the page was asked to do beside showing outputs, such as to fill the next cell."""
    answers: list[str] = field(default_factory=list)
    idle: bool = False
    clear_next: bool = False

    @property
    def done(self) -> bool:
        return self.idle and self.status != "running"

    def texts(self) -> list[str]:
        """Give the text/plain form of every output."""
        return [bundle.get("text/plain", "") for bundle in self.outputs]


class Kernel:
    """A running kernel; every method that waits raises TimeoutError, and says so when the kernel died."""

    def __init__(self, folder: Path, env: Mapping[str, str], python: Path | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.widgets: dict[str, dict[str, Any]] = {}
        """The state of every open widget by its model id."""
        self._results: dict[str, Result] = {}
        self._displays: dict[str, list[dict[str, Any]]] = {}
        self._replies: dict[str, dict[str, Any]] = {}
        # No folder is searched for kernels, so `python3` is the interpreter that runs the tests, or another.
        specs = KernelSpecManager(kernel_dirs=[])
        self._manager = KernelManager(
            kernel_name="python3", connection_file=str(folder / "connection.json"), kernel_spec_manager=specs
        )
        self._manager.cache_ports = False  # the manager's own ports may be taken before the kernel has them
        for socket in ("shell", "iopub", "stdin", "hb", "control"):
            setattr(self._manager, f"{socket}_port", free_port())
        if python is not None:
            assert self._manager.kernel_spec is not None
            self._manager.kernel_spec.argv[0] = str(python)
        self._log = (folder / "kernel.log").open("wb")  # stays open: a restart writes to the same file
        self._manager.start_kernel(
            env={**isolated_environment(folder), **env}, cwd=str(folder), stdout=self._log, stderr=self._log
        )
        self._client: BlockingKernelClient = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=START_SECONDS)

    @property
    def pid(self) -> int:
        pid = getattr(self._manager.provisioner, "pid", None)
        assert isinstance(pid, int)
        return pid

    def start(
        self,
        code: str,
        *,
        allow_stdin: bool = True,
        answers: Sequence[str] = (),
        silent: bool = False,
        stop_on_error: bool = True,
        cell_id: str | None = None,
    ) -> Result:
        """Send code and return at once; `finish` waits. Headless runs say `allow_stdin=False`."""
        result = Result(answers=list(answers))
        content = {
            "code": code,
            "silent": silent,
            "store_history": not silent,
            "user_expressions": {},
            "allow_stdin": allow_stdin,
            "stop_on_error": stop_on_error,
        }
        metadata = {} if cell_id is None else {"cellId": cell_id}
        message = self._client.session.msg("execute_request", content, metadata=metadata)
        self._results[message["header"]["msg_id"]] = result
        self._client.shell_channel.send(message)
        return result

    def finish(self, result: Result, timeout: float = 30) -> Result:
        """Wait until this code has been answered and its output has arrived."""
        self.wait_until(lambda: result.done, timeout)
        return result

    def run(self, code: str, timeout: float = 30, **options: Any) -> Result:
        """Run code to its end; options as for `start`."""
        return self.finish(self.start(code, **options), timeout)

    def wait_until(self, condition: Callable[[], bool], timeout: float = 30) -> None:
        """Read messages until the condition holds, such as one on a pane's state in `widgets`."""
        deadline = time.monotonic() + timeout
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"the kernel was waited for in vain for {timeout} s; {self._log_tail()}")
            if not self._read(min(left, 1.0)) and not self._manager.is_alive():
                raise RuntimeError(f"the kernel died; {self._log_tail()}")

    def request(self, kind: str, content: dict[str, Any], timeout: float = 30) -> dict[str, Any]:
        """Send any other request, such as complete_request, and return the content of its reply."""
        message = self._client.session.msg(kind, content)
        self._client.shell_channel.send(message)
        request = message["header"]["msg_id"]
        self.wait_until(lambda: request in self._replies, timeout)
        return self._replies.pop(request)

    def send_to_widget(self, model_id: str, *sent: dict[str, Any]) -> None:
        """Send what a page would: {"method": "update", "state": …} or {"method": "custom", "content": …}.

        Several are sent in one moment, by the page's clock.
        """
        messages = [
            self._client.session.msg("comm_msg", {"comm_id": model_id, "data": data}) for data in sent
        ]
        for message in messages:
            message["header"]["date"] = messages[0]["header"]["date"]
            self._client.shell_channel.send(message)

    def click(self, model_id: str) -> None:
        """Press a Button widget."""
        self.send_to_widget(model_id, {"method": "custom", "content": {"event": "click"}})

    def interrupt(self) -> None:
        self._manager.interrupt_kernel()

    def restart(self) -> None:
        """Start the kernel anew: it knows nothing any more, and running code is lost."""
        self._manager.restart_kernel(now=True)
        for result in self._results.values():
            if not result.done:
                result.status, result.idle = "aborted", True
        self._results.clear()
        self._displays.clear()
        self.widgets.clear()
        self._client.wait_for_ready(timeout=START_SECONDS)

    def close(self) -> None:
        """Shut down as JupyterLab does: ask first, kill after a while."""
        if self._log.closed:
            return
        try:
            if self._manager.is_alive():
                self.wait_until(lambda: not self.dangling, timeout=30)
        except TimeoutError:
            raise AssertionError(f"these boxes hold closed widgets: {self.dangling}") from None
        except RuntimeError:
            pass  # it was killed a moment ago
        finally:
            self._client.stop_channels()
            self._manager.shutdown_kernel()
        self._log.close()

    @property
    def dangling(self) -> dict[str, str]:
        """Each open box that holds a closed widget: a page that loads again would get no widget at all."""
        open_ones = {f"IPY_MODEL_{name}" for name in self.widgets}
        return {
            name: str(state.get("_dom_classes"))
            for name, state in self.widgets.items()
            if not open_ones.issuperset(state.get("children") or ())
        }

    # ------------------------------------------------------------------------------------------- messages

    def _read(self, timeout: float) -> bool:
        """File every message that is there, or that comes within the timeout."""
        channels = (self._client.iopub_channel, self._client.shell_channel, self._client.stdin_channel)
        handlers = (self._on_iopub, self._on_shell, self._on_stdin)
        poller = zmq.Poller()
        for channel in channels:
            poller.register(channel.socket, zmq.POLLIN)
        ready = dict(poller.poll(int(timeout * 1000)))
        for channel, handler in zip(channels, handlers, strict=True):
            if channel.socket in ready:
                handler(channel.get_msg(timeout=0))
        return bool(ready)

    def _on_shell(self, message: dict[str, Any]) -> None:
        request = message["parent_header"].get("msg_id", "")
        if (result := self._results.get(request)) is not None:
            result.status = message["content"]["status"]
            result.payload += message["content"].get("payload", [])
            result.idle = result.idle or result.status == "aborted"
        else:
            self._replies[request] = message["content"]

    def _on_stdin(self, message: dict[str, Any]) -> None:
        result = self._results.get(message["parent_header"].get("msg_id", ""))
        if result is None or not result.answers:
            raise AssertionError(
                f"the kernel asked, and no answer was given: {message['content']['prompt']!r}"
            )
        self._client.input(result.answers.pop(0))

    def _on_iopub(self, message: dict[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        if kind == "update_display_data":
            for bundle in self._displays.get(content["transient"]["display_id"], []):
                bundle.clear()
                bundle.update(content["data"])
        elif kind.startswith("comm_"):
            self._on_comm(kind, content)
        result = self._results.get(message["parent_header"].get("msg_id", ""))
        if result is not None:
            result.messages.append(message)
            self._file(result, kind, content)

    def _on_comm(self, kind: str, content: dict[str, Any]) -> None:
        model_id, data = content["comm_id"], content.get("data", {})
        if kind == "comm_open" and content["target_name"] == "jupyter.widget":
            self.widgets[model_id] = dict(data["state"])
        elif kind == "comm_msg" and data.get("method") == "update":
            self.widgets.setdefault(model_id, {}).update(data["state"])
        elif kind == "comm_close":
            self.widgets.pop(model_id, None)

    def _file(self, result: Result, kind: str, content: dict[str, Any]) -> None:
        if result.clear_next and kind in {"stream", "display_data", "execute_result", "error"}:
            self._clear(result)
        if kind == "status":
            result.idle = result.idle or content["execution_state"] == "idle"
        elif kind == "stream":
            setattr(result, content["name"], getattr(result, content["name"]) + content["text"])
        elif kind == "error":
            result.error_text += ANSI.sub("", "\n".join(content["traceback"]))
        elif kind in {"display_data", "execute_result"}:
            bundle = dict(content["data"])
            result.outputs.append(bundle)
            if display_id := content.get("transient", {}).get("display_id"):
                self._displays.setdefault(display_id, []).append(bundle)
        elif kind == "clear_output":
            result.clear_next = True
            if not content["wait"]:
                self._clear(result)

    def _clear(self, result: Result) -> None:
        result.clear_next = False
        result.stdout = result.stderr = result.error_text = ""
        result.outputs.clear()

    def _log_tail(self) -> str:
        return f"its log ends: {(self.folder / 'kernel.log').read_text(errors='replace')[-2000:]!r}"


@contextmanager
def kernels_in(folder: Path, python: Path | None = None) -> Iterator[Callable[..., Kernel]]:
    """Start kernels with folders of their own, and close them at the end."""
    kernels: list[Kernel] = []

    def make(**env: str) -> Kernel:
        kernel = Kernel(folder / f"kernel-{len(kernels)}", env, python)
        kernels.append(kernel)
        OPEN.add(kernel)
        return kernel

    try:
        yield make
    finally:
        for kernel in kernels:
            kernel.close()
            OPEN.discard(kernel)
        if not OPEN:
            close_client_loop()


def close_client_loop() -> None:
    """Close the loop that jupyter_client made for itself and never closes."""
    with suppress(RuntimeError):  # inside a running loop it made none
        asyncio.get_running_loop()
        return
    ensure_event_loop().close()
    asyncio.set_event_loop(None)


@pytest.fixture(scope="module")
def kernel_python() -> Path | None:
    """The interpreter of the kernels; a module may put another in its place."""
    return None


@pytest.fixture
def make_kernel(tmp_path: Path, kernel_python: Path | None) -> Iterator[Callable[..., Kernel]]:
    """Start kernels, each with more environment variables: `make_kernel(GEMINI_NB_AUTH="simulator")`."""
    with kernels_in(tmp_path, kernel_python) as make:
        yield make


@pytest.fixture(scope="module")
def make_shared_kernel(
    tmp_path_factory: pytest.TempPathFactory, kernel_python: Path | None
) -> Iterator[Callable[..., Kernel]]:
    """The same for kernels that all tests of a module use."""
    with kernels_in(tmp_path_factory.mktemp("kernels"), kernel_python) as make:
        yield make


@pytest.fixture
def kernel(make_kernel: Callable[..., Kernel]) -> Kernel:
    """A fresh kernel, started without the user's own settings, and shut down after the test."""
    return make_kernel()
