"""A prompt that sees the notebook: `{city}`, `{trip.text}`, `{rows[0]}`, `{prices['tea']:.2f}`.

Prompts are full of braces that mean themselves: JSON, code, sets. `str.format` would raise at the first of
them. Here a pair of braces is replaced only where it names something that is there and that has a text of its
own, which functions, classes and modules have not; all others stay. Nothing is called, nothing that begins
with an underscore is reached for, and what was put in is not looked at again: text from a file cannot reach a
variable.
"""

from __future__ import annotations

import builtins
import contextlib
import copy
import inspect
import numbers
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from types import ModuleType
from typing import Any

from gemini_nb.api.contents.content import to_part
from gemini_nb.api.contents.values import frame_rows, frame_text, is_media
from gemini_nb.errors import ArgumentError, NotAskedError, kind_of
from gemini_nb.redaction import scrub_error
from gemini_nb.streams.chat.chat import Chat
from gemini_nb.streams.chat.messages import conversation_text
from gemini_nb.streams.conversation.dependencies import (
    Deferred,
    Need,
    defer,
    growing,
    streams_among,
    streams_in,
    taken_with_streams,
    wait_for_rows,
    whole_text,
    with_texts,
)
from gemini_nb.streams.events.states import Status
from gemini_nb.streams.group.braces import (
    FIELD,
    STEPS,
    check_written,
    has_name,
    is_doubled,
    looks_like_variable,
    prose_of,
    python_name,
    step_into,
)
from gemini_nb.streams.group.frame import is_missing
from gemini_nb.streams.group.group import StreamGroup
from gemini_nb.streams.runtime.reached import noting_streams
from gemini_nb.streams.stream import Stream

_CONVERSIONS: Mapping[str, Callable[[object], str]] = {"r": repr, "s": str, "a": ascii}
_ROWS = re.compile(r"all|[1-9]\d*")
_SHOWN_ROWS = 40  # of a frame for which the prompt does not say how many


class ObjectText(str):
    """A text that may stand for an object: a field that takes a part of it by name takes it of the object.

    Attributes:
        stands_for: the object.
    """

    __slots__ = ("stands_for",)
    stands_for: Any


def interpolate(
    text: str,
    *namespaces: Mapping[str, Any],
    needed: str | None = None,
    notes: list[str] | None = None,
) -> Any:
    """Return the prompt as the contents to send: strings, and images or files where a name stood for one.

    Values are taken now. Where a name leads to a stream that still runs, the contents are `Deferred`: that
    place is filled in when the stream has ended, with its whole text, however its name is used until then.
    Of what is needed, a missing value (None, NaN) has an empty text; where all of them are missing, nothing
    is left to ask about.

    Args:
        text: the prompt. A name in double braces, `{{city}}`, stands for itself in single ones.
        *namespaces: where names are looked up; the first that has one counts.
        needed: a name that must stand for something wherever it is used.
        notes: takes what the user should know: a name that is not defined, rows of a frame that are left out.

    Raises:
        LookupError: it does not; with the braces in question.
        ArgumentError: it does, but that has no text.
        NotAskedError: it has nothing but missing values.
    """
    if needed is not None:
        check_written(text, needed)
    pieces: list[Any] = []
    missing: dict[str, bool] = {}
    end = 0
    prose = text if notes is None else prose_of(text, namespaces, notes)
    for match in FIELD.finditer(text):
        doubled = is_doubled(match)
        try:
            value, shown = _replaced(match, namespaces, needed, missing)
        except Exception:  # noqa: BLE001 - the user's objects; what does not resolve stays as it is
            if match["name"] == needed and not doubled:
                _check_has_text(match, namespaces)
                raise LookupError(match[0]) from None
            if notes is not None and (why := _why_unfilled(prose, match, namespaces)):
                notes.append(f"{why}: {match[0]} was sent as it is.")
            continue
        if notes is not None and not doubled:
            notes += _left_out(value, match)
        before, after = ("", "") if doubled else (match["open"][1:], match["close"][1:])
        pieces += [text[end : match.start()] + before, shown, after]
        end = match.end()
    _check_missing(missing)
    return _contents([*pieces, text[end:]])


def with_values(text: str, names: Mapping[str, Any]) -> str:
    """Return a text in which braces are filled in that name a text, a number or a path; all others stay."""

    def shown(match: re.Match[str]) -> str:
        if is_doubled(match):
            return match[0][1:-1]
        try:
            value = _resolve(match["name"], match["steps"], (names,))
            if not isinstance(value, (str, numbers.Number, PurePath)):
                return match[0]
            inner = str(_shown(value, match["conversion"], match["spec"]))
        except Exception:  # noqa: BLE001 - the user's objects; what does not resolve stays as it is
            return match[0]
        return match["open"][1:] + inner + match["close"][1:]

    return FIELD.sub(shown, text)


def _replaced(
    match: re.Match[str],
    namespaces: tuple[Mapping[str, Any], ...],
    needed: str | None,
    missing: dict[str, bool],
) -> tuple[Any, Any]:
    """Return what a field names, and what stands in its place; note whether a needed value is missing."""
    value = _resolve(match["name"], match["steps"], namespaces, needed)
    if is_doubled(match):
        return value, match[0][1:-1]
    if match["name"] == needed and match["conversion"] is None:
        missing[match[0]] = is_missing(value)
    return value, "" if missing.get(match[0]) else _filled(value, match, needed)


def _contents(pieces: list[Any]) -> Any:
    """Return the contents that consist of these pieces, deferred where some of them are holes."""
    if not any(isinstance(piece, _Hole) for piece in pieces):
        return _joined(pieces)
    known = [piece if isinstance(piece, (str, _Hole)) else to_part(piece) for piece in pieces]
    return defer(
        Deferred(
            needs=tuple(piece.need for piece in known if isinstance(piece, _Hole)),
            preview=_joined([piece.source if isinstance(piece, _Hole) else piece for piece in known]),
            make=lambda: _joined([piece.fill() if isinstance(piece, _Hole) else piece for piece in known]),
        )
    )


def _check_missing(missing: Mapping[str, bool]) -> None:
    """Refuse a prompt all of whose needed values are missing."""
    if missing and all(missing.values()):
        raise NotAskedError(
            f"Not asked: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing in this row.",
            hint="Leave such rows out, as frame.dropna() does, or fill them in.",
        )


@dataclass(frozen=True, slots=True)
class _Hole:
    """A place in a prompt that a stream fills once it has ended.

    Attributes:
        need: what must have ended.
        value: the stream, group or list itself.
        steps: what of it is wanted.
        conversion: "r", "s" or "a", as in an f-string.
        spec: the format it is wanted in.
        source: how it is written.
    """

    need: Need
    value: Any
    steps: tuple[str, ...]
    conversion: str | None
    spec: str | None
    source: str

    def fill(self) -> Any:
        """Return what takes this place.

        Raises:
            NotAskedError: the answer has no such thing.
        """
        value = self.value
        wait_for_rows(self.value)
        try:
            for step in self.steps:
                value = step_into(value, step)
            with noting_streams():
                return _shown(value, self.conversion, self.spec)
        except Exception as error:  # noqa: BLE001 - attributes of a user's objects, a format that does not fit
            raise NotAskedError(
                f"Not asked: {self.source} cannot be filled in: {scrub_error(error)}.",
                hint=f"Look at the answer; {{{self.source}}} with two braces stands for itself.",
            ) from None


@dataclass(frozen=True, slots=True)
class _Reached:
    """A value that consists of streams, and the steps that lead on from it."""

    value: Any
    steps: tuple[str, ...]


def _filled(value: Any, match: re.Match[str], needed: str | None) -> Any:
    steps: tuple[str, ...] = ()
    if not isinstance(value, _Reached):
        with noting_streams() as noted:
            shown = _shown(value, match["conversion"], match["spec"])
        if all(stream.status is Status.COMPLETED for stream in noted):
            return shown
        streams, whole, taken = tuple(dict.fromkeys(noted)), value, _copied(value)
    else:
        whole, steps = value.value, value.steps
        taken = whole.fork() if isinstance(whole, Chat) else taken_with_streams(whole)
        streams = taken.under_way if isinstance(taken, Chat) else tuple(dict.fromkeys(streams_among(whole)))
    name = "" if match["name"] == needed else match["name"]
    is_one = len(streams) == 1 and not growing(whole)
    # A message that fails leaves its chat as it was.
    need = Need(streams, streams[0] if is_one else whole, name, must_complete=not isinstance(taken, Chat))
    hole = _Hole(need, taken, steps, match["conversion"], match["spec"], match[0])
    if all(stream.status is Status.COMPLETED for stream in streams) and not growing(whole):
        with contextlib.suppress(NotAskedError):  # its stream says so, as it does where it has to wait
            return hole.fill()
    return hole


def _copied(value: Any) -> Any:
    """A set or a frame may change before its streams have ended; the streams stay the same."""
    with contextlib.suppress(Exception):  # a user's own ways to be copied
        return copy.copy(value)
    return value


def _why_unfilled(prose: str, match: re.Match[str], namespaces: tuple[Mapping[str, Any], ...]) -> str:
    """Why braces that look like a variable stay as they are; empty for JSON, code and LaTeX."""
    name, way = python_name(match["name"]), match["steps"]
    if not looks_like_variable(prose, match):
        return ""
    known = next((namespace for namespace in namespaces if name in namespace), None)
    if known is None:
        return "" if hasattr(builtins, name) else f"{match['name']} is not defined"
    if not isinstance(known[name], (type, ModuleType)) and not inspect.isroutine(known[name]):
        return _why_not_shown(name, way, match, namespaces)
    return ""


def _why_not_shown(
    name: str, way: str, match: re.Match[str], namespaces: tuple[Mapping[str, Any], ...]
) -> str:
    try:
        value = _resolve(name, way, namespaces)
    except Exception:  # noqa: BLE001 - attributes and items of the user's objects
        return f"{match['name']} has no {way.removeprefix('.')}" if way else ""
    if isinstance(value, _Reached) or _is_wordless(value):
        return ""
    if why := _why_no_text(value):
        return f"{name}{way} has no text ({why})"
    return "" if match["spec"] is None else f"{name}{way} is {kind_of(value)}, which has no such format"


def _why_no_text(value: object) -> str:
    try:
        str(value)
    except Exception as error:  # noqa: BLE001 - the user's own words for an object
        return type(error).__name__
    return ""


def _check_has_text(match: re.Match[str], namespaces: tuple[Mapping[str, Any], ...]) -> None:
    try:
        value = _resolve(python_name(match["name"]), match["steps"], namespaces)
    except Exception:  # noqa: BLE001 - as above
        return
    if why := _why_no_text(value):
        raise ArgumentError(
            f"{match['name']}{match['steps']} is {kind_of(value)} that has no text ({why}).",
            hint="Python writes no whole number of more than 4,300 digits."
            if isinstance(value, int)
            else "Give the row a text in its place.",
        ) from None


def _left_out(value: Any, match: re.Match[str]) -> list[str]:
    """Note how many rows of a long frame are sent."""
    rows = frame_rows(value)
    spec = match["spec"]
    shown = _SHOWN_ROWS if spec is None else _rows_wanted(spec) if _ROWS.fullmatch(spec) else None
    if rows is None or shown is None or rows <= shown:
        return []
    name = match[0].strip("{}").partition(":")[0]
    return [f"{name}: {shown:,} of {rows:,} rows were sent; {{{name}:all}} sends all of them."]


def _rows_wanted(spec: str) -> int | None:
    return None if spec == "all" else int(spec)


def _resolve(
    name: str, steps: str, namespaces: tuple[Mapping[str, Any], ...], needed: str | None = None
) -> Any:
    is_needed, name = name == needed, python_name(name)
    if name.startswith("__") and name.strip("_"):  # "__" is the output before the last
        raise LookupError(name)
    value = next(namespace for namespace in namespaces if name in namespace)[name]
    left = STEPS.findall(steps)
    for index, step in enumerate(left):
        if _ends_way(value, step):
            return _Reached(value, tuple(left[index:]))
        if isinstance(value, ObjectText) and has_name(left[index:]):
            value = value.stands_for
        if is_needed and is_missing(value):  # and so is all that it could hold
            return value
        value = step_into(value, step)
    return _Reached(value, ()) if isinstance(value, Chat) or streams_among(value) else value


def _ends_way(value: Any, step: str) -> bool:
    """Whether what this step leads to is known only once a stream has ended; a group's streams are there."""
    if isinstance(value, StreamGroup):
        return not step.startswith("[") and step != ".streams"
    return isinstance(value, (Chat, Stream))


def _shown(value: Any, conversion: str | None, spec: str | None) -> Any:
    """What stands in a value's place: text, or the value itself where it is an image or a file."""
    value = _answered(value)
    if conversion is not None:
        value = _CONVERSIONS[conversion](_with_words(value))
    if spec is not None and _ROWS.fullmatch(spec) and frame_rows(value) is not None:
        return f"\n{frame_text(value, _rows_wanted(spec))}\n"
    if spec is not None:
        return format(value, spec)
    if isinstance(value, (str, int, float)):
        return str(value)
    if (table := frame_text(value)) is not None:
        return f"\n{table}\n"
    if is_media(value):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _text_of(bytes(value))
    return str(_with_words(value))


def _with_words(value: Any) -> Any:
    """Return a value that has a text of its own.

    Raises:
        LookupError: it has none.
    """
    if _is_wordless(value):
        raise LookupError(type(value).__name__)
    return value


def _answered(value: Any) -> Any:
    """What was answered, of a value that consists of streams, holds some, or is a chat; other values."""
    if isinstance(value, Chat):
        return conversation_text(value.history) or str(value)
    if streams_in(value) is not None:
        return whole_text(value)
    return str(with_texts(value)) if streams_among(value) else value


def _text_of(value: bytes) -> Any:
    """Decode bytes that are text; others stay, and are refused when the request is made."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _is_wordless(value: object) -> bool:
    """Whether its text would be a type and an address: braces around its name are most likely code."""
    kind = type(value)
    return (
        isinstance(value, type)
        or inspect.isroutine(value)
        or inspect.ismodule(value)
        or inspect.isgenerator(value)
        or (kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__)
    )


def _joined(pieces: list[Any]) -> list[Any]:
    """Join neighbouring strings, and drop blank ones beside others."""
    made: list[Any] = []
    for piece in pieces:
        if isinstance(piece, str) and made and isinstance(made[-1], str):
            made[-1] += piece
        else:
            made.append(piece)
    said = [piece for piece in made if not isinstance(piece, str) or piece.strip()]
    return said or [""]
