"""The magics in a real kernel, fed by the embedded simulator."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from kernels import Kernel, Result

LOAD = "%load_ext gemini_nb"


@pytest.fixture(scope="module")
def shared(make_shared_kernel: Callable[..., Kernel]) -> Kernel:
    return make_shared_kernel(GEMINI_NB_AUTH="simulator", GEMINI_NB_SIMULATOR_PACE="0.3")


@pytest.fixture
def shell(shared: Kernel) -> Kernel:
    """A kernel with the extension loaded and no stream of another test running."""
    loaded = shared.run(f"{LOAD}\n%gemini_stop all")
    assert loaded.status == "ok", loaded.error_text
    return shared


def settled(result: Result, kernel: Kernel) -> str:
    """The Markdown that a stream's output settles into."""
    outputs = result.outputs
    kernel.wait_until(lambda: any("text/markdown" in bundle for bundle in outputs))
    return next(str(bundle["text/markdown"]) for bundle in outputs if "text/markdown" in bundle)


def test_a_cell_returns_at_once_and_its_stream_goes_on_while_others_compute(shell: Kernel) -> None:
    first = shell.run("%%gemini_stream -o trip\nDescribe a lighthouse in 120 words.")
    assert first.status == "ok", first.error_text
    busy = shell.run(
        "import time\n"
        "before = len(trip.events)\n"
        "status = trip.status\n"
        "end = time.monotonic() + 1.5\n"
        "while time.monotonic() < end: sum(range(1000))\n"
        "print(status, len(trip.events) > before)"
    )
    assert busy.stdout.split() == ["active", "True"]
    text = settled(first, shell)
    assert shell.run("print(trip.result())").stdout.strip()[:20] in text
    assert "simulated" in text


def test_wait_keeps_the_kernels_loop_free(shell: Kernel) -> None:
    shell.run(
        "import asyncio\n"
        "ticks = []\n"
        "async def tick():\n"
        "    while True:\n"
        "        ticks.append(1)\n"
        "        await asyncio.sleep(0.01)\n"
        "task = asyncio.ensure_future(tick())"
    )
    result = shell.run("%%gemini_stream --wait -o done\nDescribe a lighthouse.")
    assert result.status == "ok", result.error_text
    assert any("text/markdown" in bundle for bundle in result.outputs)
    assert int(shell.run("print(len(ticks)); task.cancel()").stdout.split()[0]) > 5
    assert shell.run("print(done.status)").stdout.strip() == "completed"


def test_a_group_is_stopped_whole_and_waited_for_whole(shell: Kernel) -> None:
    shell.run("import gemini_nb; rows = [f'Write 900 words about {number}.' for number in range(400)]")
    shell.run("many = gemini_nb.map(rows)")
    shell.run("%gemini_stop many")
    assert shell.run("print(*many.wait(20).counts)").stdout.split() == ["400", *"000", "400", *"00"]
    shell.run("many = gemini_nb.map(rows)\n%gemini_stop")
    assert shell.run("print(*many.wait(20).counts)").stdout.split()[4] == "400"
    shell.run("many = gemini_nb.map(['Say hello.'] * 230, concurrency=100)")
    waited = shell.run("%gemini_wait\nprint(many.is_over)")
    assert waited.stdout.split()[-1:] == ["True"], waited.error_text


def assert_stopped(run: Result, shell: Kernel) -> None:
    """The interrupted cell has one line, and its stopped stream has settled before it ended."""
    kinds = [message["msg_type"] for message in run.messages]
    assert kinds.index("update_display_data") < kinds.index("error")
    assert run.status == "error"
    assert re.fullmatch(
        r"KeyboardInterrupt: .* was stopped; %gemini_show \w+ shows what came\.", run.error_text.strip()
    )
    assert shell.run("print(long.status)").stdout.strip() == "stopped"
    assert "stopped" in settled(run, shell)


@pytest.mark.parametrize("start", ["%%gemini_stream --wait -o long\n", "%gemini_stream --wait -o long "])
def test_an_interrupt_stops_the_stream_of_a_waiting_cell(shell: Kernel, start: str) -> None:
    run = shell.start(f"{start}Write a long text of 2000 words.")

    def kinds() -> list[str]:
        return [message["msg_type"] for message in run.messages]

    shell.wait_until(lambda: "display_data" in kinds())
    shell.interrupt()
    shell.finish(run)
    assert_stopped(run, shell)


def test_an_interrupt_stops_a_cell_that_waits_for_a_row(shell: Kernel) -> None:
    shell.run(
        "import threading\nheld = threading.Event()\ndef few():\n    yield 'a'\n    held.wait()\nrows = few()"
    )
    run = shell.start("%%gemini_stream --wait --each rows -o asked\nSay {item}.")
    shell.wait_until(lambda: any(message["msg_type"] == "display_data" for message in run.messages))
    shell.interrupt()
    shell.finish(run)
    assert run.status == "error"
    assert "was stopped" in run.error_text or "were stopped" in run.error_text
    shell.run("held.set()")


PRESS = """
import contextlib, signal, sys
@contextlib.contextmanager
def pressing(name):
    def look(frame, event, arg):
        if event == "call" and frame.f_code.co_name == name and "gemini_nb" in frame.f_code.co_filename:
            sys.setprofile(None)
            signal.raise_signal(signal.SIGINT)
    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(None)
"""


@pytest.mark.parametrize(
    ("where", "is_asked"),
    [
        ("parse", False),
        ("interpolate", False),
        ("start_stream", True),
        ("name_made", True),
        ("register_asked", True),
        ("view_of", True),
        ("settle_into", True),
        ("wait_only", True),
    ],
)
def test_an_interrupt_of_a_waiting_cell_stops_its_stream_wherever_it_comes(
    shell: Kernel, where: str, is_asked: bool
) -> None:
    shell.run(f"{PRESS}long = None\nimport gemini_nb; count = gemini_nb.get_manager().statistics().total")
    run = shell.run(
        f"with pressing({where!r}):\n    %gemini_stream --wait -o long Write a long text of 2000 words."
    )
    if is_asked:
        assert_stopped(run, shell)
    else:
        assert (run.status, run.outputs) == ("error", [])
        assert run.error_text.rstrip().splitlines()[-1].startswith("KeyboardInterrupt")
        assert shell.run("print(gemini_nb.get_manager().statistics().total - count)").stdout == "0\n"


def test_an_interrupt_counts_the_rows_that_were_not_asked(shell: Kernel) -> None:
    shell.run(
        f"{PRESS}import threading\nrows = range(1000)\nnever = (threading.Event().wait(60) for _ in rows)"
    )
    for rows, said in (
        ("rows", r"\d+ stopped(, \d+ had ended)?, [789]\d\d were not asked; .*"),
        ("never", r"nothing had been asked\."),
    ):
        cell = f"%gemini_stream --wait --each {rows} Write 900 words about {{item}}."
        run = shell.run(f"with pressing('wait_only'):\n    {cell}")
        assert re.fullmatch(f"KeyboardInterrupt: {said}", run.error_text.strip()), run.error_text


def test_the_list_has_one_line_for_a_group_and_its_rows_on_demand(shell: Kernel) -> None:
    shell.run("rows = [f'Name river {number}.' for number in range(102)]")
    shell.run("from gemini_nb.streams.group import pace; first, pace._FIRST = pace._FIRST, 102")
    shell.run("%%gemini_stream --each rows -o rivers --wait --concurrency 102\n{item}")
    shell.run("pace._FIRST = first")
    [line] = [one for one in shell.run("%gemini_streams").stdout.splitlines() if "river" in one]
    assert re.match(r"rivers +completed +gemini-\S+ \(simulated\) +[1-9]\d* .* s +102/102$", line), line
    listed = shell.run("%gemini_streams rivers").stdout.splitlines()
    assert (len(listed), listed[-1]) == (102, "… and 2 more; to_frame() has them all.")
    assert listed[1].startswith(f"rivers[0] · {shell.run('print(rivers[0].stream_id)').stdout.strip()} ")
    assert listed[1].endswith(" Name river 0.")


def test_a_cell_of_many_rows_that_runs_again_ends_its_earlier_run(shell: Kernel) -> None:
    shell.run(
        "import gemini_nb, threading; count = gemini_nb.get_manager().statistics().total\n"
        "none_yet = threading.Event(); rows = [f'Say {number}.' for number in range(200)]\n"
        "def slow():\n    yield from rows[:60]\n    none_yet.wait(60)\n    yield from rows[60:]"
    )
    cell = "%%gemini_stream -o first --each lazy\n{item}"
    shell.run("lazy = slow()")
    shell.run(cell, cell_id="one")
    shell.run("while first.counts.completed < 60: threading.Event().wait(0.01)")
    shell.run("lazy, earlier = iter(['Say hello.']), first")
    shell.run(cell, cell_id="one")
    done = shell.run("none_yet.set(); first.wait(); print(earlier.is_over, len(earlier), len(first))")
    assert done.stdout.split() == ["True", "60", "1"], done.error_text
    asked = shell.run("print(gemini_nb.get_manager().statistics().total - count)")
    assert asked.stdout.split() == ["61"]


def test_a_manager_that_was_shut_down_is_replaced(make_kernel: Callable[..., Kernel]) -> None:
    kernel = make_kernel(GEMINI_NB_AUTH="simulator", GEMINI_NB_SIMULATOR_PACE="0")
    kernel.run(f"{LOAD}\n%config GeminiNB.model = 'gemini-2.5-pro'")
    kernel.run("%%gemini_stream -c talk --wait\nName a river.")
    same = kernel.run(
        "import gemini_nb; old = gemini_nb.get_manager(); old.shutdown()\n%gemini_stream --wait -o one Hello"
    )
    assert same.status == "ok", same.error_text
    again = kernel.run("old = gemini_nb.get_manager(); old.shutdown(); old.shutdown()")
    assert again.status == "ok", again.error_text
    for cell in (
        "%%gemini_stream --wait -o two\nHello",
        "%%gemini_stream -c talk --wait -o three\nAnother one.",
    ):
        shown = kernel.run(cell)
        assert shown.status == "ok", shown.error_text
        assert any("text/markdown" in bundle for bundle in shown.outputs)
    printed = kernel.run("gemini_nb.get_manager().start_stream('Hello', lambda event: print('told')).wait()")
    assert "told" in printed.stdout
    facts = kernel.run("print({one.model for one in (one, two, three)}, len(talk.history))\n%gemini_streams")
    first, *_, last = facts.stdout.splitlines()
    assert first == "{'gemini-2.5-pro'} 4"
    assert last.startswith("3 completed · ")


def test_rows_that_are_no_rows_are_said_to_be_none(shell: Kernel) -> None:
    shell.run("rows, used = ['a', 'b'], iter(())")
    same = shell.run("%%gemini_stream --each rows --wait\nSay hello.")
    assert same.stdout == "The prompt does not name {item}, so all rows are asked the same.\n"
    assert shell.run("%%gemini_stream --each rows --wait\nSay {item}.").stdout == ""
    none = shell.run("%%gemini_stream --each used --wait\nSay {item}.")
    assert "no row was read; an iterator that was used up has none" in settled(none, shell)


def test_time_magic_around_a_stream_cell(shell: Kernel) -> None:
    result = shell.run("%%time\n%%gemini_stream --wait -o timed\nDescribe a lighthouse.")
    assert result.status == "ok", result.error_text
    assert "Wall time" in result.stdout
    assert shell.run("print(timed.status)").stdout.strip() == "completed"


def test_capture_magic_around_a_stream_cell(shell: Kernel) -> None:
    result = shell.run("%%capture taken\n%%gemini_stream --wait -o caught\nDescribe a lighthouse.")
    assert result.status == "ok", result.error_text
    kept = shell.run("print(caught.status, 'text/markdown' in taken.outputs[-1].data)")
    assert kept.stdout.split() == ["completed", "True"], kept.error_text


def test_tools_from_the_notebook(shell: Kernel) -> None:
    shell.run(
        "def weather(city: str) -> dict:\n"
        "    'Tell the weather of a city.'\n"
        "    return {'sky': 'cloudless', 'city': city}"
    )
    prompt = "Plan a day in Lisbon. Check the weather first."
    result = shell.run(f"%%gemini_stream -t weather -o trip --wait\n{prompt}")
    assert result.status == "ok", result.error_text
    text = settled(result, shell)
    assert "<details><summary>tool weather" in text
    assert "cloudless" in text
    out = shell.run("print(trip.tool_calls[0].args, trip.tool_calls[0].result)").stdout
    assert out.strip() == "{'city': 'Lisbon'} {'sky': 'cloudless', 'city': 'Lisbon'}"


def test_a_chat_of_ones_own_brings_its_settings(shell: Kernel) -> None:
    shell.run("import gemini_nb\ntalk = gemini_nb.Chat(model='gemini-2.5-pro')")
    for words in ("Name a river.", "And a longer one?"):
        done = shell.run(f"%%gemini_stream -c talk -o trip --wait\n{words}")
        assert done.status == "ok", done.error_text
    assert shell.run("print(trip.model, len(talk.history))").stdout.split() == ["gemini-2.5-pro", "4"]


def test_a_chat_made_by_a_cell_keeps_what_it_was_begun_with(shell: Kernel) -> None:
    shell.run("def river(name: str) -> str:\n    'Look up a river.'\n    return name")
    begun = "-m gemini-2.5-pro -s 'Be brief.' -t river --auth simulator"
    for options in (begun, "", "-m gemini-2.5-flash --temperature 1", ""):
        done = shell.run(f"%%gemini_stream -c new_talk {options} -o trip --wait\nName a river.")
        assert done.status == "ok", done.error_text
        seen = shell.run(
            "body = trip.request.body; print(trip.model, *body, trip.request.tools.names)"
        ).stdout
        model = "gemini-2.5-flash" if "flash" in options else "gemini-2.5-pro"
        config = ["generationConfig"] if "temp" in options else []
        assert seen.split() == [model, "systemInstruction", *config, "tools", "['river']"]


ASYNC_TOOL = """
import asyncio, threading
queue = asyncio.Queue(1)
async def feed():
    while True:
        await queue.put("cloudless")
feeder = asyncio.ensure_future(feed())
async def weather(city: str) -> str:
    'Tell the weather of a city.'
    assert threading.current_thread() is threading.main_thread()
    return await queue.get()  # the kernel's own queue
"""
PROMPT = "Plan a day in Lisbon. Check the weather first."


@pytest.mark.parametrize(
    "cell",
    [
        f"%%gemini_stream -t weather -o trip --wait\n{PROMPT}",
        f"%%time\n%%gemini_stream -t weather -o trip --wait\n{PROMPT}",
        f"trip = gemini_nb.get_manager().start_stream({PROMPT!r}, tools=[weather])\ntrip.result(20)",
        f"trip = gemini_nb.get_manager().start_stream({PROMPT!r}, tools=[weather])\nawait trip",
        f"trip = gemini_nb.get_manager().start_stream({PROMPT!r}, tools=[weather])\nfor event in trip: pass",
    ],
    ids=["awaited magic", "blocking magic", "result", "await", "for"],
)
def test_an_async_tool_runs_on_the_kernels_loop_while_a_cell_waits(shell: Kernel, cell: str) -> None:
    shell.run(f"import gemini_nb\n{ASYNC_TOOL}")
    waiting = shell.start(cell)
    queued = [shell.start(f"print({number})") for number in range(3)]
    shell.finish(waiting)
    assert waiting.status == "ok", waiting.error_text
    assert [shell.finish(run).stdout for run in queued] == ["0\n", "1\n", "2\n"], "queued cells were lost"
    out = shell.run("feeder.cancel(); print(trip.tool_calls[0].status, trip.tool_calls[0].result)").stdout
    assert out.split() == ["done", "cloudless"]


@pytest.mark.parametrize("sleep", ["await asyncio.sleep(60)", "time.sleep(60)"], ids=["waits", "computes"])
def test_an_interrupt_of_a_blocked_wait_stops_the_stream_and_its_tool(
    shell: Kernel, sleep: str, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    shell.run(
        "import asyncio, gemini_nb, pathlib, time\n"
        "async def weather(city: str) -> str:\n"
        "    'Tell the weather of a city.'\n"
        f"    pathlib.Path({str(started)!r}).touch()\n"
        f"    {sleep}\n"
    )
    run = shell.start(
        f"trip = gemini_nb.get_manager().start_stream({PROMPT!r}, tools=[weather])\ntrip.result()"
    )
    shell.wait_until(started.exists)
    shell.interrupt()
    shell.finish(run)
    assert run.status == "error"
    out = shell.run("print(trip.wait().status, trip.tool_calls[0].status)").stdout
    assert out.split() == ["stopped", "cancelled"]


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("%%gemini_stream -t nothere\nHello", "--tools: there is no 'nothere'"),
        ("%%gemini_stream -t search\nHello", "Google's own tool is --use search."),
        ("%%gemini_stream --temperatur x\nHello", "invalid float value"),
        ("%%gemini_stream --colour red\nHello", "unrecognized arguments"),
        ("%%gemini_stream --auth someone\nHello", "invalid choice"),
        ("%%gemini_stream -m a?b\nHello", "is not a model id"),
        ("%%gemini_stream\n   ", "The prompt is empty"),
        ("%%gemini_stream -o a-b\nHello", "is not a name"),
        ("%gemini_stop s999", "There is no stream"),
        ("%%gemini_stream --modle x\nHello", "There is no option --modle. Did you mean --model?"),
        ("%%gemini_stream --max_tokens=5\nHello", "Did you mean --max-tokens?"),
        ("%%gemini_stream -s 'Be --brief' --serach\nHello", "no option --serach. Did you mean --search?"),
        ("%%gemini_stream -modle x\nHello", "There is no option -modle. Did you mean --model?"),
        ("%%gemini_stream -search\nHello", "There is no option -search. Did you mean --search?"),
        ("%%gemini_stream -chat=talk\nHello", "There is no option -chat. Did you mean --chat?"),
        ("%gemini_stream --temprature 1 Hello", "Did you mean --temperature?"),
        ("%gemini_stream -thinking Hello", "There is no option -thinking. Did you mean --thinking?"),
        ("def my_weather(): ...\n%gemini_stream -t my_wether Hello", "Did you mean my_weather?"),
        ("%gemini_stop al", "Did you mean all?"),
        ("%gemini_show", "Which stream?"),
        ("%gemini_streams now", "There is no stream 'now'"),
        ("%gemini_dashboard now", "takes no arguments"),
        ("%%gemini_stream --use nothere\nHello", "--use takes search, url, maps, code, not 'nothere'."),
        ("%gemini_stream --use serach,code Hello", "not 'serach'. Did you mean search?"),
        ("%gemini_chat --use nothere", "--use takes search, url, maps, code, not 'nothere'."),
        ("%gemini_chat -m a?b", "--model: 'a?b' is not a model id."),
        ("five = 5\n%gemini_stream --schema five Hello", "--schema: 'five' is no schema, but of type int."),
        ("word = 'x'\n%gemini_stream --cached word Hello", "--cached: cached is a CachedContent"),
        ("names = ['a']\n%gemini_stop names", "'names' is of type list, not a stream"),
    ],
)
def test_what_a_person_types_wrong(shell: Kernel, cell: str, words: str) -> None:
    count = "import gemini_nb; print(gemini_nb.get_manager().statistics().total)"
    before = shell.run(count).stdout
    result = shell.run(cell)
    shown = result.error_text + result.stderr
    assert result.status == "error"
    assert words in shown
    assert "Traceback" not in shown
    assert shell.run(count).stdout == before


def test_no_key_names_the_variables_and_the_simulator(make_kernel: Callable[..., Kernel]) -> None:
    kernel = make_kernel()
    kernel.run(LOAD)
    result = kernel.run("%%gemini_stream\nHello")
    assert result.status == "error"
    for word in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "--auth simulator"):
        assert word in result.error_text


def test_stop_show_streams_and_wait(shell: Kernel) -> None:
    shell.run("%%gemini_stream -o one\nWrite a long text of 2000 words.")
    shell.run("%%gemini_stream -o two\nDescribe a lighthouse.")
    listed = shell.run("%gemini_streams").stdout
    assert "Write a long text" in listed
    assert "Describe a lighthouse" in listed
    shell.run("%gemini_wait two")
    assert (
        shell.run("%gemini_stop one").stdout == shell.run("print(f'Stopped one · {one.stream_id}.')").stdout
    )
    assert shell.run("print(one.status, two.status)").stdout.split() == ["stopped", "completed"]
    by_entry = shell.run("get_ipython().run_line_magic('gemini_show', two.record.entry_id)")
    assert by_entry.status == "ok", by_entry.stderr
    shown = shell.run("%gemini_show two")
    assert "text/markdown" in shown.outputs[0]
    value = shell.run("two")
    assert "text/markdown" in value.outputs[0]
    assert "lighthouse" in value.outputs[0]["text/plain"].lower()


def test_stop_says_what_it_stopped_by_the_names_the_user_knows(shell: Kernel) -> None:
    assert shell.run("%gemini_stop").stdout == "No stream runs; nothing was stopped.\n"
    shell.run(
        "import gemini_nb\nstart = gemini_nb.get_manager().start_stream\nlong = 'Write 3000 words.'\n"
        "brief = start('Name a river.').wait()"
    )
    said = shell.run("%gemini_stop brief").stdout
    expected = "brief · {brief.stream_id} had ended before (completed); nothing was stopped."
    assert said == shell.run(f"print(f'{expected}')").stdout
    shell.run("poem = start(long); other = start(long); ids = poem.stream_id, other.stream_id")
    shell.run("two = [brief, poem, poem, other]")
    said = shell.run("%gemini_stop two poem").stdout
    expected = "print(f'Stopped 2 streams: poem · {ids[0]} and other · {ids[1]}; 1 had ended before.')"
    assert said == shell.run(expected).stdout
    shell.run("rows = gemini_nb.map([long] * 20)")
    said = shell.run("%gemini_stop").stdout
    assert said.startswith("Stopped 20 streams: ")
    assert said.count("rows[") == 8
    assert said.endswith(" and 12 more.\n")
    shell.run("del rows; poem = other = None; start(long); start(long); start(long)")
    assert shell.run("%gemini_stop all").stdout.startswith("Stopped 3 streams: s")


def test_a_stream_is_called_the_same_everywhere(shell: Kernel) -> None:
    shell.run("import gemini_nb\nfrom gemini_nb.notebook.pane.stepper import head_html")
    shell.run("from gemini_nb.notebook.dashboard.dashboard import dashboard\nboard = dashboard()")
    shell.run("from gemini_nb.notebook.dashboard.base_row import RowStyle")
    shell.run("from gemini_nb.notebook.dashboard.stream_row import Row")
    shell.run("%%gemini_stream -o trip\nWrite 3000 words.")
    shell.run("%%gemini_stream -o later\nTranslate {trip}.")
    shell.run("mine = gemini_nb.get_manager().start_stream('Write 3000 words.')")
    label = shell.run("print(trip.label)").stdout.strip()
    assert label == f"trip · {shell.run('print(trip.stream_id)').stdout.strip()}"
    assert shell.run("print(mine.label == f'mine · {mine.stream_id}')").stdout == "True\n"
    assert label in shell.run("print(head_html(trip))").stdout
    row = "row = Row(trip, RowStyle(), print); print(row.box.children[1].value, row.box.children[2].tooltip)"
    assert shell.run(row).stdout.count(label) == 2
    assert label in shell.run("%gemini_streams").stdout
    assert f"waiting for {label}" in shell.run("print(head_html(later))").stdout
    assert label in shell.run("print(repr(trip))").stdout
    shell.run("trip_too = trip\n%gemini_stop later")
    assert shell.run("%gemini_stop trip_too").stdout == f"Stopped {label}.\n"
    for form in ("text/markdown", "text/plain"):
        assert label in shell.run("%gemini_show trip").outputs[0][form]
    shell.run("rows = gemini_nb.map(['Name a river.'] * 2).wait()")
    assert shell.run("print(rows[1].label)").stdout.startswith("rows[1] · s")


def test_stop_names_a_function_that_goes_on(shell: Kernel) -> None:
    shell.run(
        "import gemini_nb, threading\ngo, begun = threading.Event(), threading.Event()\n"
        "def weather(city: str) -> str:\n"
        "    'Tell the weather of a city.'\n"
        "    begun.set(); go.wait(20); return 'cloudless'"
    )
    shell.run("%%gemini_stream -t weather -o trip\nPlan a day in Lisbon. Check the weather first.")
    shell.run("begun.wait(20)")
    said = shell.run("%gemini_stop trip").stdout
    shell.run("go.set()")
    assert said.endswith("Still running, since nothing can end a function in a thread: weather.\n")


@pytest.mark.parametrize("code", ["display('before'); poem", "%gemini_show poem", "two", "display(two)"])
def test_a_running_stream_is_shown_live_wherever_it_is_shown_and_settles(shell: Kernel, code: str) -> None:
    shell.run("%gemini_stream -o poem Describe a lighthouse in 90 words.")
    shell.run("%gemini_stream -m gemini-a -m gemini-b -o two Describe a lighthouse in 90 words.")
    shown = shell.run(code)
    assert shown.status == "ok", shown.error_text
    assert "widget-view" in str(shown.outputs)
    text = settled(shown, shell)
    assert "active" not in text
    assert "goes on" not in text
    assert "lighthouse" in text.lower()
    again = shell.run(code.replace("display('before'); ", ""))
    assert again.outputs[0]["text/markdown"] == text


def test_a_loop_that_displays_a_running_stream_again_and_again_has_one_pane(shell: Kernel) -> None:
    shell.run("%gemini_stream -o poem Describe a lighthouse in 90 words.")
    shown = shell.run("for _ in range(5): display(poem)")
    assert len(shown.outputs) == 1
    settled(shown, shell)


def test_streams_are_named_by_lists_and_groups_by_quoted_names_and_all_at_once(shell: Kernel) -> None:
    shell.run("import gemini_nb\nstart = gemini_nb.get_manager().start_stream")
    shell.run("several = [start('Name a river.'), start('Name a lake.')]\n%gemini_wait several")
    assert shell.run("print(*(s.status for s in several))").stdout.split() == ["completed"] * 2
    assert len(shell.run("%gemini_show several").outputs) == 2
    shell.run("longer = [start('Write 3000 words.')]\n%gemini_stop 'longer'")
    assert shell.run("print(longer[0].status)").stdout.strip() == "stopped"
    shell.run("one = start('Name a river.')\n%gemini_wait all")
    assert shell.run("print(one.status)").stdout.strip() == "completed"


def test_a_cell_that_runs_again_stops_its_own_stream(shell: Kernel) -> None:
    shell.run("%%gemini_stream -o first\nWrite a long text of 2000 words.", cell_id="one")
    shell.run("%%gemini_stream -o second\nWrite a long text of 2000 words.", cell_id="one")
    assert shell.run("print(first.wait().status, second.status)").stdout.split() == ["stopped", "active"]


def test_names_are_those_that_python_knows(shell: Kernel) -> None:
    """The micro sign of a keyboard is another character than the letter that Python makes of it."""
    shell.run(
        "%gemini_stream --wait -o \u00b5 Name a river.\n%gemini_stream --wait -c \u00b5\u00b5 Name a lake."
    )
    said = shell.run(
        "print(\u00b5.status, len(\u00b5\u00b5.history))\n%gemini_wait \u00b5\n%gemini_show \u00b5"
    )
    assert said.stdout == "completed 2\n", said.error_text
    shell.run("%gemini_stream --wait -o after Repeat {\u00b5}.")
    asked = shell.run(
        "print(after.request.contents[-1]['parts'][0]['text'].startswith('Repeat ' + \u00b5.text[:9]))"
    )
    assert asked.stdout == "True\n", asked.error_text
    rows = shell.run("\u00b5s = ['a']\n%gemini_stream --wait --each \u00b5s -o rows Name {item}.")
    assert rows.status == "ok", rows.error_text


@pytest.mark.parametrize(
    "again",
    [
        "%%gemini_stream -o first --schema nowhere\nWrite.",
        "%%gemini_stream -o first --file nowhere.txt\nWrite.",
        "%%gemini_stream -o first --modle x\nWrite.",
        "%%gemini_stream -o other -c first\nWrite.",
    ],
)
def test_a_cell_that_cannot_ask_again_leaves_what_it_asked_before(shell: Kernel, again: str) -> None:
    shell.run("%%gemini_stream -o first\nWrite a long text of 2000 words.", cell_id="one")
    failed = shell.run(again, cell_id="one")
    assert failed.status == "error"
    assert shell.run("print(first.status, first.record.stop_asked)").stdout.split() == ["active", "False"]
    shell.run("%%gemini_stream -o second\nWrite a long text of 2000 words.", cell_id="one")
    assert shell.run("print(first.wait().status, second.status)").stdout.split() == ["stopped", "active"]


def test_a_headless_run_waits_and_keeps_the_answer(shell: Kernel) -> None:
    result = shell.run("%%gemini_stream -o here\nDescribe a lighthouse.", allow_stdin=False)
    assert result.status == "ok", result.error_text
    assert [set(bundle) for bundle in result.outputs] == [{"text/markdown", "text/plain"}]
    assert "lighthouse" in result.outputs[0]["text/markdown"].lower()


def test_a_headless_cell_fails_when_its_stream_does(shell: Kernel) -> None:
    result = shell.run("%%gemini_stream -m unknown-model\nHello", allow_stdin=False)
    assert result.status == "error"
    assert "404" in result.error_text


def test_loading_twice_reloading_and_unloading(shell: Kernel) -> None:
    shell.run("import gemini_nb; before = gemini_nb.get_manager()")
    shell.run("%load_ext gemini_nb")
    shell.run("%reload_ext gemini_nb")
    assert shell.run("import gemini_nb; print(before is gemini_nb.get_manager())").stdout.strip() == "True"
    shell.run("%%gemini_stream -o long\nWrite a long text of 2000 words.")
    shell.run("%unload_ext gemini_nb")
    assert shell.run("print(long.wait().status)").stdout.strip() == "stopped"
    again = shell.run("%%gemini_stream\nHello")
    assert "not found" in again.stderr + again.error_text
    code = "print('gemini_wait' in get_ipython().magics_manager.magics['line'])"
    assert shell.run(code).stdout.strip() == "False"
    assert shell.run(LOAD).status == "ok"
    assert shell.run("%%gemini_stream --wait\nDescribe a lighthouse.").status == "ok"


def test_the_key_is_nowhere_in_the_output(make_kernel: Callable[..., Kernel]) -> None:
    secret = "AIza-very-secret-key-0123456789"
    kernel = make_kernel(GEMINI_API_KEY=secret)
    kernel.run(LOAD)
    kernel.run(
        "from gemini_nb.simulator import Simulator\nsim = Simulator(api_key='another-key').__enter__()"
    )
    kernel.run("%xmode Verbose")
    kernel.run("import os; os.environ['GOOGLE_GEMINI_BASE_URL'] = sim.base_url")
    result = kernel.run("%%gemini_stream --wait -o refused\nHello")
    assert result.status == "error"
    assert "API key not valid" in result.error_text or "API_KEY_INVALID" in result.error_text
    again = kernel.run("refused.result()")
    assert again.status == "error"
    more = kernel.run("refused, refused.info(), refused.events, gemini_nb.get_manager().runtime")
    for run in (result, again, more):
        assert secret not in json.dumps(run.messages, default=str)
    assert kernel.run("print(refused.retries, len(sim.requests))").stdout.split() == ["0", "1"]


def test_a_dashboard_in_a_kernel_lists_and_stops(shell: Kernel) -> None:
    shown = shell.run("%gemini_dashboard")
    assert "application/vnd.jupyter.widget-view+json" in shown.outputs[0]
    shell.run("%%gemini_stream -o long\nWrite a long text of 2000 words.")
    shell.wait_until(lambda: "Write a long text" in json.dumps(shell.widgets, default=str))


def answer_of(settled: str) -> str:
    """What stands between the line of who answered and the figures."""
    return settled.partition("<sub")[0].split("\n\n", 2)[2]


def test_what_was_recorded_is_played_back_into_a_pane(shell: Kernel) -> None:
    cell = "%%gemini_stream -o said --wait{}\nName a river."
    first = settled(shell.run(cell.format(" --keep kept.jsonl")), shell)
    played = shell.run(cell.format(" --keep kept.jsonl --auth recording"))
    again = settled(played, shell)
    assert answer_of(again) == answer_of(first)
    assert re.search(r"\(recorded\)\*\* · said · s\d+ · kept, \d+ \w{3} \d\d:\d\d\n", again)
    assert played.stderr == ""
    assert "(recorded)" in shell.run("%gemini_streams").stdout
    shell.run("%gemini_dashboard")
    shell.wait_until(lambda: ">recorded</span>" in json.dumps(shell.widgets, default=str))
    assert ">kept, " in json.dumps(shell.widgets, default=str)


@pytest.mark.slow
def test_a_waiting_cell_does_not_end_before_its_output_was_sent(make_kernel: Callable[..., Kernel]) -> None:
    kernel = make_kernel(GEMINI_NB_AUTH="simulator", GEMINI_NB_SIMULATOR_PACE="0")
    slow = "import time\nfrom gemini_nb.notebook.pane import pane\nquick = pane.mimebundle\n"
    slow += "def mimebundle(*args):\n    time.sleep(6)\n    return quick(*args)\npane.mimebundle = mimebundle"
    kernel.run(f"{LOAD}\n{slow}")
    result = kernel.run("%%gemini_stream --wait\nDescribe a lighthouse.")
    assert any("text/markdown" in bundle for bundle in result.outputs), "before the cell was idle"


def test_a_stream_in_a_list_or_a_dictionary_shows_its_repr(shell: Kernel) -> None:
    shell.run("%%gemini_stream -o poem --wait\nA poem.")
    result = shell.run("[poem, {'poem': poem}]")
    (bundle,) = result.outputs
    assert bundle["text/plain"].count("<Stream") == 2
    assert len(bundle["text/plain"]) < 400
