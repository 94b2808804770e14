"""The style sheets of panes, groups and dashboards, one file each."""

from __future__ import annotations

import functools
import re
from pathlib import Path

__all__ = ["style"]

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


@functools.cache
def style(*names: str) -> str:
    """Return these sheets as one `<style>` element, without comments and line breaks.

    Args:
        *names: of the files beside this one, without `.css`.
    """
    rules = "".join(Path(__file__).with_name(f"{name}.css").read_text(encoding="utf-8") for name in names)
    return f"<style>{' '.join(_COMMENT.sub('', rules).split())}</style>"
