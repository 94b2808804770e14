"""Arguments that hold keys, hidden from tracebacks that show variables.

A frame's variables hold what the caller wrote down: credentials, headers, and options under names that no
option has. A function that takes them rebinds them first to what is made here, whose repr shows none of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, ValuesView
from typing import Any, NoReturn

from gemini_nb.redaction import Secret

_SECRET_OPTION = re.compile(r"(?:key|token|secret|password)$", re.IGNORECASE)

shown_options: set[str] = set()
"""Names of the options that a traceback may show. Each module that takes options adds its own."""


class _Sealed(Mapping[object, object]):
    """A mapping whose values no repr shows."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[object, object]) -> None:
        self._values = {
            name: seal(value) if isinstance(value, Mapping) else value for name, value in values.items()
        }

    def __getitem__(self, name: object) -> object:
        return self._values[name]

    def __iter__(self) -> Iterator[object]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<credentials: {', '.join(sorted(map(str, self._values)))}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("Credentials are not pickled or copied into a file.")


class _Carried(_Sealed):
    """The same for other processes, which cannot ask without."""

    __slots__ = ()

    def __init__(self, values: Mapping[object, object]) -> None:
        self._values = {
            name: carry(value) if isinstance(value, Mapping) else value for name, value in values.items()
        }

    def __reduce__(self) -> Any:
        return _Carried, (dict(self._values),)


def carry(credentials: object) -> object:
    """Return credentials that a traceback with variables may show, and that other processes may get."""
    return _Carried(credentials) if isinstance(credentials, Mapping) else seal(credentials)


def seal(credentials: object) -> object:
    """Return credentials that a traceback with variables may show; objects of other kinds stay as they are.

    A function that takes credentials rebinds its argument to this first, since a frame's variables hold what
    the caller wrote down.
    """
    if credentials is None or isinstance(credentials, _Sealed):
        return credentials
    if isinstance(credentials, Mapping):
        return _Sealed(credentials)
    if isinstance(credentials, (bytes, bytearray)):
        return Secret(credentials.decode(errors="replace"))
    return Secret(credentials) if isinstance(credentials, str) else credentials


class _Hidden:
    """Stands for a value that is refused; its type has the name of the value's, for the message."""


def sealed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of a stream that a traceback may show.

    Sealed are the credentials, the headers, and whatever has a name that no option has: `api_key=` is how
    other clients take it, so that many a refused call holds one.
    """
    return {name: _sealed_option(name, value) for name, value in options.items()}


def sealed_rows(each: Any) -> Any:
    """Return settings of rows that a traceback may show; what is read later stays as it is."""
    if isinstance(each, Mapping):
        return sealed(each)
    is_list = isinstance(each, (Sequence, ValuesView)) and not isinstance(
        each, (str, bytes, bytearray, range)
    )
    return [sealed(own) if isinstance(own, Mapping) else _hidden(own) for own in each] if is_list else each


def _sealed_option(name: str, value: object) -> object:
    if name == "each":
        return sealed_rows(value)
    if name in shown_options or value is None or isinstance(value, (Secret, _Sealed, _Hidden)):
        return value
    is_text = isinstance(value, (str, bytes, bytearray))
    if isinstance(value, Mapping) or (is_text and (name == "credentials" or _SECRET_OPTION.search(name))):
        return seal(value)
    if name == "credentials" and all(hasattr(value, part) for part in ("refresh", "token", "valid")):
        return value  # google-auth's own show nothing
    return _hidden(value)


def _hidden(value: object) -> object:
    """Stand for a value; no Secret, since its words would be scrubbed elsewhere."""
    return type(type(value).__name__, (_Hidden,), {})()


def seal_options(options: Any) -> None:
    """Seal the options of the calling function, in place."""
    options.update(sealed(options))
