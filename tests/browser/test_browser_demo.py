"""The demo as a user opens it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import gemini_nb
from demo import Demo
from lab import CONNECTED, LOAD_MILLISECONDS, Browser

pytestmark = pytest.mark.browser

NOTEBOOKS = Path(gemini_nb.__file__).parents[1] / "notebooks"
# What a kernel says of itself is noted in the notebook a moment after it has said it.
NOTED = """async () => {
  const context = window.jupyterapp.shell.currentWidget.context;
  const kernel = context.sessionContext.session.kernel;
  const [info, spec] = [await kernel.info, await kernel.spec];
  await new Promise(resolve => setTimeout(resolve, 500));
  return {
    version: context.model.getMetadata('language_info').version === info.language_info.version,
    name: context.model.getMetadata('kernelspec').display_name === spec.display_name,
    dirty: context.model.dirty,
  };
}"""


@pytest.mark.slow
def test_no_notebook_is_marked_as_unsaved_for_having_been_opened(tmp_path: Path, browser: Browser) -> None:
    with browser.active(), Demo(tmp_path, "--LabApp.expose_app_in_browser=True") as demo:
        page = browser.chromium.new_context().new_page()
        page.goto(f"http://127.0.0.1:{demo.port}/doc?token={demo.token}")
        for path in sorted(NOTEBOOKS.glob("*.ipynb")):
            page.goto(f"http://127.0.0.1:{demo.port}/doc/tree/{path.name}", timeout=LOAD_MILLISECONDS)
            page.wait_for_function(CONNECTED, arg=["idle"], timeout=LOAD_MILLISECONDS)
            said = page.evaluate(NOTED)
            assert said == {"version": True, "name": True, "dirty": False}, path.name
        page.context.close()
        assert demo.end(signal.SIGTERM) == 0
        assert list(demo.temporary.iterdir()) == []
