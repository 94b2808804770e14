"""A hundred streams at a time under random faults, for minutes: what a table of single faults cannot show.

Run it with `make soak`, or `make soak SECONDS=3600`; `tests/soak.py --seed N` draws the faults again of the
run that printed this seed. A simulator in a process of its own strikes a third of all requests. Every stream
is compared, when it ends, with the answer of the same prompt without faults, and so is what its subscribers
made of the events. Some streams call tools, some are stopped midway, some have subscribers that raise, sleep,
come late or leave; meanwhile a thread asks the manager for everything it knows. In the end memory, tasks,
threads and open files must be where they were after the warm-up.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import logging
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gemini_nb.api.retry import RetryPolicy
from gemini_nb.simulator import Simulator, random_faults
from gemini_nb.streams.manager import StreamManager
from gemini_nb.streams.stream import Stream

AT_A_TIME = 100
RATE = 0.33
PATIENT = RetryPolicy(attempts=60, restarts=60, initial_delay=0.02, max_delay=0.2)
PROMPTS = [f"Tell me about subject number {number}, please." for number in range(24)]
TOOL_PROMPTS = [f"What is the weather in {city} and Rome?" for city in ("Paris", "Oslo", "Lima", "Cairo")]
PAGE = os.sysconf("SC_PAGE_SIZE")


def weather(city: str) -> str:
    """Look the weather up."""
    return f"sunny in {city}"


async def weather_later(city: str) -> str:
    """Look the weather up."""
    await asyncio.sleep(0.01)
    return f"sunny in {city}"


weather_later.__name__ = "weather"


# ------------------------------------------------------------------ the simulator's process


def serve(pace: float, seed: int) -> None:
    """Run a simulator with faults and one without; tell their addresses, then wait for the end of input."""
    with Simulator(pace=pace, faults=random_faults(seed, RATE)) as faulty, Simulator(pace=0) as sound:
        say({"faulty": faulty.base_url, "sound": sound.base_url})
        for _ in sys.stdin:
            say({"requests": faulty.request_count, "open": faulty.open_answers, "memory": memory()})


def say(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


class Server:
    """The simulators' process."""

    def __init__(self, pace: float, seed: int) -> None:
        command = [sys.executable, __file__, "--serve", "--pace", str(pace), "--seed", str(seed)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        addresses = self._read()
        self.faulty, self.sound = addresses["faulty"], addresses["sound"]

    def _read(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def facts(self) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write("?\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        self._process.communicate(timeout=20)


# ------------------------------------------------------------------ one stream


class Listener:
    """A subscriber that rebuilds the text, and misbehaves in its way."""

    def __init__(self, way: str) -> None:
        self.way = way
        self.text = ""
        self.ends = 0
        self._events = 0

    def __call__(self, event: Any) -> None:
        self._events += 1
        if event.kind == "text_delta":
            self.text += event.text
        elif event.kind == "text_rewound":
            self.text = self.text[: event.length]
        self.ends += event.kind in {"stream_completed", "stream_failed", "stream_stopped"}
        if self.way == "slow" and self._events % 20 == 0:
            time.sleep(0.002)
        elif self.way == "raising" and self._events % 10 == 0:
            raise RuntimeError("a subscriber of the soak's that raises")


@dataclass
class Run:
    """A stream and what it is compared with."""

    stream: Stream
    whole: str
    listeners: list[Listener]
    stop_at: float | None
    late_at: float | None
    leaver: Listener | None

    def look_after(self, now: float) -> None:
        if self.stop_at is not None and now >= self.stop_at:
            self.stop_at = None
            self.stream.stop()
        if self.late_at is not None and now >= self.late_at:
            self.late_at = None
            self.listeners.append(Listener("late"))
            self.stream.subscribe(self.listeners[-1])
            if self.leaver is not None:
                self.stream.unsubscribe(self.leaver)

    def check(self) -> None:
        stream = self.stream.wait(30)
        stream.wait_delivered(time.monotonic() + 30)  # subscribers that share a slow machine
        text = stream.text
        if stream.status == "completed":
            assert text == self.whole, f"{stream.stream_id}: {text!r} is not {self.whole!r}"
        else:
            assert stream.status == "stopped", f"{stream.stream_id}: {stream.error}"
            assert self.whole.startswith(text), f"{stream.stream_id}: {text!r} does not begin {self.whole!r}"
        for listener in self.listeners:
            assert listener.text == text, (
                f"{stream.stream_id}: {listener.way} has {listener.text!r}: {text!r}"
            )
            assert listener.ends == 1
        for call in stream.tool_calls:
            assert call.status in {"done", "cancelled"}
            assert stream.status == "stopped" or call.result == f"sunny in {call.args['city']}"


# ------------------------------------------------------------------ figures


def memory() -> float:
    """Resident memory of this process in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 2**20


@dataclass
class Sample:
    """One moment of this process."""

    memory: float
    tasks: int
    threads: int
    files: int


@dataclass
class Figures:
    """What is counted on the way."""

    started: int = 0
    completed: int = 0
    stopped: int = 0
    retries: int = 0
    rewinds: int = 0
    events: int = 0
    characters: int = 0
    tools: int = 0
    asked: int = 0
    samples: list[Sample] = field(default_factory=list)

    def add(self, stream: Stream) -> None:
        self.completed += stream.status == "completed"
        self.stopped += stream.status == "stopped"
        self.retries += stream.retries
        self.rewinds += sum(event.kind == "text_rewound" for event in stream.events)
        self.events += len(stream.events)
        self.characters += len(stream.text)
        self.tools += len(stream.tool_calls)


class Soak:
    """The whole run.

    Args:
        seconds: how long streams are started.
        pace: the simulator's.
        seed: decides on all that is random here.
    """

    def __init__(self, seconds: float, pace: float, seed: int) -> None:
        self._seconds = seconds
        self._random = random.Random(seed)
        self._numbers = itertools.count()
        self.files_before, self.threads_before = files(), threading.active_count()
        self.server = Server(pace, seed)
        self.manager = StreamManager(history=100)
        self.figures = Figures()
        self._over = threading.Event()
        self._failure: BaseException | None = None
        self.wholes = {prompt: self._whole(prompt) for prompt in (*PROMPTS, *TOOL_PROMPTS)}

    def _start(self, prompt: str, url: str, subscriber: Any = None, **options: Any) -> Stream:
        # Keys are shared by a few, so that the waits that a 429 imposes on others are part of it.
        credentials = {"api_key": f"key-{next(self._numbers) % 40}"}
        tools = [self._random.choice([weather, weather_later])] if prompt in TOOL_PROMPTS else []
        return self.manager.start_stream(
            prompt, subscriber, auth="gemini", credentials=credentials, base_url=url, tools=tools, **options
        )

    def _whole(self, prompt: str) -> str:
        return self._start(prompt, self.server.sound).result(30)

    def _begin(self, now: float) -> Run:
        chance = self._random.random
        prompt = self._random.choice(TOOL_PROMPTS if chance() < 0.25 else PROMPTS)
        listeners = [Listener(self._random.choice(["steady", "steady", "slow", "raising"]))]
        stream = self._start(prompt, self.server.faulty, listeners[0], retry=PATIENT)
        leaver = Listener("leaving") if chance() < 0.2 else None
        if leaver is not None:
            stream.subscribe(leaver)
        stop_at = now + 4 * chance() if chance() < 0.15 else None
        late_at = now + 2 * chance() if leaver is not None or chance() < 0.2 else None
        self.figures.started += 1
        return Run(stream, self.wholes[prompt], listeners, stop_at, late_at, leaver)

    def _ask(self) -> None:
        """Ask the manager for everything it knows, all the time."""
        try:
            while not self._over.wait(0.05):
                counts = self.manager.statistics()
                assert counts.active <= AT_A_TIME + 1
                for stream in self.manager.list_streams(all=True)[-20:]:
                    info = self.manager.get_stream_info(stream)
                    assert info.stream_id == stream.stream_id
                    repr(stream)
                self.figures.asked += 1
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            self._failure = error

    def run(self) -> None:
        asking = threading.Thread(target=self._ask)
        asking.start()
        try:
            self._go()
        finally:
            self._over.set()
            asking.join()
        if self._failure is not None:
            raise self._failure

    def _go(self) -> None:
        runs: list[Run] = []
        end = time.monotonic() + self._seconds
        next_sample = time.monotonic()
        while runs or time.monotonic() < end:
            now = time.monotonic()
            for run in runs:
                run.look_after(now)
            done = [run for run in runs if run.stream.status != "active"]
            for run in done:
                run.check()
                self.figures.add(run.stream)
            runs = [run for run in runs if run not in done]
            assert now < end + 120, f"these hang: {[run.stream for run in runs]}"
            if now < end:
                runs += [self._begin(now) for _ in range(AT_A_TIME - len(runs))]
                if now >= next_sample:
                    self.figures.samples.append(self._sample())
                    next_sample = now + 1
            time.sleep(0.02)

    def _sample(self) -> Sample:
        return Sample(memory(), self._tasks(), threading.active_count(), files())

    def _tasks(self) -> int:
        async def count() -> int:
            return len(asyncio.all_tasks()) - 1

        return self.manager.runtime.loop.submit(count()).result(20)

    def close(self) -> dict[str, Any]:
        """End everything, check that nothing is left, and return the figures."""
        figures, samples = self.figures, self.figures.samples
        left = self._tasks()
        facts = self.server.facts()
        journal = self.manager.runtime.journal()
        assert journal is not None
        assert journal.flush(30)  # else a slow disk decides on what the shutdown leaves
        began = time.monotonic()
        self.manager.shutdown()
        shutdown = time.monotonic() - began
        self.server.close()
        end = time.monotonic() + 20
        while threading.active_count() > self.threads_before and time.monotonic() < end:
            time.sleep(0.05)  # a thread that was told to end needs its turn
        gc.collect()
        half = len(samples) // 2
        early, late = samples[len(samples) // 4 : half], samples[-max(1, len(samples) // 4) :]

        def both(name: str, measure: Any = statistics.mean) -> tuple[float, float]:
            return tuple(measure(getattr(one, name) for one in part) for part in (early, late))

        shown: dict[str, Any] = {
            "seconds": round(self._seconds),
            "streams at a time": AT_A_TIME,
            "streams": f"{figures.started:,} ({figures.completed:,} completed, {figures.stopped:,} stopped)",
            "requests, faults among them": f"{facts['requests']:,}, {RATE:.0%}",
            "requests made again": f"{figures.retries:,}",
            "answers rewound": f"{figures.rewinds:,}",
            "events": f"{figures.events:,}",
            "characters compared": f"{figures.characters:,}",
            "lost or doubled": 0,
            "tool calls": f"{figures.tools:,}",
            "manager asked": f"{figures.asked:,} times",
            "processor time per second": f"{time.process_time() / self._seconds:.2f} s",
        }
        for name in ("memory", "tasks", "threads", "files"):
            unit = " MB" if name == "memory" else ""
            first, last = both(name)
            shown[f"{name}, second quarter and last"] = f"{first:.0f}{unit}, {last:.0f}{unit}"
        shown["memory in each tenth of the time"] = (
            ", ".join(f"{mean:.0f}" for mean in tenths(samples)) + " MB"
        )
        shown["tasks left"] = left
        shown["shutdown"] = f"{shutdown:.2f} s"
        shown["threads and files, before and after"] = (
            f"{self.threads_before} and {self.files_before}, {threading.active_count()} and {files()}"
        )
        self._check(both, left, shutdown, shown)
        return shown

    def _check(self, both: Any, left: int, shutdown: float, shown: dict[str, Any]) -> None:
        first, last = both("memory")
        assert last < first * 1.1 + 10, shown
        for name in ("tasks", "threads", "files"):
            first, last = both(name, max)
            assert last < first * 1.5 + 20, shown
        assert left <= 2, shown
        assert shutdown < 3, shown
        assert threading.active_count() <= self.threads_before, shown
        assert files() <= self.files_before, shown


def tenths(samples: list[Sample]) -> list[float]:
    """The memory on average over each tenth of the samples."""
    size = max(1, len(samples) // 10)
    return [
        statistics.mean(sample.memory for sample in samples[start : start + size])
        for start in range(0, size * 10, size)
        if samples[start : start + size]
    ]


def files() -> int:
    """Open files of this process, sockets among them."""
    return len(list(Path("/proc/self/fd").iterdir()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--pace", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--serve", action="store_true", help="be the simulator; for its own use")
    options = parser.parse_args()
    if options.serve:
        serve(options.pace, options.seed)
        return
    logging.getLogger("gemini_nb").setLevel(
        logging.ERROR
    )  # its subscribers raise, and that is told each time
    sys.stdout.write(f"seed {options.seed}\n")  # first, so that a run that fails says it, too
    sys.stdout.flush()
    soak = Soak(options.seconds, options.pace, options.seed)
    soak.run()
    figures = soak.close()
    width = max(map(len, figures))
    lines = [f"| {name:{width}} | {value} |" for name, value in figures.items()]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
