"""Keys and tokens that never leave their object, and the scrubber that makes sure of it.

A key kept as a plain string turns up in reprs, in `%xmode Verbose` tracebacks, in pickles and in the error
page of a gateway that echoes its request. So a `Secret` shows nothing, cannot be pickled, and every living
one is known to `scrub`, which takes it out of any text that came from outside.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Mapping
from typing import NoReturn

__all__ = ["Secret", "partial_secret", "scrub", "seal"]

_SHORTEST = 6  # replacing shorter ones would mangle ordinary words of an error message
_TELLING = 4  # characters of a secret that are held back; fewer tell nothing
_MASK = "[secret]"
_living: weakref.WeakSet[Secret] = weakref.WeakSet()
_lock = threading.Lock()


class Secret:
    """A key or token; `reveal()` is the only way to its text.

    Args:
        text: the secret; white space around it is dropped, as pasting brings it along.
    """

    __slots__ = ("__weakref__", "_text")

    def __init__(self, text: str) -> None:
        self._text = text.strip()
        with _lock:
            _living.add(self)

    def reveal(self) -> str:
        """Return the text itself, for a request header and nothing else."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return "Secret('********')"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret is not pickled or copied into a file.")


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


def seal(credentials: object) -> object:
    """Return credentials that a traceback with variables may show; objects of other kinds stay as they are.

    A function that takes credentials rebinds its argument to this first, since a frame's variables hold what
    the caller wrote down.
    """
    if isinstance(credentials, Mapping) and not isinstance(credentials, _Sealed):
        return _Sealed(credentials)
    return Secret(credentials) if isinstance(credentials, str) else credentials


def scrub(text: str) -> str:
    """Take every living secret out of a text that came from a server or an exception."""
    for secret in _known():
        text = text.replace(secret, _MASK)
    return text


def partial_secret(text: str) -> int:
    """Return how many characters at the end of a text may be the beginning of a secret, 0 if none are."""
    return max((_overlap(text, secret) for secret in _known()), default=0)


def _overlap(text: str, secret: str) -> int:
    longest = min(len(text), len(secret) - 1)
    return next((n for n in range(longest, _TELLING - 1, -1) if text.endswith(secret[:n])), 0)


def _known() -> list[str]:
    """Every living secret, the longest first: one may be the beginning of another."""
    with _lock:
        known = {secret.reveal() for secret in _living}
    return sorted((secret for secret in known if len(secret) >= _SHORTEST), key=len, reverse=True)
