"""An MCP server that answers what the variable SCRIPT says, word for word, right or wrong.

SCRIPT is JSON: for a method, the lines to print, where ID stands for the request's; `null` ends the process.
"""

from __future__ import annotations

import json
import os
import sys

INITIALIZED = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "raw", "version": "1"},
}
TOOLS = [{"name": "go", "inputSchema": {"type": "object"}}]
RESULT = '{"jsonrpc": "2.0", "id": ID, "result": %s}'
LINES = {
    "server/discover": ['{"jsonrpc": "2.0", "id": ID, "error": {"code": -32601, "message": "unknown"}}'],
    "initialize": [RESULT % json.dumps(INITIALIZED)],
    "tools/list": [RESULT % json.dumps({"tools": TOOLS})],
    **json.loads(os.environ.get("SCRIPT", "{}")),
}

for line in sys.stdin:
    request = json.loads(line)
    for answer in LINES.get(request.get("method")) or ():
        if answer is None:
            sys.exit(0)
        sys.stdout.write(answer.replace("ID", str(request.get("id"))) + "\n")
        sys.stdout.flush()
