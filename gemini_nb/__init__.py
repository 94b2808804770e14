"""Stream Gemini answers and tool calls into live notebook panes while the kernel stays free.

    %load_ext gemini_nb

    %%gemini_stream -t weather -o trip
    Plan a day in {city}. Check the weather first.

The cell returns at once; text, thoughts and tool calls appear in a pane beneath it. In Python,
`get_manager().start_stream("…")` does the same without a pane.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gemini_nb.api.contents.audio import Audio
from gemini_nb.api.contents.file import File
from gemini_nb.api.contents.image import Image
from gemini_nb.api.resources.catalogue import Model
from gemini_nb.api.retry import RetryPolicy
from gemini_nb.api.usage import Usage
from gemini_nb.errors import (
    APIError,
    ArgumentError,
    BlockingCallError,
    CallerError,
    ConfigError,
    ConnectError,
    EmptyAnswerError,
    GeminiError,
    IdleTimeoutError,
    InternalError,
    PromptBlockedError,
    ProtocolError,
    SchemaMismatchError,
    StreamCutError,
    StreamNotFoundError,
    TransportError,
    TurnLimitError,
)
from gemini_nb.streams.caching import cache
from gemini_nb.streams.chat.chat import Chat
from gemini_nb.streams.code_blocks import CodeBlock
from gemini_nb.streams.conversation.orchestrator import OrchestratorInfo, ToolOrchestrator
from gemini_nb.streams.counts import Statistics
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.events.events import (
    PartReceived,
    PhaseChanged,
    RetryScheduled,
    StreamCompleted,
    StreamEvent,
    StreamFailed,
    StreamStarted,
    StreamStopped,
    TextDelta,
    TextRewound,
    ThoughtDelta,
    ToolCallFinished,
    ToolCallRequested,
    ToolCallStarted,
    ToolCallUpdated,
    UploadUpdated,
    UsageUpdated,
)
from gemini_nb.streams.events.info import StreamInfo
from gemini_nb.streams.events.states import Phase, Status, ToolStatus, UploadStatus
from gemini_nb.streams.events.uploads import Upload
from gemini_nb.streams.group.asked_frame import ask_frame
from gemini_nb.streams.group.estimate import Estimate, estimate
from gemini_nb.streams.group.group import StreamGroup
from gemini_nb.streams.group.mapping import map_prompts as map  # noqa: A004 - the public name says what it does
from gemini_nb.streams.manager import StreamManager, get_manager, journal, models
from gemini_nb.streams.request.cached import CachedContent
from gemini_nb.streams.stream import Stream
from gemini_nb.tools.report import progress
from gemini_nb.tools.tool import Tool, tool

if TYPE_CHECKING:
    from gemini_nb import simulator
    from gemini_nb.notebook.dashboard.dashboard import dashboard
    from gemini_nb.notebook.pane.pane import StreamPane
    from gemini_nb.tools.mcp.server import MCPServer, mcp

__all__ = [
    "APIError",
    "ArgumentError",
    "Audio",
    "BlockingCallError",
    "CachedContent",
    "CallerError",
    "Chat",
    "CodeBlock",
    "ConfigError",
    "ConnectError",
    "EmptyAnswerError",
    "Estimate",
    "File",
    "GeminiError",
    "IdleTimeoutError",
    "Image",
    "InternalError",
    "MCPServer",
    "Model",
    "OrchestratorInfo",
    "PartReceived",
    "Phase",
    "PhaseChanged",
    "PromptBlockedError",
    "ProtocolError",
    "RetryPolicy",
    "RetryScheduled",
    "SchemaMismatchError",
    "Statistics",
    "Status",
    "Stream",
    "StreamCompleted",
    "StreamCutError",
    "StreamEvent",
    "StreamFailed",
    "StreamGroup",
    "StreamInfo",
    "StreamManager",
    "StreamNotFoundError",
    "StreamPane",
    "StreamStarted",
    "StreamStopped",
    "TextDelta",
    "TextRewound",
    "ThoughtDelta",
    "Tool",
    "ToolCall",
    "ToolCallFinished",
    "ToolCallRequested",
    "ToolCallStarted",
    "ToolCallUpdated",
    "ToolOrchestrator",
    "ToolStatus",
    "TransportError",
    "TurnLimitError",
    "Upload",
    "UploadStatus",
    "UploadUpdated",
    "Usage",
    "UsageUpdated",
    "__version__",
    "ask_frame",
    "cache",
    "dashboard",
    "estimate",
    "get_manager",
    "journal",
    "load_ipython_extension",
    "map",
    "mcp",
    "models",
    "progress",
    "simulator",
    "tool",
    "unload_ipython_extension",
]

_LATE = {
    "MCPServer": ("gemini_nb.tools.mcp.server", "MCPServer"),
    "StreamPane": ("gemini_nb.notebook.pane.pane", "StreamPane"),
    "dashboard": ("gemini_nb.notebook.dashboard.dashboard", "dashboard"),
    "mcp": ("gemini_nb.tools.mcp.server", "mcp"),
    "simulator": ("gemini_nb.simulator", None),
}


def __getattr__(name: str) -> Any:
    """Import what needs widgets, a server or package metadata when it is asked for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("gemini-nb")
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LATE[name]
    value = importlib.import_module(module)
    return value if attribute is None else getattr(value, attribute)


def __dir__() -> list[str]:
    return __all__.copy()


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext gemini_nb`: register the magics and take the kernel's manager into use."""
    from gemini_nb.notebook.magics.extension import load  # needs IPython

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """`%unload_ext gemini_nb`: take the magics away and stop the streams."""
    from gemini_nb.notebook.magics.extension import unload  # needs IPython

    unload(shell)
