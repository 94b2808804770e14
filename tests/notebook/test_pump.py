"""A blocked loop that is kept going from inside, in a process of its own: all of it is patched."""

from __future__ import annotations

import subprocess
import sys

FIRST_OF_THREE = """
import asyncio
from gemini_nb.notebook.kernel.pump import pump

async def main():
    loop, ran = asyncio.get_running_loop(), []
    def block(name):
        pump(loop, lambda: len(ran) >= 2)
        ran.append(name)
    loop.call_soon(block, "first")  # one turn of a loop that is not patched yet has all of these
    loop.call_soon(ran.append, 1)
    loop.call_soon(ran.append, 2)
    while "first" not in ran:
        await asyncio.sleep(0)
    loop.call_soon(block, "again")
    loop.call_soon(ran.append, 3)
    while "again" not in ran or 3 not in ran:
        await asyncio.sleep(0)
    print(ran)

asyncio.run(main())
"""


def test_what_runs_inside_is_not_missed_outside() -> None:
    command = [sys.executable, "-c", FIRST_OF_THREE]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.stdout, ended.stderr) == ("[1, 2, 'first', 3, 'again']\n", "")
