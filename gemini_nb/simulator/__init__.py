"""A server on 127.0.0.1 that speaks Gemini's protocol: for the demo, for tests, and for trying without a key.

Importing this is cheap; the HTTP server comes in with the first `start()`.
"""

from __future__ import annotations

from gemini_nb.simulator.record import Request
from gemini_nb.simulator.service import Scenario
from gemini_nb.simulator.simulator import Simulator, serve

__all__ = ["Request", "Scenario", "Simulator", "serve"]
