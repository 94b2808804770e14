"""Ports that no other process of this machine is likely to take or to have had lately.

A port from the system may be given to another server before the process it is meant for listens on it, and
may be that of a kernel that has just ended: ZeroMQ's sockets go on connecting to it. These are of a range
that the system never gives.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import socket

__all__ = ["free_port", "listen"]

_SERVERS, _PROCESSES = range(16_000, 32_000), range(10_000, 16_000)
_next = itertools.count(random.randrange(len(_SERVERS)))


def listen(backlog: int = 1, ports: range = _SERVERS) -> socket.socket:
    """Listen on such a port."""
    while True:
        with contextlib.suppress(OSError):  # it is in use
            return socket.create_server(("127.0.0.1", ports[next(_next) % len(ports)]), backlog=backlog)


def free_port() -> int:
    """Return such a port, for a process that will listen on it."""
    with listen(ports=_PROCESSES) as listener:
        port: int = listener.getsockname()[1]
        return port
