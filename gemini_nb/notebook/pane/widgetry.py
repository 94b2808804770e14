"""The few widgets a pane is made of, cheap to open, to send and to close.

An `HTML()` of ipywidgets opens three channels to the page: itself, a layout and a style, with every default
spelled out. A pane of a long answer has hundreds. Here all of them share one layout and one style, say only
what differs from what the page knows anyway, and count what they send, for the painter's budget.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import ipywidgets as widgets
from ipywidgets.widgets.trait_types import TypedTuple
from ipywidgets.widgets.widget import widget_serialization
from traitlets import Instance, default

from gemini_nb.notebook.kernel.page_loads import note_restore
from gemini_nb.notebook.render.markdown import plain
from gemini_nb.streams.stream import Stream

_NAMED = {f"_{side}_{fact}" for side in ("model", "view") for fact in ("module", "module_version", "name")}
_SHARED = {"layout", "style"}  # empty, so that a page without them shows the same
_shared: dict[object, widgets.Widget] = {}
_sent = 0


def messages() -> int:
    """How many messages these widgets have sent so far, all together."""
    return _sent


class Counted(widgets.Widget):
    """A widget that counts its messages."""

    def open(self) -> None:
        """Open the widget on the page."""
        if self.comm is None:
            _count()
        super().open()

    def close(self) -> None:
        """Close the widget on every page."""
        if self.comm is not None:
            _count()
        super().close()

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> Any:
        """The state; all of it, once the widget is open, is for a page that restores its widgets."""
        if key is None and self.comm is not None:
            note_restore()
        if key is None or drop_defaults:
            return super().get_state(key, drop_defaults)
        return self._values_of([key] if isinstance(key, str) else key)

    @default("keys")
    def _default_keys(self) -> list[str]:
        kind: Any = type(self)
        return list(_defaults(kind))

    def _values_of(self, names: Iterable[str]) -> dict[str, Any]:
        """What is sent of these traits. ipywidgets would look at all of a widget's traits for each update."""
        return {
            name: self.trait_metadata(name, "to_json", self._trait_to_json)(getattr(self, name), self)
            for name in names
        }

    def _send(self, msg: Any, buffers: Any = None) -> None:
        _count()
        super()._send(msg, buffers=buffers)


@functools.cache
def _defaults(kind: Any) -> dict[str, Any]:
    """The traits of a kind of widgets that a page is sent, with their defaults."""
    return {name: trait.default_value for name, trait in kind.class_traits(sync=True).items()}


def _count(number: int = 1) -> None:
    global _sent  # there is one page to flood
    _sent += number


def _name_open(children: Sequence[widgets.Widget], _: widgets.Widget) -> list[str]:
    """What a page is sent of a box's children: a closed one has no channel, and so no name."""
    return [f"IPY_MODEL_{child.model_id}" for child in children if _can_be_named(child)]


def _can_be_named(child: widgets.Widget) -> bool:
    return child.comm is not None or isinstance(child, OpensWhenNamed)


class OpensWhenNamed:
    """Marks a widget that opens when its `model_id` is read."""


class Container(Counted):
    """A box that passes over closed children when a page asks for its state.

    For one closed child ipywidgets would raise, and the page that was loaded would get no widget at all.
    """

    children = TypedTuple(trait=Instance(widgets.Widget)).tag(
        sync=True, **{**widget_serialization, "to_json": _name_open}
    )


class _Brief(Counted):
    """A widget that opens with what differs from the page's own defaults, and without what all share.

    A page that loads may hear of it before it knows the shared layout, and would give up what names it.
    """

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> Any:
        if key is not None or self.comm is not None:  # an update, or a page that asks for all of it
            return super().get_state(key, drop_defaults)
        kind: Any = type(self)
        known, values = _defaults(kind), self._trait_values
        own = {name for name in values if name in known and values[name] != known[name]}
        return self._values_of((_NAMED | own) - _SHARED)


class _Piece(_Brief, widgets.HTML):
    """An HTML widget with a short opening message."""


class _Formulas(_Brief, widgets.HTMLMath):
    """The same, with a text that the page typesets."""


class _Button(_Brief, widgets.Button):
    """A button with a short opening message."""


class _Box(_Brief, Container, widgets.Box):
    """A box with a short opening message."""


def shared_layout() -> Any:
    """The one empty layout that all widgets share; the style sheet does the rest."""
    return _one(widgets.Layout)


def shared_piece(value: str, *classes: str) -> Any:
    """The one HTML widget with this value, wherever it stands, so that it is sent once."""
    return _one((value, *classes), lambda: piece(value, *classes))


def _one(key: Any, make: Callable[[], widgets.Widget] | None = None) -> Any:
    found = _shared.get(key)
    if found is None or found.comm is None:  # the first, or all widgets were closed
        if make is None:
            _count()
        found = _shared[key] = key() if make is None else make()
    return found


def piece(value: str = "", *classes: str) -> Any:
    """An HTML widget without a layout of its own, which must not be changed."""
    return _Piece(
        value, layout=shared_layout(), style=_one(widgets.HTML.style.klass), _dom_classes=tuple(classes)
    )


def scroll_key(name: str) -> Any:
    """Something to focus inside a box that scrolls: boxes take no focus, role or name themselves.

    The page scrolls what holds the focus. JupyterLab keeps the arrow keys for its cells.

    Args:
        name: what scrolls, for screen readers.
    """
    label = f"{name}: scrolls with Page Up and Page Down"
    return shared_piece(f'<div tabindex="0" role="group" aria-label="{label}"></div>', "gemini-nb-scroll-key")


def formulas(value: str = "", *classes: str) -> Any:
    """A `piece` whose formulas are typeset; the value is what `markdown.typeset` returned."""
    style = _one(widgets.HTMLMath.style.klass)
    return _Formulas(value, layout=shared_layout(), style=style, _dom_classes=tuple(classes))


def box(children: Sequence[widgets.Widget], *classes: str, **traits: Any) -> Any:
    """A box without a layout of its own, which must not be changed."""
    return _Box(list(children), layout=shared_layout(), _dom_classes=tuple(classes), **traits)


def set_value(widget: Any, value: object, name: str = "value") -> int:
    """Send a value if it is new; returns how many messages that took."""
    if getattr(widget, name) == value:
        return 0
    setattr(widget, name, value)
    return 1


def stop_button(stream: Stream) -> widgets.Button:
    """A button that stops a stream."""
    return button("Stop", stream.request_stop, tooltip=f"Stop {plain(stream.label)}")


def button(name: str, action: Callable[[], object], tooltip: str = "") -> widgets.Button:
    """A button; its action must not block, and runs while a cell does where the platform allows it."""
    style = _one(widgets.Button.style.klass)
    made = _Button(description=name, tooltip=tooltip, layout=shared_layout(), style=style)
    made.on_click(lambda _: action())
    answer_where_asked(made)
    return made


def answer_where_asked(widget: widgets.Widget) -> None:
    """Let clicks be handled while the kernel runs a cell.

    JupyterLab sends them to a subshell for that; ipykernel 7.4 hands them to the busy main shell again, the
    one that last sent on the comm.
    """
    comm = widget.comm
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda _, default: default  # noqa: SLF001 - there is no public way


def close_tree(widget: widgets.Widget, *, deep: bool = True) -> None:
    """Close a widget and everything in it, layouts and styles too, but for those that all share."""
    if _is_shared(widget):
        return
    for child in getattr(widget, "children", ()) if deep else ():
        close_tree(child)
    for name in ("layout", "style"):
        part = getattr(widget, name, None)
        if isinstance(part, widgets.Widget) and not _is_shared(part):
            part.close()
    widget.close()


def _is_shared(widget: widgets.Widget) -> bool:
    return any(widget is one for one in tuple(_shared.values()))
