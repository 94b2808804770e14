"""The benchmarks one after the other: `make bench`, about six minutes.

With `--full`, streams are longer, google-genai has its thousand, too, and transports are compared.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

FAST = (
    ["imports.py"],
    ["lengths.py"],
    ["rendering.py"],
    ["journal.py"],
    ["rows.py"],
    ["start.py"],
    ["smooth.py", "--rounds", "1"],
    ["paced.py"],
)
FULL = (
    ["imports.py"],
    ["lengths.py"],
    ["rendering.py"],
    ["journal.py"],
    ["rows.py", "--full"],
    ["start.py"],
    ["smooth.py"],
    ["paced.py", "--full", "--chunks", "100"],
    ["transports.py"],
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    for script, *arguments in FULL if parser.parse_args().full else FAST:
        subprocess.check_call([sys.executable, Path(__file__).with_name(script), *arguments])


if __name__ == "__main__":
    main()
