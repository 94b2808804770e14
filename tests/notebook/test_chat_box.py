"""`%gemini_chat` in a real kernel, driven by the messages that a page sends."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kernels import Kernel, Result
from scripted import Request, ScriptedServer, Step, Wait, call, json_error, sse_answer, text

KEY = "key-of-the-chat-box-0123456789"
HOSTILE = "<img src=x onerror=alert(1)> [x](javascript:alert(2)) ![y](https://evil.example/y.png)"

HELD = """
import threading
from gemini_nb.notebook.pane.painter import painter_of
gate = threading.Event()
painter_of(gemini_nb.get_manager().runtime).call(gate.wait)
"""
"""Nothing is drawn until its gate opens, as on a busy machine."""

SLOW = """
import threading
class Slow:
    gate, is_read, is_known = threading.Event(), threading.Event(), threading.Event()
    def __str__(self):
        self.is_read.set()
        self.gate.wait(20)
        self.is_known.set()
        return self.words()
    def words(self):
        return "slow"
slow = Slow()
"""

PAINTED = """
import concurrent.futures, time, ipywidgets
from gemini_nb.notebook.chat_box.box import ChatBox
from gemini_nb.notebook.pane.painter import painter_of
painter = painter_of(gemini_nb.get_manager().runtime)
widgets = list(ipywidgets.widgets.widget._instances.values())
box = next(one for one in reversed(widgets) if isinstance(one, ChatBox))
found = concurrent.futures.Future()
def paint():
    counts, painter._note = [], lambda now, number: counts.append(number)
    painter._paint_one(box, time.monotonic())
    del painter._note
    box._end()
    box.wake()
    found.set_result((*counts, box in {**painter._wanted, **painter._dirty}))
painter.call(paint)
print(*found.result(20))
"""
"""The messages that the painter counts for a box that shows all there is; whether it paints a closed one.

On the painter's own thread, what is wanted is taken in at once.
"""

PAY = """
def _pay(amount: int) -> str:
    "Pay."
    return f"paid {amount}"
pay = gemini_nb.tool(_pay, name="pay", confirm=True)
"""


class Service:
    """Answers in capitals: "hold" when the gate opens; "pay" calls a tool; "bad" is refused, also later."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.asked: list[dict[str, Any]] = []

    def __call__(self, request: Request) -> list[Step]:
        self.asked.append(request.json)
        words = request.json["contents"][-1]["parts"][-1].get("text", "paid")
        if words.startswith("bad") or (words == "paid" and "pay badly" in self.said):
            return json_error(400)
        if words.startswith("pay"):
            return sse_answer(call("pay", args={"amount": 20}, finish="STOP"))
        shown = HOSTILE if words.startswith("hostile") else words.upper()
        steps = sse_answer(text(shown, finish="STOP"))
        return [Wait(self.gate), *steps] if words.startswith("hold") else list(steps)

    @property
    def said(self) -> list[str]:
        return [part.get("text", "") for turn in self.asked[-1]["contents"] for part in turn["parts"]]


@pytest.fixture(scope="module")
def made(make_shared_kernel: Callable[..., Kernel]) -> Iterator[tuple[Kernel, Service]]:
    service = Service()
    with ScriptedServer(service) as server:
        kernel = make_shared_kernel(
            GEMINI_NB_AUTH="gemini", GEMINI_API_KEY=KEY, GOOGLE_GEMINI_BASE_URL=server.url
        )
        kernel.run("import gemini_nb\n%load_ext gemini_nb")
        yield kernel, service


class Box:
    """A box that a cell has opened, and the page in front of it."""

    def __init__(self, kernel: Kernel, line: str = "talk", cell_id: str = "box") -> None:
        before = set(kernel.widgets)
        self.kernel = kernel
        self.shown: Result = kernel.run(f"%gemini_chat {line}", cell_id=cell_id)
        assert self.shown.status == "ok", self.shown.error_text
        self._new = [name for name in kernel.widgets if name not in before]
        self.root = next(name for name in self._new if self._has_class(name, "gemini-nb-chat"))
        self.line, self.area = self.of("TextModel"), self.of("TextareaModel")

    def _has_class(self, name: str, wanted: str) -> bool:
        return wanted in self.kernel.widgets[name].get("_dom_classes", ())

    def of(self, model: str) -> str:
        return next(name for name in self._new if self.kernel.widgets[name].get("_model_name") == model)

    def button(self, *names: str) -> str:
        """The button of one of these names, as soon as it is there."""
        self.until(lambda: bool(self.buttons(*names)))
        return self.buttons(*names)[0]

    def buttons(self, *names: str) -> list[str]:
        inside = self._inside(self.root)
        return [one for one in inside if self.kernel.widgets.get(one, {}).get("description") in names]

    def click(self, name: str) -> None:
        self.kernel.click(self.button(name))

    def type(self, words: str, field: str = "") -> None:
        """What the page tells when the user leaves the field."""
        field = field or self.line
        self.kernel.widgets[field]["value"] = words
        self.kernel.send_to_widget(field, {"method": "update", "state": {"value": words}})

    def enter(self, words: str | None = None) -> None:
        """What the page tells of Enter: first the key, then the text if it is another."""
        sent: list[dict[str, Any]] = [{"method": "custom", "content": {"event": "submit"}}]
        if words is not None:
            self.kernel.widgets[self.line]["value"] = words
            sent.append({"method": "update", "state": {"value": words}})
        self.kernel.send_to_widget(self.line, *sent)

    def ask(self, words: str, *shown: str) -> None:
        """Enter a message, and wait until it has left the field and the box shows all of this."""
        self.enter(words)
        self.wait(*shown)
        self.until(lambda: self.value() == "")

    def begin_edit(self, words: str) -> None:
        """Edit the last message, which is this, and wait until it stands in the field."""
        self.click("Edit last")
        self.button("Cancel edit")
        self.until(lambda: self.value() == words)

    def wait(self, *words: str) -> None:
        """Wait until the box shows all of this, and the transcript holds it."""
        self.until(lambda: all(word in self.html and word in self.transcript for word in words))

    def until(self, condition: Callable[[], bool]) -> None:
        try:
            self.kernel.wait_until(condition, 30)
        except TimeoutError:
            raise AssertionError(f"{self.html}\n\n{self.transcript}") from None

    @property
    def html(self) -> str:
        """What the page shows of the box."""
        return "\n".join(
            str(self.kernel.widgets[name].get("value") or "")
            for name in self._inside(self.root)
            if not self._has_class(name, "gemini-nb-style")
        )

    def _inside(self, name: str) -> list[str]:
        children = self.kernel.widgets.get(name, {}).get("children", ())
        names = [child.removeprefix("IPY_MODEL_") for child in children]
        return [name, *(inner for child in names for inner in self._inside(child))]

    @property
    def transcript(self) -> str:
        return str(self.shown.outputs[0].get("text/plain"))

    def value(self, field: str = "") -> str:
        return str(self.kernel.widgets[field or self.line].get("value") or "")


@pytest.fixture
def service(made: tuple[Kernel, Service]) -> Service:
    made[1].gate = threading.Event()
    return made[1]


@pytest.fixture
def kernel(made: tuple[Kernel, Service], service: Service) -> Iterator[Kernel]:
    yield made[0]
    service.gate.set()
    made[0].run("gemini_nb.get_manager().stop_all()\nfor name in ('talk', 'chat'): globals().pop(name, None)")


def test_enter_sends_and_the_transcript_is_kept(kernel: Kernel, service: Service) -> None:
    kernel.run("city = 'Lisbon'")
    box = Box(kernel, '-s "Be brief"')  # without a name
    assert box.transcript == "Chat chat: 0 messages"
    box.until(lambda: "Write {name} to insert a variable of this notebook." in box.html)
    box.ask("tell me of {city}", "tell me of {city}", "TELL ME OF LISBON")
    assert "Type a message below" not in box.html
    assert service.asked[-1]["systemInstruction"]["parts"][0]["text"] == "Be brief"
    box.type("again")
    box.enter()  # the text is known already
    box.wait("AGAIN")
    assert service.said == ["tell me of Lisbon", "TELL ME OF LISBON", "again"]
    shown = box.shown.outputs
    settled = shown[0]["text/markdown"]
    assert re.search(
        r"> \*\*You:\*\* tell me of \{city\}\n\n<div [^\n]+\n\n\*\*gem.+\n\nTELL ME OF LISBON\n", settled
    )
    assert "application/vnd.jupyter.widget-view+json" in shown[1]


def test_leaving_the_field_never_sends(kernel: Kernel, service: Service) -> None:
    box = Box(kernel)
    before = len(service.asked)
    box.type("half a thought")
    box.enter("")  # on an empty field
    box.kernel.run("import time; time.sleep(0.6)")
    box.type("typed later")  # by the page's clock
    box.click("Take back")
    kernel.run("time.sleep(0.6)")
    assert len(service.asked) == before
    assert box.value() == "typed later"


def test_a_message_is_sent_while_the_one_before_still_stands_in_the_field(
    kernel: Kernel, service: Service
) -> None:
    box = Box(kernel)
    assert kernel.run(HELD).status == "ok"
    before = len(service.asked)
    for words in ("one", "one", "two"):  # Enter twice is one message
        box.enter(words)
    box.until(lambda: len(service.asked) > before and service.said == ["one", "ONE", "two"])
    kernel.run("gate.set()")
    box.wait("ONE", "TWO")
    box.until(lambda: box.value() == "")
    assert len(service.asked) == before + 2


def test_enter_on_a_busy_kernel_sends_once_and_never_a_part(kernel: Kernel, service: Service) -> None:
    """Without subshells all arrives when the cell has ended, and a second text after that."""
    box = Box(kernel)
    assert kernel.run(HELD).status == "ok"
    before = len(service.asked)
    submit = {"method": "custom", "content": {"event": "submit"}}
    box.enter("one")
    kernel.send_to_widget(box.line, submit)
    box.until(lambda: len(service.asked) > before)
    kernel.run("import time; time.sleep(0.6)")
    kernel.run("gate.set()")
    box.wait("ONE")
    box.until(lambda: box.value() == "")
    assert len(service.asked) == before + 1
    box.type("half of")
    kernel.send_to_widget(box.line, submit)
    time.sleep(0.1)  # by the page's clock
    box.type("half of it")
    box.until(lambda: "Press it again" in box.html)
    kernel.run("time.sleep(0.6)")
    assert (box.value(), len(service.asked)) == ("half of it", before + 1)
    box.enter()
    box.wait("HALF OF IT")


def test_a_message_is_sent_after_the_one_that_is_still_being_read(kernel: Kernel, service: Service) -> None:
    box = Box(kernel)
    assert kernel.run(SLOW).status == "ok"
    box.enter("hello {slow}")
    reading = kernel.run("assert slow.is_read.wait(20) and not slow.is_known.is_set()")
    assert reading.status == "ok", "the page waits for the kernel before it tells of the next text"
    for words in ("two", "two", "three"):
        box.enter(words)
    kernel.run("slow.gate.set()")
    box.wait("HELLO SLOW", "TWO", "THREE")
    assert service.said == ["hello slow", "HELLO SLOW", "two", "TWO", "three"]
    box.until(lambda: box.value() == "")


@pytest.mark.parametrize(("words", "said"), [("''", "empty"), ("sys.exit()", "Reading it was broken off")])
def test_what_waits_behind_a_message_that_is_not_sent_is_not_sent_and_not_lost(
    kernel: Kernel, service: Service, words: str, said: str
) -> None:
    box = Box(kernel)
    assert kernel.run(f"{SLOW}\nimport sys\nslow.words = lambda: {words}").status == "ok"
    before = len(service.asked)
    box.enter("{slow}")
    assert kernel.run("assert slow.is_read.wait(20)").status == "ok"
    box.enter("two")
    box.enter("three")
    kernel.run("slow.gate.set()")
    box.until(lambda: "Not sent, and no longer in the field" in box.html)
    assert all(one in box.html for one in ("Not sent. ", said, "{slow}", "two"))
    assert (box.value(), len(service.asked)) == ("three", before)
    box.enter()
    box.wait("THREE")
    assert service.said == ["three"]


def test_the_last_message_is_not_edited_while_another_is_being_read(kernel: Kernel, service: Service) -> None:
    box = Box(kernel)
    box.ask("one", "ONE")
    assert kernel.run(SLOW).status == "ok"
    box.enter("hello {slow}")
    assert kernel.run("assert slow.is_read.wait(20)").status == "ok"
    box.click("Edit last")
    box.until(lambda: "A message is still being sent" in box.html)
    kernel.run("slow.gate.set()")
    box.wait("ONE", "HELLO SLOW")
    assert service.said == ["one", "ONE", "hello slow"]
    box.until(lambda: box.value() == "")
    box.begin_edit("hello {slow}")


def test_a_cell_and_the_box_are_one_chat(kernel: Kernel, service: Service) -> None:
    box = Box(kernel, "talk")
    box.enter("one")
    box.wait("ONE")
    cell = kernel.run("%%gemini_stream -c talk\ntwo", cell_id="cell")
    box.wait("two", "TWO")
    assert service.said == ["one", "ONE", "two"]
    kernel.wait_until(lambda: "TWO" in cell.texts()[0])
    other = Box(kernel, "talk", cell_id="other")
    other.wait("ONE", "TWO")
    other.enter("three")
    for one in (box, other):
        one.wait("THREE")
    kernel.run("talk.rewind(2)")
    box.until(lambda: "TWO" not in box.html and "TWO" not in other.transcript)
    kernel.run("%%gemini_stream -c talk\nfour", cell_id="cell")
    box.wait("FOUR")
    kernel.run("%%gemini_stream -c talk\nfive", cell_id="cell")
    box.until(lambda: "FOUR" not in box.html and "FIVE" in box.html)
    kernel.run("talk.restore()")
    box.until(lambda: "FOUR" in box.html and "FIVE" not in box.html)


def test_several_lines_and_the_send_button(kernel: Kernel, service: Service) -> None:
    box = Box(kernel)
    box.type("def f():")
    box.click("Several lines")
    entry = next(name for name in box._inside(box.root) if box._has_class(name, "gemini-nb-entry"))
    box.until(lambda: box._has_class(entry, "gemini-nb-unfolded"))
    box.until(lambda: box.value(box.area) == "def f():")
    box.type("def f():\n    return 1", box.area)
    box.click("Send")
    box.wait("DEF F():", "RETURN 1")
    assert "> **You:** def f():<br>&nbsp;&nbsp;&nbsp;&nbsp;return 1" in box.shown.outputs[0]["text/markdown"]
    box.until(lambda: box.value(box.area) == "")


def test_editing_and_taking_back_the_last_message(kernel: Kernel, service: Service) -> None:
    box = Box(kernel)
    kernel.run("x = 1")
    for words in ("one", "tow {x}"):
        box.ask(words, words.upper().replace("{X}", "1"))
    box.begin_edit("tow {x}")
    box.ask("two {x}", "TWO 1")
    box.until(lambda: "TOW" not in box.html and "TOW" not in box.transcript)
    assert service.said == ["one", "ONE", "two 1"]
    box.click("Take back")
    box.until(lambda: box.value() == "two {x}" and "TWO 1" not in box.transcript)
    box.until(lambda: "was taken back" in box.html)
    box.begin_edit("one")
    box.click("Cancel edit")
    box.button("Edit last")
    box.enter("three")
    box.wait("ONE", "THREE")


def test_a_message_that_fails_waits_or_is_stopped(kernel: Kernel, service: Service) -> None:
    box = Box(kernel)
    box.ask("bad question", "bad question", "no part of the chat")
    box.begin_edit("bad question")
    box.ask("good question", "GOOD QUESTION")
    box.until(lambda: "bad question" not in box.html)
    box.enter("hold it")
    box.until(lambda: 'gemini-nb-asked">hold it' in box.html)
    box.enter("next")
    box.until(lambda: "(the message before it)" in box.html)
    assert kernel.widgets[box.button("Take back")]["disabled"]
    box.until(lambda: len(box.buttons("Stop")) == 2)  # not that of the answer before
    box.click("Stop")
    box.wait("stopped", "Not asked")
    assert "hold it" in box.transcript


def test_it_says_what_cannot_be_sent_and_keeps_the_text(kernel: Kernel, service: Service) -> None:
    box = Box(kernel)
    before = len(service.asked)
    kernel.run("class Bad:\n    def __str__(self): raise ValueError('no text')\nbad = Bad()\ndel talk")
    box.until(lambda: "talk is not this chat any more" in box.html)
    box.enter("lost")
    kernel.run("time.sleep(0.6)")
    assert (box.value(), len(service.asked)) == ("lost", before)
    again = Box(kernel)
    again.enter("see {nowhere}")
    again.wait("SEE {NOWHERE}")
    again.until(lambda: "nowhere is not defined: {nowhere} was sent as it is." in again.html)


def test_tools_ask_in_the_box(kernel: Kernel, service: Service) -> None:
    kernel.run(PAY)
    box = Box(kernel, "talk -t pay")
    box.enter("pay it")
    box.click("Approve")
    box.wait("PAID")
    assert "pay(amount=20): done" in box.transcript


def test_a_variable_is_attached_by_its_name(kernel: Kernel) -> None:
    box = Box(kernel)
    kernel.run("table = [1, 2]")
    names = box.of("DropdownModel")
    box.until(lambda: "table" in kernel.widgets[names]["_options_labels"])
    labels = kernel.widgets[names]["_options_labels"]
    assert not {"talk", "gemini_nb", "_pay"} & set(labels)
    kernel.send_to_widget(names, {"method": "update", "state": {"index": labels.index("table")}})
    box.type("sum")
    box.click("Attach")
    box.until(lambda: box.value() == "sum {table}")
    box.enter()
    box.wait("sum {table}", "SUM [1, 2]")


def test_what_a_model_and_a_file_say_is_harmless(kernel: Kernel) -> None:
    parts = repr([{"text": HOSTILE}, {"functionCall": {"name": "x", "args": {"a": HOSTILE}}}])
    kernel.run(
        f"talk = gemini_nb.Chat([{{'role': 'user', 'parts': [{{'text': {HOSTILE!r}}}]}},"
        f"{{'role': 'model', 'parts': {parts}}},"
        "{'role': 'user', 'parts': [{'functionResponse': {'name': 'x', 'response': {}}}]}])"
    )
    box = Box(kernel)
    box.enter(f"hostile {HOSTILE}")
    box.until(lambda: "2 messages" in box.transcript and box.html.count("evil.example") > 2)
    settled = box.shown.outputs[0]["text/markdown"]
    for bad in ("<img", 'href="javascript', 'src="http'):
        assert bad not in box.html + settled, bad
    for bad in ("](javascript:", "![y]("):
        assert bad not in settled, bad


def test_closing_leaves_the_transcript_alone(kernel: Kernel, service: Service) -> None:
    box = Box(kernel)
    box.enter("hold the door")
    box.until(lambda: "hold the door" in box.transcript)
    box.click("Close")
    box.until(lambda: len(box.shown.outputs) == 1 and "Still running" in box.transcript)
    kernel.run("later = talk.send('later')")
    service.gate.set()
    box.until(lambda: "HOLD THE DOOR" in box.transcript)
    kernel.run("later.wait()")
    assert list(box.shown.outputs[0]) == ["text/markdown", "text/plain"]
    assert "later" not in box.transcript


def test_the_old_answer_comes_back_when_an_edit_fails_after_its_box_was_closed(kernel: Kernel) -> None:
    kernel.run(PAY)
    box = Box(kernel, "talk -t pay")
    box.ask("one", "ONE")
    box.begin_edit("one")
    box.enter("pay badly")
    box.button("Approve")
    box.until(lambda: "ONE" not in box.transcript)  # its place is taken
    box.click("Close")
    box.until(lambda: len(box.shown.outputs) == 1)
    kernel.run("gemini_nb.get_manager().list_streams()[-1].tool_calls[0].approve()")
    box.until(lambda: "Nothing came of this message" in box.transcript)
    assert "You: one" in box.transcript
    assert "ONE" in box.transcript


def test_a_message_that_is_read_while_its_box_is_closed_is_not_sent(kernel: Kernel, service: Service) -> None:
    box = Box(kernel)
    assert kernel.run(SLOW).status == "ok"
    before = len(service.asked)
    box.type("hello {slow}")
    box.click("Send")
    assert kernel.run("assert slow.is_read.wait(20)").status == "ok"
    box.click("Close")
    box.until(lambda: len(box.shown.outputs) == 1)
    timers = "[one.join() for one in threading.enumerate() if isinstance(one, threading.Timer)]"
    assert kernel.run(f"slow.gate.set(); {timers}; talk.send('later').wait()").status == "ok"
    assert len(service.asked) == before + 1
    assert service.said == ["later"]


def test_a_cell_that_runs_again_closes_its_box(kernel: Kernel) -> None:
    box = Box(kernel)
    box.enter("one")
    box.wait("ONE")
    old = box.shown.outputs[0]
    again = Box(kernel)
    again.wait("ONE")
    box.until(lambda: box.root not in kernel.widgets)
    assert "ONE" in old["text/plain"]
    again.enter("two")
    again.wait("TWO")


def test_a_page_that_was_loaded_again_is_told(kernel: Kernel) -> None:
    box = Box(kernel)
    box.enter("one")
    box.wait("ONE")
    kernel.send_to_widget(box.root, {"method": "request_state"})
    box.until(lambda: "This page was loaded again" in box.html)


def test_without_a_page_it_says_what_to_use(kernel: Kernel) -> None:
    kernel.run("talk = gemini_nb.Chat()\ntalk.send('one').wait()")
    result = kernel.run("%gemini_chat talk", allow_stdin=False)
    assert "%gemini_stream -c talk YOUR MESSAGE" in result.stdout
    assert "ONE" in result.texts()[0]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("5talk", "not a name"),
        ("gemini_nb", "is of type module, not a Chat; %gemini_chat NAME opens one of another name"),
        ("talk -t nowhere", "there is no 'nowhere'"),
        ("talk more", "takes one name"),
        ("-m a -m b", "one answer to each message"),
        ("talk --each rows", "unrecognized arguments"),
    ],
)
def test_what_cannot_be_is_said_at_once(kernel: Kernel, line: str, said: str) -> None:
    result = kernel.run(f"%gemini_chat {line}")
    assert result.status == "error"
    assert said in result.error_text + result.stderr


def test_it_is_explained_and_completed(kernel: Kernel) -> None:
    shown = kernel.run("%gemini_chat?")
    help_text = str(shown.payload)
    for word in ("Open a box to chat in", "--tools", "--system", "NAME"):
        assert word in help_text
    kernel.run("talk = gemini_nb.Chat()")

    def completions(code: str) -> list[str]:
        reply = kernel.request("complete_request", {"code": code, "cursor_pos": len(code)})
        found: list[str] = reply["matches"]
        return found

    assert "%gemini_chat" in completions("%gemini_c")
    assert completions("%gemini_chat ta") == ["talk"]
    assert completions("%gemini_chat talk --sy") == ["--system"]
    assert completions("%gemini_chat talk --wait") == []


def test_a_box_that_has_nothing_new_takes_no_share_of_the_messages(kernel: Kernel) -> None:
    """Else ten of them hold up each other, and every pane beside them, for a second after each cell."""
    box = Box(kernel)
    box.ask("one", "ONE")
    looked = kernel.run(PAINTED)
    assert looked.stdout.split() == ["0", "False"], looked.error_text


def test_unloading_closes_the_boxes(kernel: Kernel) -> None:
    box = Box(kernel)
    box.enter("one")
    box.wait("ONE")
    kernel.run("%unload_ext gemini_nb")
    box.until(lambda: box.root not in kernel.widgets)
    assert kernel.run("%gemini_chat").status == "error"
    kernel.run("%load_ext gemini_nb")
    assert kernel.run("%gemini_chat").status == "ok"
