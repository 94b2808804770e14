"""What a tool prints, displays and clears stands in its card, whatever the cells beside it do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kernels import Kernel

PROMPT = "Plan a day in Lisbon. Check the weather first."

KINDS = """
import asyncio, concurrent.futures, contextlib, io, logging, sys, threading, time, warnings
import gemini_nb
from IPython.display import HTML, Image, clear_output, display
from IPython.utils.capture import capture_output

begun, go, said = threading.Event(), threading.Event(), threading.Event()
logger = logging.getLogger("of the user's")
logger.propagate = False
logger.handlers = [logging.StreamHandler(sys.stderr)]

def speak(number):
    print(f"<print {number}>")
    sys.stdout.write(f"<out {number}>\\n")
    sys.stderr.write(f"<err {number}>\\n")
    logger.warning(f"<log {number}>")
    warnings.warn(f"<warning {number}>")
    display(f"<display {number}>")
    get_ipython().system(f"echo '<system {number}>'")

def weather(city: str) -> str:
    "Tell the weather of a city."
    begun.set()
    warnings.simplefilter("always")
    for number in range(8):
        assert go.wait(20)
        go.clear()
        speak(number)
        said.set()
    return "cloudless"

async def weather_later(city: str) -> str:
    "Tell the weather of a city."
    return await asyncio.to_thread(weather, city)

def let_it_speak():
    go.set()
    assert said.wait(20)
    said.clear()
"""
SPOKEN = ("print", "out", "err", "log", "warning", "display", "system")

BESIDE = {
    "plain": "let_it_speak(); print('mine')",
    "capture": "%%capture taken\nlet_it_speak(); print('mine'); display('mine too')",
    "redirect": "taken = io.StringIO()\n"
    "with contextlib.redirect_stdout(taken), contextlib.redirect_stderr(sys.stdout):\n"
    "    let_it_speak(); print('mine'); print('err', file=sys.stderr)",
    "discard": "with contextlib.redirect_stdout(None):\n    print('gone'); let_it_speak()",
    "capture_output": "with capture_output() as taken:\n"
    "    let_it_speak(); print('mine'); display('mine too')",
    "capture around an await": "with capture_output() as taken:\n"
    "    await asyncio.to_thread(let_it_speak); print('mine'); display('mine too')",
    "nested capture": "with capture_output() as taken:\n"
    "    get_ipython().run_cell('let_it_speak(); print(\\'mine\\'); display(\\'mine too\\')')",
    "last": "let_it_speak()",
}


@pytest.fixture(scope="module")
def shared(make_shared_kernel: Callable[..., Kernel]) -> Kernel:
    return make_shared_kernel(GEMINI_NB_AUTH="simulator", GEMINI_NB_SIMULATOR_PACE="0")


@pytest.fixture
def shell(shared: Kernel) -> Kernel:
    loaded = shared.run("%load_ext gemini_nb\n%gemini_stop all\n" + KINDS)
    assert loaded.status == "ok", loaded.error_text
    return shared


def ask(shell: Kernel, code: str) -> str:
    """Run a tool to its end, and return the call as its text and its displays."""
    defined = shell.run(code)
    assert defined.error_text == ""
    started = shell.run(f"%%gemini_stream -t weather -o trip\n{PROMPT}")
    ended = shell.run(
        "trip.wait(20); call = trip.tool_calls[0]; print(call.error); print(call.output, end='')"
    )
    assert (started.stdout, started.stderr, ended.stderr) == ("", "", "")
    error, output = ended.stdout.split("\n", 1)
    assert error == "None", error
    return output


@pytest.mark.parametrize("tool", ["weather", "weather_later"])
def test_nothing_that_a_tool_says_lands_in_a_cell(shell: Kernel, tool: str) -> None:
    started = shell.run(f"%%gemini_stream -t {tool} -o trip\n{PROMPT}")
    shell.run("await asyncio.to_thread(begun.wait, 20)")
    seen = {}
    for name, code in BESIDE.items():
        result = shell.run(code)
        assert result.error_text == "", result.error_text
        seen[name] = (result.stdout, result.stderr, [bundle.get("text/plain") for bundle in result.outputs])
        if name in {"capture", "capture_output", "capture around an await", "nested capture"}:
            taken = shell.run("print(repr((taken.stdout, taken.stderr, len(taken.outputs))))").stdout
            assert eval(taken) == ("mine\n", "", 1), name
        if name == "redirect":
            assert shell.run("print(repr(taken.getvalue()))").stdout == "'mine\\nerr\\n'\n"
    nothing: tuple[str, str, list[str]] = ("", "", [])
    assert seen == {**dict.fromkeys(BESIDE, nothing), "plain": ("mine\n", "", [])}
    output = shell.run("trip.wait(20); print(trip.tool_calls[0].output)").stdout
    for kind in SPOKEN:
        for number in range(8):
            assert f"<{kind} {number}>" in output
    assert (started.stdout, started.stderr) == ("", "")


def test_a_tools_own_redirects_take_its_own_prints_and_no_others(shell: Kernel) -> None:
    output = ask(
        shell,
        "def weather(city: str) -> str:\n"
        "    'Tell the weather of a city.'\n"
        "    mine, errors = io.StringIO(), io.StringIO()\n"
        "    with contextlib.redirect_stdout(mine), contextlib.redirect_stderr(sys.stdout):\n"
        "        print('kept'); print('kept too', file=sys.stderr)\n"
        "    with contextlib.redirect_stderr(sys.stdout), contextlib.redirect_stdout(sys.stderr):\n"
        "        print('round and round')\n"
        "    with contextlib.redirect_stdout(None): print('gone')\n"
        "    with capture_output() as taken:\n"
        "        print('taken'); display('shown')\n"
        "    print([mine.getvalue(), taken.stdout, len(taken.outputs)])\n"
        "    return 'cloudless'",
    )
    assert output == "round and round\n['kept\\nkept too\\n', 'taken\\n', 1]\n"


def test_a_bar_beside_a_cell_that_captures_is_drawn_as_ever(shell: Kernel) -> None:
    shell.run(
        "begun.clear(); go.clear()\n"
        "def weather(city: str) -> str:\n"
        "    'Tell the weather of a city.'\n"
        "    import tqdm\n"
        "    begun.set(); assert go.wait(20)\n"
        "    for _ in tqdm.tqdm(range(3)): pass\n"
        "    return 'cloudless'"
    )
    shell.run(f"%%gemini_stream -t weather -o trip\n{PROMPT}")
    shell.run("%%capture\nassert begun.wait(20); go.set(); trip.wait()")
    assert "█" in shell.run("print(trip.tool_calls[0].output)").stdout


def test_threads_and_pools_that_a_tool_uses_print_to_its_card(shell: Kernel) -> None:
    output = ask(
        shell,
        "pool = concurrent.futures.ThreadPoolExecutor(1)\n"
        "def weather(city: str) -> str:\n"
        "    'Tell the weather of a city.'\n"
        "    thread = threading.Thread(target=print, args=('from a thread',))\n"
        "    thread.start(); thread.join()\n"
        "    pool.submit(print, 'from a pool').result()\n"
        "    return 'cloudless'",
    )
    assert output == "from a thread\nfrom a pool\n"
    said = shell.run("pool.submit(print, 'mine').result(); pool.shutdown()").stdout
    assert shell.run("print(call.output, end='')").stdout == output
    version = shell.run("import ipykernel; print(*ipykernel.version_info[:2])").stdout
    if tuple(map(int, version.split())) > (7, 0):  # older ones send it where the pool's thread was started
        assert said == "mine\n"


def test_clearing_in_a_tool_clears_its_card_alone(shell: Kernel) -> None:
    output = ask(
        shell,
        "def weather(city: str) -> str:\n"
        "    'Tell the weather of a city.'\n"
        "    for step in range(3):\n"
        "        clear_output(wait=True); print('step', step); display(HTML('<table><tr><td>1</table>'))\n"
        "    return 'cloudless'",
    )
    assert output == "step 2\n"
    assert shell.run("print(len(call.shown))").stdout == "1\n"


def test_pictures_and_tables_land_in_the_card_and_in_the_settled_answer(shell: Kernel) -> None:
    ask(
        shell,
        "%matplotlib inline\n"
        "import pandas\n"
        "import matplotlib.pyplot\nfrom matplotlib.figure import Figure\n"
        "def weather(city: str) -> str:\n"
        "    'Tell the weather of a city.'\n"
        "    figure = Figure(figsize=(1, 1)); figure.subplots().plot([1, 2])\n"
        "    display(figure); handle = display('waiting', display_id=True); handle.update('ready')\n"
        "    display(pandas.DataFrame({'a$b': [1, 2], 'c': ['<b>x</b>', '|']}))\n"
        "    return pandas.DataFrame({'returned': [3]})",
    )
    kinds = shell.run("print([type(shown).__name__ for shown in call.shown])").stdout
    assert kinds == "['Picture', 'Words', 'Table', 'Table']\n"
    (bundle,) = shell.run("%gemini_show trip").outputs
    settled = bundle["text/markdown"].rpartition("</details>")[2]  # beneath the fold
    assert "data:image/png;base64," in settled
    assert "ready" in settled
    assert "waiting" not in settled
    assert "<td>&lt;b&gt;x&lt;/b&gt;</td>" in settled
    assert "<th>a&#36;b</th>" in settled
    assert "<td>3</td>" in settled


def test_what_a_tool_runs_by_run_cell_shows_in_its_card(shell: Kernel) -> None:
    output = ask(
        shell,
        "def weather(city: str) -> str:\n"
        "    'Tell the weather of a city.'\n"
        "    get_ipython().run_cell('print(\\'printed\\'); 41 + 1')\n"
        "    get_ipython().run_cell('1 / 0')\n"
        "    return 'cloudless'",
    )
    assert output.startswith("printed\n42\n")
    assert "ZeroDivisionError" in output
    (pane,) = shell.run("%gemini_show trip").outputs
    assert "completed" in pane["text/plain"]


def test_code_that_a_cell_runs_by_run_cell_leaves_its_pane_open(shell: Kernel) -> None:
    cell = shell.run(
        "%gemini_stream -o poem Describe a lighthouse.\nget_ipython().run_cell('x = 1');", cell_id="nests"
    )
    shell.run("%gemini_wait", cell_id="waits")
    shell.wait_until(lambda: "text/markdown" in str(cell.outputs))


def test_displays_without_a_text_of_their_own_are_read_in_their_other_forms(shell: Kernel) -> None:
    output = ask(
        shell,
        "from IPython.display import JSON, Markdown, Math\n"
        "def weather(city: str) -> str:\n"
        "    'Tell the weather of a city.'\n"
        "    display(Markdown('**bold**'), Math('x^2'), JSON({'a': 1}))\n"
        "    display({'text/plain': '', 'text/html': '<i>i</i>'}, raw=True)\n"
        "    display(HTML('<style>p {}</style><p>one</p><p>two &amp; three</p>'))\n"
        "    return 'cloudless'",
    )
    assert output.splitlines() == ["**bold**", "$\\displaystyle x^2$", '{"a": 1}', "", "one two & three"]


def test_a_bar_that_is_a_widget_shows_in_its_card_how_far_it_is(shell: Kernel) -> None:
    ask(
        shell,
        "from tqdm.notebook import tqdm\n"
        "halfway, running = [], lambda: gemini_nb.get_manager().list_streams()[-1]\n"
        "def weather(city: str) -> str:\n"
        "    'Tell the weather of a city.'\n"
        "    for step in tqdm(range(4), mininterval=0):\n"
        "        halfway.extend(shown.text for call in running().tool_calls for shown in call.shown)\n"
        "        time.sleep(0.15)\n"
        "    return 'cloudless'",
    )
    shown = shell.run(
        "print(*(shown.text for shown in call.shown)); print(any('50%' in text for text in halfway))"
    )
    assert "100%" in shown.stdout
    assert "0%|" not in shown.stdout.replace("100%|", "")
    assert shown.stdout.endswith("True\n")


def test_a_display_of_a_cell_is_updated_where_it_stands(shell: Kernel) -> None:
    cell = shell.run("handle = display('before', display_id=True)")
    ask(
        shell,
        "def weather(city: str) -> str:\n"
        "    'Tell the weather of a city.'\n"
        "    handle.update('after')\n"
        "    return 'cloudless'",
    )
    shell.wait_until(lambda: cell.texts() == ["'after'"])


@pytest.mark.slow
def test_unloading_leaves_everything_as_it_was(make_kernel: Callable[..., Kernel]) -> None:
    kernel = make_kernel(GEMINI_NB_AUTH="simulator", GEMINI_NB_SIMULATOR_PACE="0")
    look = (
        "import concurrent.futures, contextlib, sys, threading\n"
        "from ipykernel.iostream import OutStream\n"
        "from ipykernel.zmqshell import ZMQDisplayPublisher\n"
        "from IPython.core.displaypub import CapturingDisplayPublisher\n"
        "from IPython.utils.capture import capture_output\n"
        "print(sorted((kind.__name__, name, str(kind.__dict__[name]).split(' at ')[0]) for kind, name in [\n"
        "    (OutStream, 'write'), (ZMQDisplayPublisher, 'publish'), (ZMQDisplayPublisher, 'clear_output'),\n"
        "    (CapturingDisplayPublisher, 'publish'), (CapturingDisplayPublisher, 'clear_output'),\n"
        "    (threading.Thread, 'start'), (concurrent.futures.ThreadPoolExecutor, 'submit'),\n"
        "    (contextlib._RedirectStream, '__enter__'), (contextlib._RedirectStream, '__exit__'),\n"
        "    (capture_output, '__enter__'), (capture_output, '__exit__')]))"
    )
    before = kernel.run(look).stdout
    kernel.run("%load_ext gemini_nb")
    assert kernel.run(look).stdout != before
    for _ in range(3):
        kernel.run("%reload_ext gemini_nb")
        kernel.run("%unload_ext gemini_nb\n%load_ext gemini_nb")
    for _ in range(20):
        kernel.run("print('x')")
    depth = kernel.run(
        "depth, write = 0, vars(sys.stdout).get('write')\n"
        "while write is not None and hasattr(write, '__closure__') and write.__closure__ and depth < 50:\n"
        "    depth += 1\n"
        "    write = next((c.cell_contents for c in write.__closure__ if callable(c.cell_contents)), None)\n"
        "    write = getattr(write, 'gemini_nb_inner', write)\n"
        "print(depth)"
    )
    assert int(depth.stdout) <= 2, depth.error_text
    kernel.run("%unload_ext gemini_nb")
    assert kernel.run(look).stdout == before
    assert "Bound" not in kernel.run("print(vars(sys.stdout).get('write'))").stdout


def test_what_a_subscriber_says_goes_to_the_cell_that_subscribed(shell: Kernel) -> None:
    subscribed = shell.run(
        "go.clear(); held = threading.Event()\n"
        "def follow(event):\n"
        "    if event.kind == 'stream_started':\n"
        "        held.set(); assert go.wait(20)\n"
        "    if event.kind == 'stream_completed':\n"
        "        logger.warning('logged'); display('displayed'); print('printed', 'here', 1)\n"
        "        threading.Thread(target=print, args=('from a thread',)).start()\n"
        "stream = gemini_nb.get_manager().start_stream('Why is the sky blue?', follow)\n"
        "print('mine')"
    )
    assert subscribed.stdout == "mine\n"
    captures = shell.run("%%capture taken\nheld.wait(20); go.set(); stream.wait(20); time.sleep(0.2)")
    redirects = shell.run(
        "with contextlib.redirect_stdout(io.StringIO()) as buffer: stream.wait(); print('mine')\n"
        "print([taken.stdout, taken.stderr, len(taken.outputs), buffer.getvalue()])"
    )
    assert redirects.stdout == "['', '', 0, 'mine\\n']\n"
    shell.wait_until(lambda: "from a thread" in subscribed.stdout)
    assert subscribed.stdout == "mine\nprinted here 1\nfrom a thread\n"
    assert subscribed.stderr == "logged\n"
    assert subscribed.texts() == ["'displayed'"]
    streams = [message["content"] for message in subscribed.messages if message["msg_type"] == "stream"]
    prints = [content for content in streams if "printed" in content["text"]]
    assert len(prints) == 1, "the writes of one print are one message"
    assert (captures.stdout, captures.outputs, captures.stderr) == ("", [], "")


def test_a_subscriber_that_clears_clears_the_cell_that_subscribed(shell: Kernel) -> None:
    subscribed = shell.run(
        "def follow(event):\n"
        "    clear_output(wait=True); print(event.kind)\n"
        "stream = gemini_nb.get_manager().start_stream('Why is the sky blue?', follow)"
    )
    other = shell.run("print('stays'); stream.wait(20)")
    shell.wait_until(lambda: subscribed.stdout == "stream_completed\n")
    assert other.stdout == "stays\n"


def test_the_example_of_the_readme_prints_everything_before_the_answer_of_its_cell(shell: Kernel) -> None:
    for options in ({}, {"allow_stdin": False}):
        result = shell.run(
            "stream = gemini_nb.get_manager().start_stream('Why is the sky blue?', print)\n"
            "print('ANSWER', stream.result()[:0])",
            **options,
        )
        assert result.stdout.count("StreamCompleted(") == 1
        assert result.stdout.index("StreamCompleted(") < result.stdout.index("ANSWER")


def test_a_subscriber_of_a_cell_that_captures_is_captured(shell: Kernel) -> None:
    result = shell.run(
        "%%capture taken\n"
        "tell = lambda event: print(event.kind)\n"
        "stream = gemini_nb.get_manager().start_stream('Why is the sky blue?', tell)\n"
        "stream.wait(20)"
    )
    assert result.stdout == ""
    assert shell.run("print(taken.stdout)").stdout.startswith("stream_started\n")
    closed = shell.run(
        "go.clear()\n"
        "tell = lambda event: (go.wait(20), print(event.kind))\n"
        "with open('events.txt', 'w') as file, contextlib.redirect_stdout(file):\n"
        "    stream = gemini_nb.get_manager().start_stream('Hello', tell)"
    )
    shell.run("go.set(); stream.wait(20)")
    shell.wait_until(lambda: "stream_completed" in closed.stdout)


def test_a_failing_subscriber_is_reported_in_its_cell(shell: Kernel) -> None:
    subscribed = shell.run("stream = gemini_nb.get_manager().start_stream('Hello', lambda event: 1 / 0)")
    shell.run("stream.wait(20)")
    shell.wait_until(lambda: "ZeroDivisionError" in subscribed.stderr)


def test_a_pane_settles_though_another_cell_captures(shell: Kernel) -> None:
    pane = shell.run(f"%%gemini_stream -o trip\n{PROMPT}")
    shell.run("%%capture taken\nimport time\ntrip.wait(20); time.sleep(0.5)")
    shell.wait_until(lambda: any("text/markdown" in bundle for bundle in pane.outputs))
    assert shell.run("print(len(taken.outputs))").stdout == "0\n"


def test_a_tool_that_goes_on_after_a_stop_is_said_to_run_until_it_ends(shell: Kernel) -> None:
    shell.run(
        "go.clear(); begun.clear()\n"
        "def weather(city: str) -> str:\n"
        "    'Tell the weather of a city.'\n"
        "    begun.set(); assert go.wait(20); print('late words')\n"
        "    return 'cloudless'"
    )
    pane = shell.run(f"%%gemini_stream -t weather -o trip\n{PROMPT}")
    shell.run("await asyncio.to_thread(begun.wait, 20); trip.stop()")

    def settled() -> str:
        return "".join(bundle.get("text/markdown", "") for bundle in pane.outputs)

    shell.wait_until(lambda: "still running" in settled())
    assert shell.run("print(trip.tool_calls[0].still_running)").stdout == "True\n"
    assert shell.run("go.set()").stdout == ""
    shell.wait_until(lambda: "late words" in settled() and "still running" not in settled())
    assert shell.run("print(trip.tool_calls[0].still_running)").stdout == "False\n"


@pytest.mark.parametrize("options", ["", "--each cities", "-m gemini-3.8-flash -m gemini-2.5-pro"])
def test_what_a_tools_thread_prints_after_the_answer_stands_in_it(shell: Kernel, options: str) -> None:
    shell.run(
        "cities = ['Lisbon', 'Porto']; ended = threading.Event()\n"
        "def weather(city: str) -> str:\n"
        "    'Tell the weather of a city.'\n"
        "    def later():\n"
        "        assert ended.wait(20); print('late words'); display('and more')\n"
        "    threading.Thread(target=later).start()\n"
        "    return 'cloudless'"
    )
    view = shell.run(f"%%gemini_stream -t weather -o trips {options}\n{PROMPT}")

    def settled() -> str:
        return "".join(bundle.get("text/markdown", "") for bundle in view.outputs)

    shell.wait_until(lambda: "cloudless" in settled())
    assert "late words" not in settled()
    assert shell.run("ended.set()").stdout == ""
    calls = max(1, 2 * bool(options))
    shell.wait_until(lambda: settled().count("late words") == settled().count("and more") == calls)
    assert len(view.outputs) == 1


@pytest.mark.parametrize("options", ["--each cities", "-m gemini-3.8-flash -m gemini-2.5-pro"])
def test_a_group_settles_again_when_the_last_tool_has_ended(shell: Kernel, options: str) -> None:
    shell.run(
        "cities = ['Lisbon', 'Porto']\n"
        "going = threading.Semaphore(0); begun_here = threading.Semaphore(0)\n"
        "def weather(city: str) -> str:\n"
        "    'Tell the weather of a city.'\n"
        "    begun_here.release(); assert going.acquire(timeout=20); print('late words')\n"
        "    return 'cloudless'"
    )
    view = shell.run(f"%%gemini_stream -t weather -o trips {options}\n{PROMPT}")
    shell.run(
        "for _ in trips.streams: await asyncio.to_thread(begun_here.acquire, True, 20)\n%gemini_stop trips"
    )

    def settled() -> str:
        return "".join(bundle.get("text/markdown", "") for bundle in view.outputs)

    shell.wait_until(lambda: settled().count("still running") >= 2)
    assert shell.run("going.release()").stdout == ""
    shell.wait_until(lambda: settled().count("late words") == 1)
    assert "still running" in settled()
    shell.run("going.release()")
    shell.wait_until(lambda: settled().count("late words") == 2 and "still running" not in settled())
    assert len(view.outputs) == 1
