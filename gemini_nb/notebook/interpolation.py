"""A prompt that sees the notebook: `{city}`, `{trip.text}`, `{rows[0]}`, `{prices['tea']:.2f}`.

Prompts are full of braces that mean themselves: JSON, code, sets. `str.format` would raise at the first of
them. Here a pair of braces is replaced only where it names something that is there and that has a text of its
own, which functions, classes and modules have not; all others stay. Nothing is called, nothing that begins
with an underscore is reached for, and what was put in is not looked at again: text from a file cannot reach a
variable.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Mapping
from typing import Any

from gemini_nb.api.values import frame_text, is_media
from gemini_nb.streams.group import StreamGroup
from gemini_nb.streams.stream import Stream

__all__ = ["interpolate"]

_STEP = r"""\.[^\W\d]\w*|\[-?\d+\]|\[(?:'[^'\\\n]*'|"[^"\\\n]*")\]"""
_FIELD = re.compile(
    rf"(?P<open>\{{\{{?)(?P<name>[^\W\d]\w*)(?P<steps>(?:{_STEP})*)(?::(?P<spec>[^\s{{}}][^{{}}\n]*))?(?P<close>\}}\}}?)"
)
_STEPS = re.compile(_STEP)


def interpolate(text: str, *namespaces: Mapping[str, Any], needed: str | None = None) -> list[Any]:
    """Return the prompt as the contents to send: strings, and images or files where a name stood for one.

    Args:
        text: the prompt. A name in double braces, `{{city}}`, stands for itself in single ones.
        *namespaces: where names are looked up; the first that has one counts.
        needed: a name that must stand for something wherever it is used.

    Raises:
        LookupError: it does not; with the braces in question.
    """
    if needed is not None:
        _check_written(text, needed)
    pieces: list[Any] = []
    end = 0
    for match in _FIELD.finditer(text):
        doubled = match["open"] == "{{" and match["close"] == "}}"
        try:
            value = _resolve(match["name"], match["steps"], namespaces)
            shown = f"{match[0][1:-1]}" if doubled else _shown(value, match["spec"])
        except Exception:  # noqa: BLE001 - a person's objects; what does not resolve stays as it is
            if match["name"] == needed and not doubled:
                raise LookupError(match[0]) from None
            continue
        outer = "" if doubled else match["open"][1:]
        pieces += [text[end : match.start()] + outer, shown, "" if doubled else match["close"][1:]]
        end = match.end()
    pieces.append(text[end:])
    return _joined(pieces)


def _check_written(text: str, needed: str) -> None:
    """See that braces with this name are written so that they can stand for something: {item[a]} cannot."""
    for match in re.finditer(rf"(?<!\{{)\{{\s*{needed}\s*(?:[.\[!][^{{}}]*)?\}}", text):
        if _FIELD.fullmatch(match[0]) is None:
            raise LookupError(match[0])


def _resolve(name: str, steps: str, namespaces: tuple[Mapping[str, Any], ...]) -> Any:
    if name.startswith("__"):
        raise LookupError(name)
    value = next(namespace for namespace in namespaces if name in namespace)[name]
    for step in _STEPS.findall(steps):
        if step.startswith("["):
            value = value[ast.literal_eval(step[1:-1])]
        elif step.startswith("._"):
            raise LookupError(step)
        elif isinstance(value, Mapping) and step[1:] in value:
            value = value[step[1:]]
        else:
            value = getattr(value, step[1:])
    return value


def _shown(value: Any, spec: str | None) -> Any:
    """What stands in a value's place: text, or the value itself where it is an image or a file."""
    if isinstance(value, Stream):
        value = value.text
    elif isinstance(value, StreamGroup):
        value = "\n\n".join(value.texts)
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
    if _is_wordless(value):
        raise LookupError(type(value).__name__)
    return str(value)


def _text_of(value: bytes) -> Any:
    """Text that came as bytes; other bytes as they are, to be refused where the request is made."""
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
    """Neighbouring strings as one, and none that says nothing beside others that do."""
    made: list[Any] = []
    for piece in pieces:
        if isinstance(piece, str) and made and isinstance(made[-1], str):
            made[-1] += piece
        else:
            made.append(piece)
    said = [piece for piece in made if not isinstance(piece, str) or piece.strip()]
    return said or [""]
