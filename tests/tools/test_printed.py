"""Printed text as a terminal shows it, cut at its beginning, and without secrets."""

from __future__ import annotations

import io
import pickle
from importlib import import_module
from typing import Any

import pytest

from answers import KEY, rig
from approvals import asking
from gemini_nb.notebook.pane.card import call_html
from gemini_nb.notebook.render.settled import to_markdown
from gemini_nb.redaction import Secret
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.tools.printed import LIMIT, Printed, end_of


def printed(*writes: str, final: bool = True) -> str:
    made = Printed()
    for text in writes:
        made.write(text)
    return made.text(final=final)


@pytest.mark.parametrize(
    ("writes", "shown"),
    [
        (("10 %\r", "20 %\r", "done\n"), "done\n"),
        (("long line\rshort",), "shortline"),
        (("a\r\nb\r\n",), "a\nb\n"),
        (("abc\b\bX",), "aXc"),
        (("\b\rx",), "x"),
        (("\b", "ab", "c"), "abc"),
        (("outer\n\rinner\x1b[A\rOUTER",), "OUTER\ninner"),
        (("\x1b[32m50 %\x1b[0m\r100 %",), "100 %"),
        (("abcdef\r\x1b[Kxy",), "xy"),
        (("\x1b[99Ax\x1b[99By",), "xy"),
        (("abcdef\x1b[2Kxy",), "xy"),
        (("a\nlonger\x1b[Ax",), "a     x\nlonger"),
        (("", "\x1b", "x"), "x"),
        (("a\x1b]8;id=1;file:///b\x1b\\link\x1b]8;;\x1b\\ c", "\x1b]0;title\x07d"), "alink cd"),
        (("\x1b[?25lhidden cursor\x1b[?25h",), "hidden cursor"),
    ],
)
def test_the_cursor_goes_back_and_what_follows_takes_the_place(writes: tuple[str, ...], shown: str) -> None:
    assert printed(*writes) == shown


def test_a_progress_bar_is_one_line() -> None:
    tqdm: Any = import_module("tqdm")
    made = Printed()

    class File(io.StringIO):
        def write(self, text: str) -> int:
            made.write(text)
            return len(text)

    for _ in tqdm.tqdm(range(50), file=File(), mininterval=0, ascii=True):
        pass
    assert made.text().count("\n") == 1
    assert "50/50" in made.text()
    assert "10/50" not in made.text()


def test_a_flood_keeps_its_end_and_says_how_much_went() -> None:
    lines = [f"line {number}\n" for number in range(20_000)]
    text = printed(*lines)
    notice, _, kept = text.partition("\n")
    assert len(text) <= LIMIT
    assert "".join(lines).endswith(kept)
    assert kept.startswith("line ")
    left_out = sum(map(len, lines)) - len(kept)
    assert notice == f"[the first {left_out:,} characters are left out]"


def test_a_bar_that_is_redrawn_for_ever_leaves_nothing_out() -> None:
    assert printed(*(f"\r{number:>50}" for number in range(5000))) == f"{4999:>50}"


def test_one_endless_line_is_cut_too() -> None:
    text = printed("x" * 100_000)
    assert len(text) <= LIMIT
    assert text.startswith("[the first 80,")


def test_a_short_text_is_not_cut() -> None:
    assert end_of("short", 4000) == "short"


SECRET = Secret("AIza-split-over-several-writes")


def test_a_secret_in_two_writes_is_never_seen_in_part() -> None:
    key = SECRET.reveal()
    for cut in range(4, len(key)):
        made = Printed()
        made.write(f"key: {key[:cut]}")
        assert made.text() == "key: "
        made.write(f"{key[cut:]}!\n")
        assert made.text() == "key: [secret]!\n"


def test_what_only_began_like_a_secret_is_shown_once_it_goes_on_or_ends() -> None:
    assert printed("AIza-split", final=False) == ""
    assert printed("AIza-split", "\n", final=False) == "AIza-split\n"
    assert printed("AIza-split", final=True) == "AIza-split"


@pytest.mark.parametrize("secret", [SECRET, Secret("AIza-" + "".join(map(str, range(100))))])
def test_a_secret_is_not_cut_in_two_where_the_text_is(secret: Secret) -> None:
    key = secret.reveal()
    for shift in range(0, len(key) + 8, 3):
        made = Printed()
        made.write("y" * (LIMIT + 500) + key + "x" * 50)
        made.write("x" * (LIMIT - 50 - shift))  # what is kept begins within the secret
        text = made.text()
        assert not any(key[at : at + 6] in text for at in range(len(key) - 5))


@pytest.mark.slow
def test_a_flood_is_not_kept() -> None:
    made = Printed()
    for _ in range(1000):
        made.write("line\n" * 1000)
    assert len(pickle.dumps(made)) < 10 * LIMIT


def test_no_event_of_a_stream_holds_part_of_a_secret_that_a_tool_prints_in_two_writes() -> None:
    import threading

    paused = threading.Event()

    def leak() -> None:
        """Print the key in halves."""
        print("before ", end="")
        print(KEY[:6], end="", flush=True)
        paused.wait(0.3)  # longer than events about prints are kept back
        print(KEY[6:])

    with rig(asking("leak")) as made:
        stream = made.start(tools=[leak]).wait(10)
    outputs = [event.call.output for event in stream.events if hasattr(event, "call")]
    assert "before " in outputs
    assert not any(KEY[:6] in output or KEY[6:] in output for output in outputs)
    assert stream.tool_calls[0].output == "before [secret]\n"


def test_the_settled_form_of_a_long_print_keeps_its_end() -> None:
    def flood() -> None:
        """Print a lot."""
        for number in range(20_000):
            print("line", number)

    with rig(asking("flood")) as made:
        stream = made.start(tools=[flood]).wait(20)
    settled = to_markdown(stream)
    assert "line 19999" in settled
    assert "characters are left out]" in settled


def test_a_call_without_arguments_shows_none() -> None:
    def look() -> str:
        """Look."""
        return "seen"

    with rig(asking("look")) as made:
        stream = made.start(tools=[look]).wait(10)
    card = call_html(stream.tool_calls[0])
    for shown in (card, to_markdown(stream)):
        assert "arguments" not in shown
        assert "{}" not in shown
    assert "<code></code>" not in card


def test_a_call_with_arguments_shows_them() -> None:
    card = call_html(ToolCall(id=None, name="look", args={"at": "sea"}))
    assert "arguments" in card
    assert "at=" in card
