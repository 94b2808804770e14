"""What is public, by name and signature: the contract that users write against."""

from __future__ import annotations

import ast
import enum
import importlib
import importlib.metadata
import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import gemini_nb
from answers import hello, rig

PACKAGE = Path(gemini_nb.__file__).parent
NAMES = [name for name in gemini_nb.__all__ if name != "__version__"]
EVENTS = [
    "StreamStarted",
    "PhaseChanged",
    "TextDelta",
    "ThoughtDelta",
    "TextRewound",
    "ToolCallRequested",
    "ToolCallStarted",
    "ToolCallUpdated",
    "ToolCallFinished",
    "PartReceived",
    "UsageUpdated",
    "RetryScheduled",
    "StreamCompleted",
    "StreamFailed",
    "StreamStopped",
]


def parameters(function: Any) -> tuple[list[str], list[str]]:
    """The names of what may be passed by position, and of what only by name."""
    kinds = inspect.signature(function).parameters.values()
    by_position = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    return (
        [one.name for one in kinds if one.kind in by_position and one.name != "self"],
        [one.name for one in kinds if one.kind is inspect.Parameter.KEYWORD_ONLY],
    )


def default(function: Any, name: str) -> Any:
    return inspect.signature(function).parameters[name].default


def test_all_is_sorted_and_complete() -> None:
    assert gemini_nb.__all__ == sorted(gemini_nb.__all__)
    assert dir(gemini_nb) == gemini_nb.__all__
    assert {*EVENTS, "GeminiError", "StreamNotFoundError", "Status", "Phase"} <= set(gemini_nb.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_everything_public_can_be_imported_and_says_what_it_is(name: str) -> None:
    value = getattr(gemini_nb, name)
    assert name == "StreamEvent" or inspect.getdoc(value)


def test_the_version_is_the_packages() -> None:
    try:
        assert gemini_nb.__version__.count(".") == 2
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package is not installed, only imported")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gemini_nb.nothing


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_module_has_what_it_exports(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    exported = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    for names in exported:
        defined = {node.name for node in ast.walk(tree) if hasattr(node, "name")} | {
            ast.unparse(target)
            for node in tree.body
            if isinstance(node, (ast.Assign, ast.AnnAssign))
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        }
        imported = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for alias in node.names
        }
        assert set(names) <= defined | imported | {"__version__"}


def public_members(module: ModuleType) -> list[tuple[str, Any]]:
    found = []
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        if getattr(value, "__module__", None) != module.__name__:
            continue
        found.append((name, value))
        if inspect.isclass(value):
            found += [
                (f"{name}.{key}", member)
                for key, member in vars(value).items()
                if not key.startswith("_") and (inspect.isfunction(member) or isinstance(member, property))
            ]
    return found


@pytest.mark.parametrize("room", ["streams", "tools"])
def test_every_public_class_and_function_has_a_docstring(room: str) -> None:
    for path in sorted((PACKAGE / room).glob("[!_]*.py")):
        for name, value in public_members(importlib.import_module(f"gemini_nb.{room}.{path.stem}")):
            if inspect.isclass(value) or inspect.isfunction(value) or isinstance(value, property):
                assert inspect.getdoc(value), f"{path.stem}.{name} has no docstring"


# ------------------------------------------------------------------ the manager


def test_start_stream() -> None:
    start = gemini_nb.StreamManager.start_stream
    by_position, by_name = parameters(start)
    assert by_position == ["contents", "subscriber"]
    assert set(by_name) >= {
        "model", "auth", "credentials", "base_url", "api_version", "endpoint", "request_body", "tools",
        "turn_limit", "system_instruction", "generation_config", "safety_settings", "tool_config", "chat",
        "retry", "timeout", "metadata", "keep", "fresh",
    }  # fmt: skip
    assert default(start, "tools") == ()
    assert default(start, "turn_limit") == 10
    assert all(
        default(start, name) is None for name in by_name if name not in {"tools", "turn_limit", "fresh"}
    )
    assert [default(start, name) for name in by_position] == [None, None]


def test_the_managers_other_methods() -> None:
    manager = gemini_nb.StreamManager
    one: tuple[list[str], list[str]] = (["stream"], [])
    assert parameters(manager.stop_stream) == one
    assert parameters(manager.get_stream) == one
    assert parameters(manager.get_stream_info) == one
    assert parameters(manager.get_stream_status) == one
    assert parameters(manager.stop_all) == ([], [])
    assert parameters(manager.statistics) == ([], [])
    assert parameters(manager.shutdown) == ([], [])
    assert parameters(manager.list_streams) == ([], ["all"])
    assert default(manager.list_streams, "all") is False
    assert parameters(manager.subscribe) == (["stream", "subscriber"], ["replay"])
    assert default(manager.subscribe, "replay") is True
    assert manager.subscribe_stream is manager.subscribe
    assert parameters(manager.unsubscribe) == (["stream", "subscriber"], [])
    assert {"max_concurrent", "history"} <= set(parameters(manager)[1])
    assert default(manager, "history") == 200
    assert parameters(gemini_nb.get_manager) == ([], [])


# ------------------------------------------------------------------ the stream


def test_the_streams_methods_and_attributes() -> None:
    stream = gemini_nb.Stream
    for method in (stream.wait, stream.result):
        assert parameters(method) == (["timeout"], [])
        assert default(method, "timeout") is None
    for plain in (stream.stop, stream.info):
        assert parameters(plain) == ([], [])
    assert parameters(stream.subscribe)[0] == parameters(stream.unsubscribe)[0] == ["subscriber"]
    for name in ("__await__", "__aiter__", "__iter__"):
        assert hasattr(stream, name)
    attributes = [
        "stream_id", "model", "auth", "status", "phase", "turn", "text", "answer", "thoughts", "tool_calls",
        "usage", "finish_reason", "error", "parts", "parsed", "events", "chunks", "model_version",
        "response_id", "retries",
    ]  # fmt: skip
    with rig(hello()) as made:
        running = made.start().wait()
        for name in attributes:
            getattr(running, name)
        info = running.info()
        assert isinstance(info, gemini_nb.StreamInfo)
    fields = [
        "stream_id", "auth", "model", "endpoint", "request_body", "status", "phase", "turn", "error",
        "events", "subscribers", "started_at", "ended_at", "retries", "usage",
    ]  # fmt: skip
    assert all(hasattr(info, name) for name in fields)
    assert all(isinstance(value, str) for value in (info.auth, info.status, info.phase))


def test_a_tool_call() -> None:
    call = gemini_nb.ToolCall(id=None, name="f", args={})
    for name in ("id", "name", "args", "status", "result", "error", "duration"):
        assert hasattr(call, name)
    statuses = {"pending", "awaiting_approval", "running", "done", "failed", "cancelled"}
    assert {str(status) for status in gemini_nb.ToolStatus} == statuses


def test_the_states() -> None:
    assert [str(status) for status in gemini_nb.Status] == ["active", "completed", "error", "stopped"]
    phases = ["awaiting_model_call", "executing_tools", "awaiting_final_response"]
    assert [str(phase) for phase in gemini_nb.Phase] == phases
    assert all(issubclass(kind, enum.StrEnum) for kind in (gemini_nb.Status, gemini_nb.Phase))


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("PhaseChanged", {"phase", "turn"}),
        ("TextDelta", {"text"}),
        ("ThoughtDelta", {"text"}),
        ("TextRewound", {"length"}),
        ("ToolCallRequested", {"call"}),
        ("ToolCallStarted", {"call"}),
        ("ToolCallUpdated", {"call"}),
        ("ToolCallFinished", {"call"}),
        ("RetryScheduled", {"attempt", "delay", "reason"}),
        ("StreamFailed", {"error"}),
    ],
)
def test_what_events_carry(name: str, fields: set[str]) -> None:
    names = set(inspect.signature(getattr(gemini_nb, name)).parameters)
    assert names >= fields | {"stream_id", "seq", "time"}


# ------------------------------------------------------------------ the rest


@pytest.mark.parametrize(
    "function",
    [
        gemini_nb.Chat,
        gemini_nb.Chat.load,
        gemini_nb.ask_frame,
        gemini_nb.estimate,
        gemini_nb.ToolOrchestrator,
    ],
)
def test_options_are_shown_by_name_wherever_they_are_taken(function: Callable[..., Any]) -> None:
    shown = inspect.signature(function).parameters.values()
    assert {"credentials", "model", "schema", "tools", "turn_limit"} <= {one.name for one in shown}
    assert not [one for one in shown if one.kind is inspect.Parameter.VAR_KEYWORD]
    assert inspect.signature(gemini_nb.ask_frame).parameters["concurrency"].default == 8
    assert "items" not in inspect.signature(gemini_nb.estimate).parameters


def test_the_rest_of_the_fixed_names() -> None:
    orchestrator = gemini_nb.ToolOrchestrator
    assert parameters(orchestrator)[0] == ["stream_id", "subscriber", "chat", "auth"]
    for name in ("start", "stop", "subscribe", "phase", "info"):
        assert hasattr(orchestrator, name)
    assert parameters(gemini_nb.Chat.send)[0] == ["contents", "subscriber"]
    assert gemini_nb.Chat(model="m", tools=[], system_instruction="Be brief.").history == []
    assert {"name", "run_on", "timeout", "confirm"} <= set(parameters(gemini_nb.Tool)[1])
    assert parameters(gemini_nb.map)[0] == ["prompts"]
    mcp_options = ["env", "cwd", "headers", "include", "confirm", "timeout"]
    assert parameters(gemini_nb.mcp) == (["command_or_url"], mcp_options)
    assert default(gemini_nb.mcp, "timeout") == 60
    assert {"tools", "close", "__enter__", "__exit__"} <= set(dir(gemini_nb.MCPServer))
    assert issubclass(gemini_nb.StreamNotFoundError, (gemini_nb.GeminiError, LookupError))
    error = gemini_nb.GeminiError("no")
    assert (error.status_code, error.api_status, error.hint) == (None, None, "")
    assert issubclass(gemini_nb.ArgumentError, TypeError)


def test_the_simulator_is_a_context_manager_with_a_url() -> None:
    with gemini_nb.simulator.Simulator() as simulator:
        assert simulator.base_url.startswith("http://127.0.0.1:")
        assert list(simulator.requests) == []


def test_the_notebooks_names() -> None:
    assert callable(gemini_nb.dashboard)
    assert parameters(gemini_nb.StreamPane)[0][0] == "stream"
    for hook in (gemini_nb.load_ipython_extension, gemini_nb.unload_ipython_extension):
        assert parameters(hook) == (["shell"], [])
