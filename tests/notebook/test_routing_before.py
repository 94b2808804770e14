"""The same as in test_routing, in older kernels: ipykernel 6 with IPython 8, and the first ipykernel 7."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from test_routing import *  # noqa: F403 - all of its tests, and the fixtures that they use

from kernels import Kernel

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


VERSIONS = {"before": ("8.39.0", "6.29.5"), "first": ("9.6.0", "7.0.1")}


@pytest.fixture(scope="module", params=VERSIONS)
def kernel_python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own, since the one that runs the tests has the newest of both."""
    folder = tmp_path_factory.mktemp(request.param)
    ipython, ipykernel = VERSIONS[request.param]
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    wanted = [f"ipykernel=={ipykernel}", f"ipython=={ipython}", "matplotlib", "pandas", "tqdm", str(ROOT)]
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True)
    return python


def test_the_kernel_is_of_these_versions(shell: Kernel) -> None:
    said = shell.run("import IPython, ipykernel; print((IPython.__version__, ipykernel.__version__))").stdout
    assert said.strip() in map(str, VERSIONS.values())
