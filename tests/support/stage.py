"""What notebooks in the browser talk to: a play for each prompt, which goes on when the test says so.

It runs in the notebook's kernel. A test tells it to go on by making a file, which works while the kernel
computes and needs no cell.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gemini_nb
from attacks import ARGUMENTS, CODE, ERROR, HUGE, MARKDOWN, NAME, OUTPUT, RESULT, THOUGHTS
from gemini_nb.simulator import Simulator
from markdown_cases import CASES

__all__ = ["attack_error", "attack_tool", "fail", "open_stage", "pay", "succeed", "work"]

GATES = Path("gates")
PLAYS: dict[str, Callable[[int], Iterator[Any]]] = {}
WORDS = "Some words about lighthouses that a person may read in peace. "


def gate(name: str, *said_meanwhile: str) -> Iterator[Any]:
    """Wait until the test has made the file."""
    while not (GATES / name).exists():
        yield 0.02
        for text in said_meanwhile:
            yield said(text)


def said(*parts: str | dict[str, Any], reason: str | None = None, **more: Any) -> dict[str, Any]:
    made = [{"text": part} if isinstance(part, str) else part for part in parts]
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": made}}
    if reason:
        candidate["finishReason"] = reason
    return {"candidates": [candidate], **more}


def play(name: str) -> Callable[[Callable[[int], Iterator[Any]]], None]:
    def add(function: Callable[[int], Iterator[Any]]) -> None:
        PLAYS[name] = function

    return add


@play("grow")
def grow(_: int) -> Iterator[Any]:
    yield said("# A growing answer\n\n")
    yield from gate("grown", WORDS)
    yield said("\n\nThe end.", reason="STOP")


@play("rush")
def rush(_: int) -> Iterator[Any]:
    yield said("# A fast answer\n\n")
    number = 0
    while not (GATES / "grown").exists():
        yield 0.02  # the slower the machine, the longer the answer that it has to settle
        number += 1
        yield said(f"Paragraph {number}. {WORDS * 4}\n\n")
    yield said("The end.", reason="STOP")


@play("sources")
def sources(_: int) -> Iterator[Any]:
    search = {"toolType": "GOOGLE_SEARCH_WEB", "id": "1"}
    yield said({"toolCall": {**search, "args": {"queries": ["lighthouses"]}}})
    yield from gate("searched")
    yield said({"toolResponse": {**search, "response": {}}}, "They are tall.")
    segment = {"startIndex": 0, "endIndex": 14, "text": "They are tall."}
    source = {"web": {"uri": "https://sources.example/tall", "title": "Tall towers"}}
    supports = [{"segment": segment, "groundingChunkIndices": [0]}]
    chunk = said("\n\nHear one:")
    chunk["candidates"][0]["groundingMetadata"] = {"groundingChunks": [source], "groundingSupports": supports}
    yield chunk
    samples = {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": base64.b64encode(bytes(48_000)).decode()}
    yield said({"inlineData": samples})
    yield said("\n\nThere.")
    yield from gate("heard")
    yield said(" The end.", reason="STOP")


@play("slow")
def slow(_: int) -> Iterator[Any]:
    number = 0
    while not (GATES / "grown").exists():
        yield 0.5
        number += 1
        yield said(f"Step {number}. {WORDS}")
    yield said("\n\nThe end.", reason="STOP")


@play("paragraphs")
def paragraphs(_: int) -> Iterator[Any]:
    for number in range(40):
        yield said(f"Paragraph {number}. {WORDS * 4}\n\n")
    yield from gate("more")
    for number in range(40, 60):
        yield said(f"Paragraph {number}. {WORDS * 4}\n\n")
    yield from gate("done")
    yield said("The end.", reason="STOP")


@play("call")
def call(calls: int) -> Iterator[Any]:
    if calls == 0:
        yield said({"text": "**Thinking** about it.", "thought": True})
        yield from gate("thought")
        yield said("Let me work.\n\n", usageMetadata={"promptTokenCount": 12, "totalTokenCount": 12})
        yield said({"functionCall": {"name": "work", "args": {"topic": "light"}}}, reason="STOP")
    else:
        yield said("It **worked**.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nprint('x')\n```\n")
        yield from gate("answered")
        yield said("\n\nIt costs $5 or $6, and $a_1^2$.", reason="STOP")


@play("confirm")
def confirm(calls: int) -> Iterator[Any]:
    if calls == 0:
        made = {"functionCall": {"name": "pay", "args": {"amount": 20}}}
        yield said("Let me pay.\n\n", made, reason="STOP")
    else:
        yield said("So be it.", reason="STOP")


@play("breaks")
def breaks(_: int) -> Iterator[Any]:
    """Break at the first time, before any output; then answer."""
    if not (GATES / "broke").exists():
        (GATES / "broke").touch()
        yield b'data: {"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}}\r\n\r\n'
        return
    yield said("The first line.\n\nThe last line.\n\n")
    yield from gate("read")
    yield said("The end.", reason="STOP")


@play("tools")
def tools(calls: int) -> Iterator[Any]:
    """Call one tool that fails and two that do not, then end as the test's file says."""
    if calls == 0:
        made = [{"functionCall": {"name": name, "args": {"x": 1}}} for name in ("fail", "succeed", "succeed")]
        yield said(
            {"text": "**Thinking** about it.", "thought": True}, "Three tools.\n\n", *made, reason="STOP"
        )
        return
    yield said("After them.\n\n```python\nx = 1\n```\n\n- an item\n\n> a quotation\n\n")
    yield said("| a | b |\n|---|---|\n| 1 | 2 |\n\n#### A heading\n\nThe last line.\n\n")
    while not (GATES / "end").exists():
        yield 0.02
    match (GATES / "end").read_text():
        case "error":
            yield b'data: {"error": {"code": 400, "message": "No.", "status": "INVALID_ARGUMENT"}}\r\n\r\n'
        case "cut":
            yield said("And", reason="MAX_TOKENS")
        case _:
            yield said("The end.", reason="STOP")


@play("huge")
def huge(_: int) -> Iterator[Any]:
    for text in HUGE:
        yield said(f"{text}\n\n")
    yield from gate("attacked")
    yield said("Unharmed.", reason="STOP")


@play("scrolls")
def scrolls(_: int) -> Iterator[Any]:
    wide = "word_" * 100
    yield said(f"# Wide and long\n\n```python\n{wide} = 1\n```\n\n    {wide}\n\n")
    yield said(f"| a | {' | '.join('bcdefgh')} |\n|{'---|' * 8}\n|{f' {wide} |' * 8}\n\n")
    for number in range(20):
        yield said(f"Paragraph {number}. {WORDS * 4}\n\n")
    yield said("The last line.")
    yield from gate("read")
    yield said("\n\nThe end.", reason="STOP")


@play("shapes")
def shapes(_: int) -> Iterator[Any]:
    """Formulas in tables and headings, and code in lists, each with a line behind it."""
    counts = {"promptTokenCount": 1234, "candidatesTokenCount": 567, "thoughtsTokenCount": 89}
    yield said("", usageMetadata={**counts, "totalTokenCount": 1890})
    yield said(
        "The first line.\n\n| a | b |\n|---|---|\n| $$x^2$$ | \\[\\frac{a}{b}\\] |\n| $\\sum_i x_i$ | one |\n"
    )
    yield said("\n| \\begin{bmatrix}1 & 2\\end{bmatrix} | c |\n|---|---|\n| 1 | 2 |\n\nAfter the tables.\n\n")
    yield said("#### Of $\\begin{matrix}a\\\\b\\end{matrix}$\n\nAfter the heading.\n\n")
    yield said("A matrix $\\begin{matrix}a\\\\b\\end{matrix}$ in a line.\n\nAfter the matrix.\n\n")
    yield said("- an item\n  - a nested item\n\n    ```sh\n    echo $A $B\n    ```\n")
    yield said("  - nested next\n- a second item\n\n")
    yield said(
        "After the list.\n\n1. a number\n   - tight\n     ```sh\n     echo $A $B\n     ```\n   - tighter\n"
    )
    yield said("2. next number\n\nAfter the numbers.\n\n- with code\n  ```\n  $q$\n  ```\n- without\n\n")
    yield said("The last line.\n\n")
    yield from gate("read")
    yield said("The end.", reason="STOP")


@play("cases")
def cases(_: int) -> Iterator[Any]:
    for case in CASES:
        yield said(f"## {case.name}\n\n{case.source}\n\n")
    yield said("## end\n\n", *(f"{WORDS * 9}\n\n" for _ in range(12)))
    yield from gate("read")
    yield said("The end.", reason="STOP", usageMetadata={"totalTokenCount": 1})


@play("attack")
def attack(calls: int) -> Iterator[Any]:
    if calls == 0:
        yield said({"text": THOUGHTS, "thought": True})
        yield said({"executableCode": {"language": "PYTHON", "code": CODE}})
        yield said({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": OUTPUT}})
        yield said({NAME: {"data": OUTPUT}})
        for name in ("attack_tool", "attack_error"):
            yield said({"functionCall": {"name": name, "args": {"text": ARGUMENTS["text"]}}})
        yield said({"functionCall": {"name": NAME, "args": ARGUMENTS}})
        yield said("\n\n", reason="STOP")
    else:
        for text in MARKDOWN:
            chunk = json.dumps(said(f"{text}\n\n"))  # escaped, for what is not valid Unicode
            yield b"data: " + chunk.encode("ascii") + b"\r\n\r\n"
        yield from gate("attacked")
        yield said("Unharmed.", reason="STOP", usageMetadata={"totalTokenCount": 1})


def answer_message(contents: list[dict[str, Any]]) -> Iterator[Any]:
    """Answer a message of a chat.

    "hold" waits for the test and goes on writing, "quiet" waits, "pay" calls a tool, all others are echoed.
    """
    words = contents[-1]["parts"][-1].get("text", "")
    if words.startswith(("hold", "quiet")):
        yield said("It begins. ")
        yield from gate("held", *[WORDS] * words.startswith("hold"))
    if words.startswith("pay"):
        yield said({"functionCall": {"name": "pay", "args": {"amount": 20}}}, reason="STOP")
    else:
        yield said(
            f"**You said** {words.upper() or 'so'}", reason="STOP", usageMetadata={"totalTokenCount": 9}
        )


def scenario(body: dict[str, Any], _: str) -> Iterator[Any]:
    prompt = body["contents"][0]["parts"][0]["text"].split()[0]
    if prompt == "chat":
        yield from answer_message(body["contents"])
        return
    yield from PLAYS[prompt](sum(content["role"] == "model" for content in body["contents"]))


def work(topic: str) -> str:
    """Do something that takes its time."""
    print(f"working on {topic}")
    gemini_nb.progress(0.25, "a quarter")
    _wait("half")
    gemini_nb.progress(0.5, "half")
    _wait("worked")
    return "done with <b>everything</b>"


def fail(x: int) -> str:
    """Fail in many words."""
    raise ValueError("no lighthouse stands there, " * 20)


def succeed(x: int) -> str:
    """Succeed."""
    return f"{x} lighthouse"


def _wait(name: str) -> None:
    """Wait until the test has made the file, or gives up."""
    for _ in range(6000):
        if (GATES / name).exists():
            return
        time.sleep(0.01)


def _pay(amount: int) -> str:
    """Pay somebody."""
    return f"paid {amount}"


def attack_tool(text: str) -> Any:
    """Say and return what an attacker wants to be shown."""
    print(OUTPUT)
    gemini_nb.progress(0.5, OUTPUT)
    return {"text": RESULT, RESULT: 1}


def attack_error(text: str) -> Any:
    """Fail as an attacker wants it."""
    raise RuntimeError(ERROR)


pay = gemini_nb.tool(_pay, name="pay", confirm=True)


@functools.cache
def stage() -> Simulator:
    """The kernel's one server: a stage that is opened once more is the same."""
    return Simulator(scenario=scenario, pace=1).start()


def open_stage() -> None:
    """Let every stream of this kernel be answered here."""
    os.environ["GOOGLE_GEMINI_BASE_URL"] = stage().base_url
    os.environ["GEMINI_API_KEY"] = "a-key-that-nobody-checks"
    os.environ["GEMINI_NB_AUTH"] = "gemini"
    GATES.mkdir(exist_ok=True)
