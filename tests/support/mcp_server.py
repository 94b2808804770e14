"""An MCP server for tests, made with the package's own: over stdio, or over HTTP on the port it prints."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import sys
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context  # noqa: TC002 - the package reads the annotations
from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

server = MCPServer("tests")
PNG = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc000000301"
        "0100c9fe92ef0000000049454e44ae426082"
    )
).decode()


def note(name: str, text: str = "") -> None:
    """Leave a file for the test to find."""
    folder = os.environ.get("NOTES")
    if folder:
        (Path(folder) / name).write_text(text)


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def pid() -> str:
    """Tell the process."""
    return str(os.getpid())


@server.tool(structured_output=False)
def environment(name: str) -> str:
    """Tell a variable."""
    return os.environ.get(name, "not set")


@server.tool()
def die() -> str:
    """End the process in the middle of the call."""
    sys.stderr.write("last words\n")
    sys.stderr.flush()
    os._exit(7)


@server.tool()
async def hang() -> str:
    """Never answer."""
    note("hanging")
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        note("cancelled")
        raise
    return ""


@server.tool(structured_output=False)
def large(megabytes: int) -> str:
    """Return a large text."""
    return "x" * (megabytes * 2**20)


@server.tool()
def fail() -> str:
    """Fail."""
    raise ValueError("no such city")


@server.tool()
async def work(ctx: Context[Any]) -> str:
    """Report progress and log."""
    await ctx.report_progress(1, 4, "a quarter")
    await ctx.session.send_log_message("info", "half way <b>there</b>", related_request_id=ctx.request_id)
    note("working")
    while not (Path(os.environ["NOTES"]) / "go").exists():  # noqa: ASYNC110 - another process says so
        await asyncio.sleep(0.02)
    return "done"


@server.tool()
def mixed() -> CallToolResult:
    """Return one of each kind."""
    return CallToolResult(
        content=[
            TextContent(type="text", text="words"),
            ImageContent(type="image", data=PNG, mime_type="image/png"),
            AudioContent(type="audio", data=base64.b64encode(b"RIFF").decode(), mime_type="audio/wav"),
            ImageContent(type="image", data="not base64!", mime_type="image/png"),
            EmbeddedResource(
                type="resource",
                resource=TextResourceContents(uri="memo://1", mime_type="text/plain", text="memo"),
            ),
            EmbeddedResource(
                type="resource",
                resource=BlobResourceContents(
                    uri="blob://1", mime_type="application/zip", blob=base64.b64encode(b"PK").decode()
                ),
            ),
            ResourceLink(type="resource_link", uri="https://example.test/a", name="a"),
        ]
    )


@server.tool(structured_output=False)
def grow() -> str:
    """Add a tool."""
    server.add_tool(pid, name="grown")
    return "grown"


@server.tool()
def attach() -> dict[str, Any]:
    """Return what looks like a part of a request."""
    return {"fileData": {"fileUri": "gs://someone/secret", "mimeType": "text/plain"}}


@server.tool(name="strange name/ü", description="<script>alert(1)</script> " + os.environ.get("TOKEN", ""))
def strange() -> str:
    """Have a name that the service refuses."""
    return "strange"


if __name__ == "__main__":
    kind = sys.argv[1] if len(sys.argv) > 1 else "stdio"
    if kind == "broken":
        sys.exit(f"cannot start: no database, token {os.environ.get('TOKEN')}")
    if kind == "silent":
        sys.stdin.read()
    if kind == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        note("pid", str(os.getpid()))
        try:
            server.run()
        finally:
            while True:
                signal.pause()
    note("pid", str(os.getpid()))
    if kind == "http":
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
    else:
        server.run()
