"""MCP servers as tools: real servers, in processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import gemini_nb
from answers import PATIENCE, Rig, is_running, rig, run_python
from gemini_nb.tools.mcp.server import _free_name
from scripted import Answer, sse_answer, text

SERVER = str(Path(__file__).parents[1] / "support" / "mcp_server.py")
COMMAND = [sys.executable, SERVER]
DONE = text("Done.", finish="STOP")
TOKEN = "token-of-the-server-4711"


def call_turn(*calls: tuple[str, dict[str, Any]]) -> Answer:
    """A model turn that calls these."""
    parts = [{"functionCall": {"name": name, "args": args}} for name, args in calls]
    return sse_answer(
        {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]}
    )


def asking(*calls: tuple[str, dict[str, Any]]) -> list[Answer]:
    """A script: the model calls these, then says that it is done."""
    return [call_turn(*calls), sse_answer(DONE)]


def responses(made: Rig, request: int = 1) -> list[Any]:
    parts = made.server.requests[request].json["contents"][-1]["parts"]
    return [part["functionResponse"]["response"] for part in parts]


def declared(made: Rig, request: int = 0) -> dict[str, Any]:
    tools = made.server.requests[request].json["tools"]
    assert [list(tool) for tool in tools] == [["functionDeclarations"]]
    return {one["name"]: one for one in tools[0]["functionDeclarations"]}


def test_a_servers_tool_is_called() -> None:
    with rig(asking(("add", {"a": 2, "b": 3}))) as made:
        stream = made.start(tools=[gemini_nb.mcp(COMMAND, include=["add"])])
        assert stream.result(PATIENCE) == "Done."
        assert declared(made)["add"] == {
            "name": "add",
            "description": "Add two numbers.",
            "parametersJsonSchema": {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                "required": ["a", "b"],
            },
        }
        assert responses(made) == [{"result": 5}]


@pytest.fixture(scope="module")
def shared_notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notes")


@pytest.fixture(scope="module")
def shared(shared_notes: Path) -> Iterator[gemini_nb.MCPServer]:
    """One server for the tests that do nothing to it; its session is on the kernel's own manager."""
    with local(shared_notes, env={"TOKEN": TOKEN}) as server:
        assert server.tools
        yield server


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path


def local(notes: Path, kind: str = "stdio", **options: Any) -> gemini_nb.MCPServer:
    return gemini_nb.mcp([*COMMAND, kind], env={"NOTES": str(notes), **options.pop("env", {})}, **options)


def wait_until(holds: Callable[[], object], what: str = "it") -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.02)


def pid_in(notes: Path) -> int:
    wait_until(lambda: (notes / "pid").exists() and (notes / "pid").read_text(), "the server")
    return int((notes / "pid").read_text())


def outcome(stream: gemini_nb.Stream) -> Any:
    """The result of the stream's first call, or its error."""
    call = stream.wait(PATIENCE).tool_calls[0]
    return call.error or call.result


# ------------------------------------------------------------------ one session


def test_all_streams_share_one_process_and_the_shutdown_ends_it(notes: Path) -> None:
    server = local(notes)
    with rig([*asking(("pid", {})), *asking(("pid", {}))]) as made:
        first = outcome(made.start(tools=[server]))
        assert outcome(made.start(tools=server)) == first
        assert is_running(int(first))
        assert "running" in repr(server)
    assert not is_running(int(first))
    assert "not running" in repr(server)


@pytest.mark.slow
def test_a_server_that_was_closed_starts_again(notes: Path) -> None:
    with rig([*asking(("pid", {})), *asking(("pid", {}))]) as made, local(notes) as server:
        first = outcome(made.start(tools=[server]))
        server.close()
        assert not is_running(int(first))
        second = outcome(made.start(tools=[server]))
        assert second != first
    assert not is_running(int(second))


def test_a_server_that_dies_is_restarted(notes: Path) -> None:
    turns = [
        call_turn(("die", {})),
        call_turn(("add", {"a": 1, "b": 1})),
        sse_answer(DONE),
        *asking(("pid", {})),
    ]
    with rig(turns) as made:
        server = local(notes)
        stream = made.start(tools=[server]).wait(PATIENCE)
        assert [call.status for call in stream.tool_calls] == ["failed", "done"]
        assert "exit code 7" in str(stream.tool_calls[0].error)
        assert "starts it again" in str(stream.tool_calls[0].error)
        assert stream.tool_calls[1].result == 2
        os.kill(int(outcome(made.start(tools=[server]))), signal.SIGKILL)


@pytest.mark.slow
def test_a_server_that_died_between_two_streams_is_restarted(notes: Path) -> None:
    with rig([*asking(("pid", {})), *asking(("pid", {}))]) as made:
        server = local(notes)
        first = int(outcome(made.start(tools=[server])))
        os.kill(first, signal.SIGKILL)
        assert int(outcome(made.start(tools=[server]))) != first


@pytest.mark.slow
def test_a_server_that_no_longer_answers_is_restarted(notes: Path) -> None:
    with rig([*asking(("pid", {})), *asking(("pid", {}))]) as made:
        server = local(notes)
        first = int(outcome(made.start(tools=[server])))
        assert server._session is not None
        server._session._timeout = 0.5
        os.kill(first, signal.SIGSTOP)
        assert int(outcome(made.start(tools=[server]))) != first
        wait_until(lambda: not is_running(first), "the end of the process")


def test_a_server_that_does_not_want_to_end_is_killed(notes: Path) -> None:
    with rig(asking(("add", {"a": 1, "b": 1}))) as made:
        assert outcome(made.start(tools=[local(notes, "stubborn")])) == 2
        pid = pid_in(notes)
    wait_until(lambda: not is_running(pid), "the end of the process")


@pytest.mark.slow
def test_a_server_that_nothing_refers_to_is_ended(notes: Path) -> None:
    server = local(notes)
    assert "add" in {tool.name for tool in server.tools}
    pid = pid_in(notes)
    assert is_running(pid)
    del server
    gc.collect()
    wait_until(lambda: not is_running(pid), "the end of the process")


@pytest.mark.parametrize(
    "end", ["pass", pytest.param("import os; os.kill(os.getpid(), 9)", marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_the_interpreters_exit_leaves_no_process(notes: Path, end: str) -> None:
    server = f"gemini_nb.mcp({COMMAND!r}, env={{'NOTES': {str(notes)!r}}})"
    done = run_python(f"import gemini_nb\nserver = {server}\nserver.tools\n{end}")
    assert done.stderr == ""
    pid = pid_in(notes)
    wait_until(lambda: not is_running(pid), "the end of the process")


@pytest.mark.slow
def test_a_session_lives_as_long_as_its_own_manager(notes: Path) -> None:
    server = local(notes)
    with rig(asking(("pid", {}))) as other:
        with rig(asking(("pid", {}))) as made:
            first = outcome(made.start(tools=[server]))
        assert outcome(other.start(tools=[server])) != first


# ------------------------------------------------------------------ calls as all others


def test_a_call_that_hangs_times_out_and_the_session_goes_on(notes: Path) -> None:
    turns = [call_turn(("hang", {})), call_turn(("add", {"a": 1, "b": 1})), sse_answer(DONE)]
    server = local(notes)
    assert server.tools  # its start is not what takes too long
    with server, rig(turns) as made:
        server._timeout = 0.5
        stream = made.start(tools=[server]).wait(PATIENCE)
        assert [call.error or call.result for call in stream.tool_calls] == ["hang took longer than 0.5 s", 2]
        wait_until((notes / "cancelled").exists, "the cancellation")


def test_a_stop_cancels_the_call_at_the_server(shared: gemini_nb.MCPServer, shared_notes: Path) -> None:
    with rig(asking(("hang", {}))) as made:
        stream = made.start(tools=[shared])
        wait_until((shared_notes / "hanging").exists, "the call")
        stream.stop()
        stream.wait(PATIENCE)
        assert (stream.status, stream.tool_calls[0].status) == ("stopped", "cancelled")
        wait_until((shared_notes / "cancelled").exists, "the cancellation")


def test_progress_and_log_messages_reach_the_call(shared: gemini_nb.MCPServer, shared_notes: Path) -> None:
    with rig(asking(("work", {}))) as made:
        stream = made.start(tools=[shared])
        wait_until(lambda: stream.tool_calls and "half way" in stream.tool_calls[0].output, "the log message")
        call = stream.tool_calls[0]
        assert (call.progress, call.progress_text) == (0.25, "a quarter")
        assert call.output == "info: half way <b>there</b>\n"
        (shared_notes / "go").touch()
        assert outcome(stream) == "done"


def test_confirm_asks_the_user(shared: gemini_nb.MCPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with rig(asking(("add", {"a": 1, "b": 2}))) as made:
        monkeypatch.setattr(shared, "_confirm", True)
        stream = made.start(tools=[shared])
        wait_until(lambda: stream.tool_calls and stream.tool_calls[0].status == "awaiting_approval")
        stream.tool_calls[0].approve()
        assert outcome(stream) == 3


def test_confirm_may_be_a_function(shared: gemini_nb.MCPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with rig(asking(("add", {"a": 1, "b": 2}))) as made:
        monkeypatch.setattr(shared, "_confirm", lambda call: call.args["a"] > 1)
        stream = made.start(tools=[shared])
        assert "denied" in outcome(stream)


def test_it_stands_beside_functions_and_googles_tools(
    shared: gemini_nb.MCPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(x: int) -> int:
        """Mine."""
        return x

    with rig(asking(("add", {"x": 9}))) as made:
        monkeypatch.setattr(shared, "_include", ("add",))
        stream = made.start(model="gemini-3.5-flash", tools=[add, shared, "search"])
        assert outcome(stream) == 9
        body = made.server.requests[0].json
        assert body["tools"][0] == {"googleSearch": {}}
        names = [one["name"] for one in body["tools"][1]["functionDeclarations"]]
        assert names == ["add", "mcp_server.py_add"]
        assert body["toolConfig"]["includeServerSideToolInvocations"] is True


@pytest.mark.slow
def test_a_list_of_tools_that_changes_is_asked_for_anew(notes: Path) -> None:
    with rig([*asking(("grow", {})), *asking(("grown", {}))]) as made:
        server = local(notes)
        assert outcome(made.start(tools=[server])) == "grown"
        assert str(outcome(made.start(tools=[server]))).isdigit()
        assert "grown" not in declared(made, 0)
        assert "grown" in declared(made, 2)


def test_a_chat_uses_it(shared: gemini_nb.MCPServer) -> None:
    with rig([*asking(("pid", {})), *asking(("pid", {}))]) as made:
        chat = gemini_nb.Chat(manager=made.manager, tools=[shared], **made.options)
        first = outcome(chat.send("Hi"))
        assert outcome(chat.send("Again")) == first


def test_its_tools_can_be_listed_and_called_by_hand(shared: gemini_nb.MCPServer) -> None:
    (tool,) = [one for one in shared.tools if one.name == "add"]
    assert repr(tool) == "<Tool add>"
    assert asyncio.run(tool(a=1, b=2)).value == 3


# ------------------------------------------------------------------ results


def test_results_of_all_kinds(shared: gemini_nb.MCPServer) -> None:
    with rig(asking(("mixed", {}))) as made:
        made.start(tools=[shared]).result(PATIENCE)
        part = made.server.requests[1].json["contents"][-1]["parts"][0]["functionResponse"]
        assert part["response"]["result"] == [
            "words",
            {"$ref": "image-1"},
            {"$ref": "audio-2"},
            "(image/png whose data is not valid base64)",
            {"uri": "memo://1", "text": "memo"},
            {"uri": "blob://1", "content": "(2 bytes of application/zip)"},
            {"uri": "https://example.test/a", "name": "a"},
        ]
        kinds = [one["inlineData"]["mimeType"] for one in part["parts"]]
        assert kinds == ["image/png", "audio/wav"]


def test_a_large_result_arrives_whole_and_one_too_large_is_refused(shared: gemini_nb.MCPServer) -> None:
    with rig(
        [call_turn(("large", {"megabytes": 10}), ("large", {"megabytes": 30})), sse_answer(DONE)]
    ) as made:
        stream = made.start(tools=[shared]).wait(PATIENCE)
        assert len(stream.tool_calls[0].result) == 10 * 2**20
        assert "larger than 20 MB" in str(stream.tool_calls[1].error)


def test_an_error_of_the_server_is_told_to_the_model(shared: gemini_nb.MCPServer) -> None:
    turn = call_turn(("fail", {}), ("add", {"a": "many"}), ("add", {"a": 1, "b": 2}))
    with rig([turn, sse_answer(DONE)]) as made:
        made.start(tools=[shared]).result(PATIENCE)
        failed, refused, right = responses(made)
        assert failed["error"].startswith("Error executing tool fail")
        assert "many" in refused["error"] or "integer" in refused["error"]
        assert right == {"result": 3}


def test_no_server_can_attach_a_file_of_the_users(shared: gemini_nb.MCPServer) -> None:
    with rig(asking(("attach", {}))) as made:
        made.start(tools=[shared]).result(PATIENCE)
        part = made.server.requests[1].json["contents"][-1]["parts"][0]["functionResponse"]
        assert "parts" not in part
        assert part["response"]["result"]["fileData"]["fileUri"] == "gs://someone/secret"


# ------------------------------------------------------------------ what a server says is not trusted


def test_names_are_those_that_the_service_takes_and_no_secret_is_shown(shared: gemini_nb.MCPServer) -> None:
    with rig(asking(("strange_name__", {}), ("environment", {"name": "TOKEN"}))) as made:
        assert TOKEN not in repr(shared)
        stream = made.start(tools=[shared]).wait(PATIENCE)
        assert [call.result for call in stream.tool_calls] == ["strange", "[secret]"]
        assert declared(made)["strange_name__"]["description"] == "<script>alert(1)</script> [secret]"
        assert TOKEN not in str([request.json for request in made.server.requests])


def test_the_kernels_environment_is_not_the_servers(
    shared: gemini_nb.MCPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOMETHING_OF_MINE", "here")
    with rig(asking(("environment", {"name": "SOMETHING_OF_MINE"}))) as made:
        assert outcome(made.start(tools=[shared])) == "not set"


# ------------------------------------------------------------------ what goes wrong


def test_a_server_that_fails_to_start_says_why(notes: Path) -> None:
    secret = "token-of-the-server-4711"
    with rig([]) as made:
        stream = made.start(tools=[local(notes, "broken", env={"TOKEN": secret})]).wait(PATIENCE)
        assert isinstance(stream.error, gemini_nb.ConfigError)
        assert "mcp_server.py did not start (exit code 1)" in str(stream.error)
        assert "cannot start: no database, token [secret]" in str(stream.error)
        assert not made.server.requests


def test_a_command_that_is_not_there(notes: Path) -> None:
    server = gemini_nb.mcp("no-such-command-anywhere --now")
    with pytest.raises(gemini_nb.ConfigError, match=r"cannot be started: No such file.*no-such-comm"):
        _ = server.tools


def test_a_server_that_cannot_start_ends_a_run_of_many_rows() -> None:
    rows = [str(number) for number in range(300)]
    with rig([]) as made:
        server = gemini_nb.mcp("no-such-command-anywhere")
        group = gemini_nb.map(rows, tools=[server], concurrency=1, manager=made.manager, **made.options)
        assert group.wait(PATIENCE).counts.failed == 300
        assert "5 rows failed alike: The MCP server no-such-command" in str(group.error)


@pytest.mark.slow
def test_a_server_that_stays_silent(notes: Path) -> None:
    with pytest.raises(gemini_nb.ConfigError, match="did not start within 3 s"):
        _ = local(notes, "silent", timeout=3).tools


def test_a_url_where_nothing_listens() -> None:
    with pytest.raises(gemini_nb.ConnectError, match=r"127\.0\.0\.1:9 cannot be reached"):
        _ = gemini_nb.mcp("http://127.0.0.1:9/mcp").tools


def test_a_stream_that_is_stopped_while_its_server_starts(notes: Path) -> None:
    with rig([]) as made, local(notes, "silent") as server:
        stream = made.start(tools=[server])
        wait_until(lambda: stream.waiting, "the wait")
        assert stream.waiting is not None
        assert stream.waiting.reason == "mcp_server.py"
        stream.stop()
        assert stream.wait(PATIENCE).status == "stopped"


def test_include_takes_patterns_and_refuses_unknown_names(
    shared: gemini_nb.MCPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "_include", ("a*",))
    assert {tool.name for tool in shared.tools} == {"add", "attach"}
    monkeypatch.setattr(shared, "_include", ("ad",))
    with pytest.raises(gemini_nb.ConfigError, match=r"has no tool 'ad'.*It has: add"):
        _ = shared.tools


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        ("", {}, "no words"),
        ([], {}, "no words"),
        (["a", 1], {}, "not text"),
        (7, {}, "not an int"),
        ("'open", {}, "cannot be read"),
        ("ftp://host/mcp", {}, "Only http"),
        ("https://", {}, "not the URL"),
        ("https://host:x/mcp", {}, "not the URL"),
        ("https://host/mcp", {"env": {}}, "env and cwd are for a command"),
        ("server", {"headers": {}}, "headers are for a URL"),
        ("server", {"env": {"A": 1}}, "'A' are not"),
        ("server", {"env": "A=1"}, "env is a dictionary"),
        ("server", {"include": 3}, "include is a list"),
        ("server", {"timeout": 0}, "greater than 0"),
        ("server", {"confirm": "yes"}, "confirm is True"),
    ],
)
def test_what_does_not_fit_is_refused_at_the_call(given: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises((gemini_nb.ArgumentError, gemini_nb.ConfigError), match=said):
        gemini_nb.mcp(given, **options)


def test_without_the_package_the_call_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(gemini_nb.ConfigError, match=r'pip install "gemini-nb\[mcp\]"'):
        gemini_nb.mcp("server")


# ------------------------------------------------------------------ over HTTP, and servers of others


@contextlib.contextmanager
def over_http(notes: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [*COMMAND, "http", str(port)]
    environment = {**os.environ, "NOTES": str(notes)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: can_connect(port), "the server")
            yield process
        finally:
            process.kill()


def can_connect(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.slow
def test_a_server_over_http_which_is_restarted(notes: Path) -> None:
    port = free_port()
    server = gemini_nb.mcp(f"http://127.0.0.1:{port}/mcp", headers={"Authorization": "Bearer of-http-4711"})
    with rig([*asking(("pid", {}), ("work", {})), *asking(("pid", {}))]) as made:
        (notes / "go").touch()
        with over_http(notes, port) as process:
            stream = made.start(tools=[server]).wait(PATIENCE)
            assert [call.result for call in stream.tool_calls] == [str(process.pid), "done"]
            assert stream.tool_calls[1].output == "info: half way <b>there</b>\n"
        with over_http(notes, port) as process:
            assert outcome(made.start(tools=[server])) == str(process.pid)
        server.close()


def test_the_time_server_of_the_registry() -> None:
    command = [sys.executable, "-m", "mcp_server_time", "--local-timezone", "UTC"]
    turn = asking(("get_current_time", {"timezone": "Europe/Paris"}))
    with rig(turn) as made, gemini_nb.mcp(command) as server:
        result = outcome(made.start(tools=[server]))
        assert "Europe/Paris" in str(result)
        assert set(declared(made)) == {"get_current_time", "convert_time"}


def test_names_that_are_taken_get_the_servers_before_them() -> None:
    assert _free_name("a b", "server-x", {"a_b"}) == "server-x_a_b"
    assert _free_name("a", "s", {"a", "s_a"}) == "s_a_2"
    assert _free_name("", "s", ()) == "tool"
    assert _free_name("1", "s", ()) == "_1"
    assert len(_free_name("x" * 300, "s", {"x" * 64})) == 64
