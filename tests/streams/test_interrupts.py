"""An interrupted wait says in one line what became of its streams, and loses nothing that came."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kernels import Kernel

START = (
    "import asyncio, os, signal, threading, gemini_nb\n"
    "press = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))\n"  # once the cell waits
    "first = threading.Event()\n"
    "def look(event):\n"
    "    if event.kind == 'text_delta': first.set()\n"
    "ended = gemini_nb.get_manager().start_stream('Hello').wait()\n"
    "poem = gemini_nb.get_manager().start_stream('Write a long text of 2000 words.', look)\n"
    "group = gemini_nb.map(['Hello', *['Write a long text of 2000 words.'] * 3])\n"
    "group.streams[0].wait()\n"
    "await asyncio.to_thread(first.wait, 20)"
)


@pytest.fixture(scope="module")
def shell(make_shared_kernel: Callable[..., Kernel]) -> Kernel:
    kernel = make_shared_kernel(GEMINI_NB_AUTH="simulator", GEMINI_NB_SIMULATOR_PACE="1")
    kernel.run("%load_ext gemini_nb")
    return kernel


@pytest.mark.parametrize(
    ("cell", "line"),
    [
        ("poem.result()", "poem · {poem} was stopped; %gemini_show {poem} shows what came."),
        ("poem.wait()", "poem · {poem} was stopped; %gemini_show {poem} shows what came."),
        ("await poem", "poem · {poem} was stopped; %gemini_show {poem} shows what came."),
        ("%%time\npoem.wait()", "poem · {poem} was stopped; %gemini_show {poem} shows what came."),
        ("group.result()", "3 stopped, 1 had ended; %gemini_show {first} shows what came."),
        ("for event in poem: pass", "poem · {poem} goes on; %gemini_stop stops what runs."),
        ("async for event in poem: pass", "poem · {poem} goes on; %gemini_stop stops what runs."),
        ("for pair in group: pass", "3 go on, 1 had ended; %gemini_stop stops what runs."),
        ("async for pair in group: pass", "3 go on, 1 had ended; %gemini_stop stops what runs."),
        ("%gemini_wait poem", "poem · {poem} goes on; %gemini_stop stops what runs."),
        ("%gemini_wait group", "3 go on, 1 had ended; %gemini_stop stops what runs."),
    ],
)
def test_an_interrupted_wait_is_one_line(shell: Kernel, cell: str, line: str) -> None:
    started = shell.run(START)
    assert started.status == "ok", started.error_text
    names = shell.run("print(poem.stream_id, group[0].stream_id)").stdout.split()
    magic, code = cell.split("\n") if cell.startswith("%%") else ("", cell)
    run = shell.run("\n".join(filter(None, [magic, "press.start()", code])))
    assert run.status == "error"
    said = "KeyboardInterrupt: " + line.format(poem=names[0], first=names[1])
    assert run.error_text.strip() == said
    left = shell.run("print(len(poem.text) > 0)\n%gemini_stop all")
    assert left.stdout.startswith("True")


SILENT = (
    "import os, signal, socket, threading, gemini_nb\n"
    "silent = socket.create_server(('127.0.0.1', 0))\n"
    "url = 'http://127.0.0.1:%d' % silent.getsockname()[1]\n"
    "service = dict(auth='gemini', credentials={'api_key': 'none'}, base_url=url)\n"
    "def press_once_asked():\n"
    "    silent.accept()\n"
    "    os.kill(os.getpid(), signal.SIGINT)\n"
)


@pytest.mark.parametrize(
    "call",
    [
        "gemini_nb.models(**service)",
        "gemini_nb.cache('a text', model='gemini-a', **service)",
        "gemini_nb.estimate(['a'], 'Say {item}.', **service)",
        "gemini_nb.File('files/abc').delete(**service)",
    ],
)
def test_an_interrupted_request_to_the_service_is_one_line(shell: Kernel, call: str) -> None:
    shell.run(SILENT)
    run = shell.run(f"threading.Thread(target=press_once_asked, daemon=True).start()\n{call}")
    given_up = "the request was given up; the service may have carried it out all the same."
    assert run.error_text.strip() == f"KeyboardInterrupt: {given_up}"


def test_an_interrupted_wait_for_a_server_of_tools_is_one_line(shell: Kernel) -> None:
    shell.run(
        "import os, sys, gemini_nb\n"
        "press = f'import os, signal, sys; os.kill({os.getpid()}, signal.SIGINT); sys.stdin.read()'\n"
        "server = gemini_nb.mcp([sys.executable, '-c', press])"
    )
    run = shell.run("server.tools")
    name = shell.run("print(server.name)\nserver.close()").stdout.strip()
    assert run.error_text.strip() == f"KeyboardInterrupt: {name} has not listed its tools yet."


@pytest.mark.parametrize("call", ["rewind()", "restore()", "save('talk.json')"])
def test_an_interrupted_wait_for_a_chat_is_one_line(shell: Kernel, call: str) -> None:
    shell.run(
        "import os, signal, gemini_nb\n"
        "def press(event):\n"
        "    if event.kind == 'text_delta' and next(once, False): os.kill(os.getpid(), signal.SIGINT)\n"
        "talk, once = gemini_nb.Chat(), iter([True])"
    )
    run = shell.run(f"said = talk.send('Write a long text of 2000 words.', press)\ntalk.{call}")
    name = shell.run("print(said.stream_id)").stdout.strip()
    assert run.error_text.strip() == f"KeyboardInterrupt: {name} goes on; %gemini_stop stops what runs."
    assert shell.run("print(said.is_done)\n%gemini_stop all").stdout.startswith("False")


def test_the_help_says_what_stops_a_stream_whose_cell_has_returned(shell: Kernel) -> None:
    reply = shell.request("inspect_request", {"code": "%%gemini_stream", "cursor_pos": 10, "detail_level": 0})
    said = " ".join(reply["data"]["text/plain"].split())
    assert "The Stop button and `%gemini_stop trip` stop it." in said
    assert "an interrupt does not reach the stream" in said
