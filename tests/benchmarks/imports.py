"""What importing the extension costs, next to google-genai, over what a kernel has imported anyway.

Run it with `make bench`. Each import happens in a process of its own, after those before it, and the figures
are medians; ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys

OURS, GOOGLE = "gemini_nb.notebook.magics.extension", "google.genai"
BASES = {"over ipywidgets": "ipywidgets", "over ipywidgets in a kernel": "ipykernel.kernelapp, ipywidgets"}
SCRIPT = """import time, {base}
start = time.perf_counter()
import {module}
print(time.perf_counter() - start)"""


def milliseconds(base: str, module: str) -> float:
    """Time one import in a process of its own, with bytecode, as an installed package has it."""
    command = [sys.executable, "-c", SCRIPT.format(base=base, module=module)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return 1000 * float(subprocess.check_output(command, env=environment, text=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(f"\nimports, medians of {rounds} rounds")
    print(f"{'':<30}{'gemini_nb ms':>14}{'google-genai ms':>17}{'ratio':>8}")
    for name, base in BASES.items():
        milliseconds(base, OURS), milliseconds(base, GOOGLE)  # once, so that there is bytecode
        pairs = [(milliseconds(base, OURS), milliseconds(base, GOOGLE)) for _ in range(rounds)]
        ours, google = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(own / other for own, other in pairs)
        print(f"{name:<30}{ours:>14.0f}{google:>17.0f}{ratio:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
