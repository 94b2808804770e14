"""One round of tools: every call the model made in one turn, at once, each with an answer in the end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gemini_nb.api.functions import FunctionCall
from gemini_nb.api.wire import Part
from gemini_nb.redaction import scrub
from gemini_nb.streams.events.calls import Approval, ToolCall
from gemini_nb.streams.events.record import StreamRecord
from gemini_nb.streams.events.states import ToolStatus
from gemini_nb.streams.runtime.ending import in_tool_of
from gemini_nb.streams.runtime.runtime import Runtime
from gemini_nb.streams.telemetry import watch_tool_call
from gemini_nb.tools.execution import ToolFailedError, check_with, run_tool
from gemini_nb.tools.output import diverting, targeting
from gemini_nb.tools.report import Report
from gemini_nb.tools.result import ToolResult
from gemini_nb.tools.tool import Tool, ToolSet

_INTERVAL = 0.1  # seconds between two events about what a running tool says
_LATE = 1.0  # the same for what goes on after its call has ended


class ToolRound:
    """The calls of one model turn.

    Args:
        calls: each call as the model made it, with what is known of it.
        tools: what the stream offers.
        record: the stream's state.
        runtime: the machinery it runs on.
    """

    def __init__(
        self,
        calls: Sequence[tuple[FunctionCall, ToolCall]],
        tools: ToolSet,
        record: StreamRecord,
        runtime: Runtime,
    ) -> None:
        self.calls = calls
        self._open = _open_calls(calls, tools)
        self._tools = tools
        self._record = record
        self._runtime = runtime

    @property
    def is_open(self) -> bool:
        """Whether some of them are for the caller to answer, so that the stream ends with them."""
        return bool(self._open)

    @property
    def to_run(self) -> list[tuple[FunctionCall, ToolCall]]:
        """The calls that are answered here."""
        return [pair for pair in self.calls if pair[1].index not in self._open and pair[0].part is not None]

    async def run(self, lend: Callable[[], object]) -> list[Part]:
        """Run all of them at once and return their functionResponse parts, in the order of the calls.

        Args:
            lend: gives the stream's place to others while a tool waits for them; from any thread.
        """
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._run_tool(asked, call, lend)) for asked, call in self.to_run]
        except BaseExceptionGroup as several:
            first = several.exceptions[0]
        else:
            return [task.result() for task in tasks]
        raise first  # raised by itself, not as a group

    def refuse(self, reason: str) -> list[Part]:
        """Run none of them, and return the parts that say why."""
        for _, call in self.calls:
            self._record.finish_call(call, ToolStatus.CANCELLED, error=reason)
        return self.answers()

    def answers(self) -> list[Part]:
        """Return the answers that exist where a stop or an error ended the round."""
        return [_response(asked.part, call) for asked, call in self.calls if asked.part is not None]

    async def _run_tool(self, asked: FunctionCall, call: ToolCall, lend: Callable[[], object]) -> Part:
        record, tool = self._record, self._tools.get(call.name)
        if asked.problem is not None:
            error = f"{call.name} did not run: {asked.problem}"
            record.finish_call(call, ToolStatus.FAILED, error=error)
            return _response(asked.part or {}, call)
        relay = _Relay(record, call)
        try:
            with contextlib.closing(relay), in_tool_of(record, lend):
                if tool is not None and tool.confirm:
                    await self._ask(tool, call, relay)
                record.start_call(call)
                result = await self._watched(call, relay.report)
        except ToolFailedError as failure:
            record.finish_call(call, ToolStatus.FAILED, error=str(failure))
        else:
            record.finish_call(call, ToolStatus.DONE, result=result.value, parts=result.parts)
        return _response(asked.part or {}, call)

    async def _watched(self, call: ToolCall, report: Report) -> ToolResult:
        tool = self._tools.get(call.name)
        with watch_tool_call(call, "" if tool is None else tool.description) as watch:
            result = await run_tool(self._tool(call.name), call.args, self._runtime.kernel, report)
            if watch is not None:
                watch.note_result(result.value)
        return result

    async def _ask(self, tool: Tool, call: ToolCall, relay: _Relay) -> None:
        """Wait until the call may run: the tool's own function decides, or leaves it to the user."""
        if callable(tool.confirm):
            with diverting(), targeting(relay.report):
                answer = await check_with(tool.confirm, call.snapshot(), self._runtime.kernel)
            relay.note()
            if answer is True:
                return
            if answer is False:
                raise ToolFailedError(f"{tool.name} was denied by its confirm function")
        call.approval = Approval()
        self._record.ask_for_call(call)
        if not self._runtime.can_ask():
            raise ToolFailedError(f"{tool.name} was denied: there is no user to approve it")
        denial = await call.approval.denial()
        if denial is not None:
            raise ToolFailedError(f"{tool.name} was denied by the user" + (f": {denial}" if denial else ""))

    def _tool(self, name: str) -> Tool:
        tool = self._tools.get(name)
        if tool is None:
            known = ", ".join(self._tools.names) or "none"
            raise ToolFailedError(f"there is no tool {name!r}; the tools are: {known}", "unknown_tool")
        return tool


class _Relay:
    """Carries what a running tool says into the stream's record, a few times a second."""

    def __init__(self, record: StreamRecord, call: ToolCall) -> None:
        self._record = record
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due = False
        self._context = contextvars.copy_context()  # not the tool's, whose output goes to its card
        self.report = Report(self._changed)
        call.work = self.report.work

    def _changed(self) -> None:
        if not self._due:
            self._due = True
            with contextlib.suppress(RuntimeError):  # the loop was closed, and the tool goes on
                self._loop.call_soon_threadsafe(self._schedule, context=self._context.copy())

    def _schedule(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(_LATE if self.report.closed else _INTERVAL, self._report)

    def _report(self) -> None:
        self._timer, self._due = None, False
        self._record.report_call(self._call, **self._facts())

    def note(self) -> None:
        """Attach the output so far to the call; the next event reports it."""
        self._call.note(**self._facts())

    def _facts(self) -> dict[str, Any]:
        report = self.report
        return {
            "output": report.output,
            "shown": report.shown,
            "progress": report.fraction,
            "progress_text": scrub(report.text),
            "waits_for": report.waits_for,
        }

    def close(self) -> None:
        """Attach the last output to the call; its end reports it."""
        self.report.closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._due = None, False
        self.note()


def _open_calls(calls: Sequence[tuple[FunctionCall, ToolCall]], tools: ToolSet) -> set[int]:
    """Return the numbers of the calls that the caller answers: all of them where no function runs here."""
    declared = {call.index for _, call in calls if tools.is_declared_only(call.name)}
    return {call.index for _, call in calls} if declared and not tools.names else declared


def unanswered(parts: Iterable[Part]) -> list[Part]:
    """Return answers to calls that never ran: Gemini refuses a conversation whose calls have none."""
    return [_response(part, None) for part in parts]


def _response(part: Part, call: ToolCall | None) -> Part:
    """Return the answer to a functionCall part, with the model's id where it gave one, else without."""
    media: dict[str, Any] = {}
    if call is not None and call.status == ToolStatus.DONE:
        response: dict[str, Any] = {"result": call.result}
        media = {"parts": list(call.parts)} if call.parts else {}
    else:
        response = {"error": (call and call.error) or "the stream ended before this tool had a result"}
    wire = part["functionCall"]
    identity = {"id": wire["id"]} if wire.get("id") not in {None, ""} else {}
    name = str(wire.get("name") or "")
    return {"functionResponse": {**identity, "name": name, "response": response, **media}}
