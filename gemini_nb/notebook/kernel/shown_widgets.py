"""Widgets that a tool displays: a card shows their text, and shows it anew when they change.

tqdm's bar for notebooks is such a widget, and it is displayed once, at 0 %.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from IPython.lib.pretty import pretty

from gemini_nb.tools.output import Display
from gemini_nb.tools.report import Report

_VIEW = "application/vnd.jupyter.widget-view+json"


def display_widget(target: object, shown: Display) -> bool:
    """Show a widget in a card; returns False for anything else, and for a cell, where the page shows it."""
    view = shown.data.get(_VIEW)
    if not isinstance(target, Report) or not isinstance(view, Mapping):
        return False
    widget = _find(view.get("model_id"))
    if widget is None:
        return False
    place = {"display_id": shown.transient.get("display_id") or view["model_id"]}

    def show(*_: object, update: bool = True) -> None:
        if not target.closed:
            with contextlib.suppress(Exception):  # tqdm's has no text once its bar is gone
                target.display(Display({"text/plain": pretty(widget)}, {}, place, update))

    show(update=False)
    for one in _all_in(widget):
        one.observe(show)
    return True


def _find(model_id: object) -> Any:
    from ipywidgets.widgets import widget  # few tools display one

    return getattr(widget, "_instances", {}).get(model_id)


def _all_in(widget: Any) -> Iterator[Any]:
    yield widget
    for child in getattr(widget, "children", ()):
        yield from _all_in(child)
