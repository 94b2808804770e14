"""The same as in test_routing, in a kernel of the generation before: ipykernel 6 with IPython 8."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from test_routing import *  # noqa: F403 - all of its tests, and the fixtures that they use

from kernels import Kernel

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def kernel_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own, since the one that runs the tests has the newest of both."""
    folder = tmp_path_factory.mktemp("before")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    wanted = ["ipykernel==6.29.5", "ipython==8.39.0", "matplotlib", "pandas", str(ROOT)]
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True)
    return python


def test_the_kernel_is_of_the_generation_before(shell: Kernel) -> None:
    said = shell.run("import IPython, ipykernel; print(IPython.__version__, ipykernel.__version__)").stdout
    assert said == "8.39.0 6.29.5\n"
