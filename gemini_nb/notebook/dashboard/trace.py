"""What a stream did and when: model calls, tools and retries as bars on one time axis.

Folding all events at each refresh would cost more the longer a stream has run. A `Trace` keeps the bars, the
pace and its place in the log, and reads on from there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gemini_nb.notebook.dashboard.sparkline import Pace
from gemini_nb.streams.events import events
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.events.log import EventLog
from gemini_nb.streams.events.states import Phase, ToolStatus


@dataclass(slots=True)
class Bar:
    """A stretch of time.

    Attributes:
        kind: "waiting_for_Gemini", "thinking", "writing" and "retry" in a model call, a tool's
            status in a tool call.
        start: in seconds since the epoch.
        end: likewise, None while it goes on. That of a retry is known before it is reached.
        note: why, where there is a reason.
    """

    kind: str
    start: float
    end: float | None = None
    note: str = ""


@dataclass(slots=True)
class Lane:
    """A model call or a tool call.

    Attributes:
        label: its name, as the model wrote it.
        is_tool: which of the two it is.
        bars: what it did, in order and without gaps.
    """

    label: str
    is_tool: bool
    bars: list[Bar] = field(default_factory=list)

    def go_on(self, kind: str, when: float) -> None:
        """Do something else from now on."""
        self.close(when)
        self.bars.append(Bar(kind, when))

    def close(self, when: float) -> None:
        """Do nothing more; what was planned for later does not happen."""
        while len(self.bars) > 1 and self.bars[-1].start > when:
            self.bars.pop()
        last = self.bars[-1] if self.bars else None
        if last is not None and (last.end is None or last.end > when):
            last.end = max(when, last.start)

    @property
    def kind(self) -> str:
        """What it does now, or did last."""
        return self.bars[-1].kind if self.bars else ""


class Trace:
    """The lanes of one stream, read on as its log grows.

    Attributes:
        lanes: model calls and tool calls, in the order they began.
        pace: how fast text and thoughts arrive.
        last_retry: why a model call was made again the last time.
    """

    def __init__(self, log: EventLog) -> None:
        self.lanes: list[Lane] = []
        self.pace = Pace()
        self.last_retry = ""
        self._log = log
        self._position = 0
        self._call: Lane | None = None
        self._tools: dict[int, Lane] = {}

    @property
    def at_end(self) -> bool:
        """Whether everything was read and nothing more will come."""
        return self._log.closed and self._position >= len(self._log)

    def again_at(self, now: float) -> float | None:
        """When a failed model call is made again, if that is what it waits for."""
        bars = self._call.bars if self._call is not None else []
        retry = bars[-2] if len(bars) > 1 and bars[-2].kind == "retry" else None
        return retry.end if retry is not None and retry.end is not None and now < retry.end else None

    def read(self) -> None:
        """Take in what is new."""
        new = self._log.since(self._position)
        self._position += len(new)
        self.apply(new)

    def apply(self, several: Iterable[events.StreamEvent]) -> None:
        """Fold events in. Those without a place on the axis say nothing here."""
        for event in several:
            match event:
                case events.TextDelta():
                    self._output("writing", event.time, len(event.text))
                case events.ThoughtDelta():
                    self._output("thinking", event.time, len(event.text))
                case events.PhaseChanged():
                    self._enter(event)
                case events.RetryScheduled():
                    self._retry(event)
                case events.ToolCallRequested():
                    self._tools[event.call.index] = lane = Lane(event.call.name, is_tool=True)
                    self.lanes.append(lane)
                    lane.go_on(event.call.status.value, event.time)
                case events.ToolCallStarted():
                    self._tool(event.call, event.time)
                case events.ToolCallFinished():
                    self._finish(event.call, event.time)
                case events.StreamCompleted() | events.StreamFailed() | events.StreamStopped():
                    for lane in self.lanes:
                        lane.close(event.time)
                case _:
                    pass

    def _enter(self, event: events.PhaseChanged) -> None:
        if self._call is not None:
            self._call.close(event.time)
            self._call = None
        if event.phase is not Phase.EXECUTING_TOOLS:
            self._call = Lane(f"model call {event.turn}", is_tool=False)
            self._call.go_on("waiting_for_Gemini", event.time)
            self.lanes.append(self._call)

    def _output(self, kind: str, when: float, characters: int) -> None:
        self.pace.add(when, characters, is_answer=kind == "writing")
        call = self._call
        if call is not None and call.kind not in {kind, "writing"}:
            call.go_on(kind, when)

    def _retry(self, event: events.RetryScheduled) -> None:
        self.last_retry = event.reason
        if self._call is None:
            return
        self._call.go_on("retry", event.time)
        retry = self._call.bars[-1]
        retry.end, retry.note = event.time + event.delay, event.reason
        self._call.bars.append(Bar("waiting_for_Gemini", retry.end))

    def _tool(self, call: ToolCall, when: float) -> None:
        lane = self._tools.get(call.index)
        if lane is not None and lane.kind != call.status:
            lane.go_on(call.status.value, when)

    def _finish(self, call: ToolCall, when: float) -> None:
        """The bar of the work itself shows how it ended; the wait for it before stays what it was."""
        lane = self._tools.get(call.index)
        if lane is None:
            return
        if lane.kind != ToolStatus.RUNNING:
            lane.go_on(call.status.value, when)
        lane.bars[-1].kind = call.status.value
        lane.bars[-1].note = call.error or ""
        lane.close(when)
