"""A server on 127.0.0.1 that speaks Gemini's protocol: for the demo, for tests, and for trying without a key.

Importing this is cheap; the HTTP server comes in with the first `start()`. What can be made to go wrong, and
how it is written, stands in `gemini_nb.simulator.faults`.
"""

from __future__ import annotations

from gemini_nb.simulator.faults import Fault, FaultSource, Spec, parse_fault, random_faults
from gemini_nb.simulator.requests import Request
from gemini_nb.simulator.service import Scenario
from gemini_nb.simulator.simulator import Simulator, serve

__all__ = [
    "Fault",
    "FaultSource",
    "Request",
    "Scenario",
    "Simulator",
    "Spec",
    "parse_fault",
    "random_faults",
    "serve",
]
