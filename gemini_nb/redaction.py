"""Keys and tokens that never leave their object, and the scrubber that makes sure of it.

A key kept as a plain string turns up in reprs, in `%xmode Verbose` tracebacks, in pickles and in the error
page of a gateway that echoes its request. So a `Secret` shows nothing, cannot be pickled, and every living
one is known to `scrub`, which takes it out of any text that came from outside. `scrub` also knows what a tool
can read without us: the keys and proxy passwords of the environment at that moment, and whatever token an
object given to `watch` holds at that moment. It finds them in the forms that programs write them in, too:
JSON, URLs and base64.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import math
import operator
import os
import re
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn, Protocol, TypeVar
from urllib.parse import quote, quote_plus, unquote, urlsplit

from gemini_nb import errors

_SHORTEST = 8  # replacing shorter ones would mangle ordinary words
_SHORTEST_WORD = 16  # nor is one a key that has nothing but letters, such as "simulator"
_MASK = "[secret]"
_KEYS = ("GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_OAUTH_ACCESS_TOKEN", "CLOUDSDK_AUTH_ACCESS_TOKEN")
_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
_HELD_FROM = 4  # characters
_DEEPEST = 200  # levels: twice what the service takes; deeper values are only ever looked at
_FRESH = 0.25  # seconds for which a veil takes what is secret to stay the same, unless a new one arrives
_MANY = 10_000  # values of a level that are looked at together
URL_PASSWORD = re.compile(  # a port or a placeholder is none; what ends at the next "://" is looked at once
    r"(?P<user>://[^\s/?#@:\[\"'`<>]{0,256}:)"
    r"(?!\d{1,5}(?:[/?#;,)\]}\\|&*]|$)|\{[^}]{0,100}\}@|%(?:\(\w{1,80}\))?s@|\$\{?[A-Z_]{1,80}\}?@|password@)"
    r"(?P<value>(?:[^\s:\"'`<>]|:(?!//)){1,4096})@"
)
_NUMBERS = {int, float, bool, type(None)}

J = TypeVar("J")


class Holder(Protocol):
    """An object that holds secrets which change, such as google-auth's credentials."""

    def secrets(self) -> Iterable[str]:
        """Those it holds now."""


class _Text:
    """A secret's text, shared by all `Secret`s of it: a thousand streams may have one key."""

    __slots__ = ("__weakref__", "text")

    def __init__(self, text: str) -> None:
        self.text = text


_living: weakref.WeakValueDictionary[str, _Text] = weakref.WeakValueDictionary()
_holders: weakref.WeakSet[Holder] = weakref.WeakSet()
_lock = threading.Lock()
_arrivals = 0  # of secrets and of objects that hold some
_sought: list[tuple[float, int, tuple[str, ...]]] = [(-math.inf, 0, ())]
"""When all veils last looked for secrets, how many had arrived then, and what they look for since; none may
hold a secret itself."""
_batch = threading.local()


class Secret:
    """A key or token; `reveal()` is the only way to its text.

    Args:
        text: the secret; white space around it is dropped, as pasting brings it along.
    """

    __slots__ = ("__weakref__", "_text")

    def __init__(self, text: str) -> None:
        global _arrivals
        text = text.strip()
        with _lock:
            found = _living.get(text)
            if found is None:
                found = _living[text] = _Text(text)
                _arrivals += 1
            self._text = found

    def reveal(self) -> str:
        """Return the text itself, for a request header and nothing else."""
        return self._text.text

    def __bool__(self) -> bool:
        return bool(self._text.text)

    def __repr__(self) -> str:
        return "Secret('********')"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret is not pickled or copied into a file.")


def watch(holder: Holder) -> None:
    """Let the scrubber ask this object for its secrets for as long as it lives."""
    global _arrivals
    with _lock:
        _holders.add(holder)
        _arrivals += 1


def scrub(text: str) -> str:
    """Take every secret out of a text that came from a server, a tool or an exception.

    The password of a URL is one, too: the errors of databases and of HTTP clients quote the whole of it.
    """
    if len(text) < _SHORTEST:
        return text
    text = _replaced(text, _sought_now())
    return URL_PASSWORD.sub(rf"\1{_MASK}@", text) if "://" in text and "@" in text else text


def scrub_error(error: BaseException) -> str:
    """Return the type and the text of an exception, without secrets."""
    return scrub(f"{type(error).__name__}: {error}")


@contextlib.contextmanager
def looking_once() -> Iterator[None]:
    """Take what is secret to stay the same within this block, on this thread; for many values together."""
    _batch.forms = _forms(_known())
    try:
        yield
    finally:
        del _batch.forms


def excerpt(text: str, limit: int = 200) -> str:
    """Return the beginning of a server's text on one line, without secrets."""
    line = " ".join(scrub(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def excerpt_of(value: object, limit: int = 80) -> str:
    """Return the beginning of a value's repr on one line, without secrets; its type where the repr raises."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - the user's own words for an object
        text = f"<{type(value).__name__}>"
    return excerpt(text, limit)


def partial_secret(text: str) -> int:
    """Return how many characters at the end of a text may be the beginning of a secret.

    A text that arrives in pieces is shown without them, since the rest may follow.
    """
    forms = _sought_now()
    return _dangling(text, forms) if forms else 0


def scrub_bytes(data: bytes) -> bytes:
    """Take every secret out of bytes of any kind; their number stays, so that offsets in a file do."""
    for form in _sought_now():
        raw = form.encode("utf-8", "surrogatepass")
        if raw in data:
            data = data.replace(raw, b"*" * len(raw))
    return data


def scrub_json(value: J) -> J:
    """Take every secret out of the texts and keys of a JSON value; what holds none is returned as it is.

    Mask what is nested too deeply to be looked at, or holds itself.
    """
    return _scrubbed(value, _sought_now())


def scrub_arriving(value: J) -> J:
    """`scrub_json` for what comes with each answer, which looks for new secrets four times a second."""
    return _scrubbed(value, _sought_of_late())


def _scrubbed(value: J, forms: tuple[str, ...]) -> J:
    texts = _texts_in(value)
    if texts is not None and _hold_none(texts, forms):
        return value
    cleaned: J = _Walk(forms).clean(value, _DEEPEST)
    return cleaned


def _hold_none(texts: list[str], forms: tuple[str, ...]) -> bool:
    try:
        whole = "\0".join(texts)
    except TypeError:  # a name is none
        return False
    return not any(form in whole for form in forms)


def _texts_in(value: object) -> list[str] | None:
    """Return the texts and keys of a plain JSON value; None where it is large, deep or of other types."""
    texts: list[str] = []
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is str:
                texts.append(item)
            elif kind is dict:
                texts += item  # nearly every name is a text; another is found by who joins them
                inner += item.values()
            elif kind is list or kind is tuple:
                inner += item
            elif kind not in _NUMBERS:
                return None
        if not inner:
            return texts
        if len(inner) > _MANY:
            return None
        level = inner
    return None


class _Walk:
    """One way through a JSON value, which looks at each object in it once."""

    def __init__(self, forms: tuple[str, ...]) -> None:
        self._forms = forms
        self._made: dict[int, tuple[Any, Any]] = {}  # with the object, so that its id stays its own

    def clean(self, value: Any, levels: int) -> Any:
        if isinstance(value, str):
            return _replaced(value, self._forms)
        if isinstance(value, bytes):
            return scrub_bytes(value)
        if not isinstance(value, (dict, list, tuple, Mapping)):
            return value
        if id(value) not in self._made:
            self._made[id(value)] = value, _MASK  # until it is made: for what holds itself
            if levels:
                self._made[id(value)] = value, self._container(value, levels - 1)
        return self._made[id(value)][1]

    def _container(self, value: Any, levels: int) -> Any:
        if not isinstance(value, Mapping):
            items = [self.clean(item, levels) for item in value]
            return value if all(map(operator.is_, items, value)) else items
        names = [_replaced(name, self._forms) if isinstance(name, str) else name for name in value]
        items = [self.clean(item, levels) for item in value.values()]
        is_same = all(map(operator.is_, names, value)) and all(map(operator.is_, items, value.values()))
        return value if is_same else dict(zip(names, items, strict=True))


def scrub_parts(parts: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Take every secret out of the parts of an answer, also those that lie across the texts of several."""
    cleaned = [dict(part) for part in scrub_json(list(parts))]
    if len(cleaned) < 2:
        return cleaned
    for is_thought in (False, True):
        said = [
            part
            for part in cleaned
            if isinstance(part.get("text"), str) and (part.get("thought") is True) is is_thought
        ]
        whole = "".join(part["text"] for part in said)
        if len(said) < 2 or scrub(whole) == whole:
            continue
        veil = Veil()
        for part in said:
            part["text"] = veil.feed(part["text"])
        said[-1]["text"] += veil.flush()
    return cleaned


class Veil:
    """Takes secrets out of a text that comes in pieces, also those that lie across several of them.

    An end that may be the beginning of a secret, from its fourth character on, is held back until more has
    come: with fewer, the ends of ordinary words would be.
    """

    def __init__(self) -> None:
        self._shown = self._held = ""

    def feed(self, text: str) -> str:
        """Return what can be shown with this piece."""
        forms = _sought_of_late()
        if not forms:
            return self.flush() + text
        text = self._without_secrets(self._held + text, forms)
        kept = _dangling(self._shown + text, forms)
        return self._show(text, max(0, len(text) - kept))

    def flush(self) -> str:
        """Return what was held back: no more comes."""
        held, self._shown, self._held = self._held, "", ""
        return held

    def _show(self, text: str, length: int) -> str:
        shown, self._held = text[:length], text[length:]
        self._shown = (self._shown + shown)[1 - _HELD_FROM :]
        return shown

    def _without_secrets(self, text: str, forms: tuple[str, ...]) -> str:
        before = self._shown
        clean = _replaced(before + text, forms)
        while not clean.startswith(before):  # the beginning of a secret was shown
            before = before[:-1]
        return clean[len(before) :]


def _dangling(text: str, forms: tuple[str, ...]) -> int:
    """How many characters at the end are the beginning of a secret."""
    for found in _beginnings(forms).finditer(text, max(0, len(text) - len(forms[0]) + 1)):
        end = text[found.start() :]
        if any(form.startswith(end) for form in forms):
            return len(end)
    return 0


@functools.lru_cache(maxsize=4)
def _beginnings(forms: tuple[str, ...]) -> re.Pattern[str]:
    starts = "|".join(sorted({re.escape(form[:_HELD_FROM]) for form in forms}))
    return re.compile(f"(?={starts})")


def _sought_of_late() -> tuple[str, ...]:
    """What to look for in a text that comes in pieces: to look for secrets costs more than one of them."""
    since, arrivals, forms = _sought[0]
    now = time.monotonic()
    if arrivals != _arrivals or now - since >= _FRESH:
        arrivals = _arrivals  # before the look, so that what arrives meanwhile is looked for next time
        forms = _forms(_known())
        _sought[0] = now, arrivals, forms
    return forms


def _sought_now() -> tuple[str, ...]:
    forms: tuple[str, ...] | None = getattr(_batch, "forms", None)
    return _forms(_known()) if forms is None else forms


def _known() -> frozenset[str]:
    """Every secret there is now."""
    found = {value.strip() for name in _KEYS if (value := os.environ.get(name))}
    found.update(*(_passwords(value) for name in _PROXIES if (value := os.environ.get(name))))
    with _lock:
        found.update(_living.keys())
        holders = list(_holders)
    for holder in holders:
        found.update(holder.secrets())
    return frozenset(found)


@functools.lru_cache(maxsize=16)
def _passwords(proxy: str) -> frozenset[str]:
    """User and password in a proxy's URL, and the password by itself, as it is written and as it is meant."""
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    except ValueError:
        return frozenset()
    password = parts.password
    return frozenset([parts.netloc.rpartition("@")[0], password, unquote(password)] if password else ())


@functools.lru_cache(maxsize=4)
def _forms(known: frozenset[str]) -> tuple[str, ...]:
    """All that these secrets may look like, the longest first."""
    telling = [one for one in known if len(one) >= (_SHORTEST_WORD if one.isalpha() else _SHORTEST)]
    return tuple(
        sorted({form for one in telling for form in _forms_of(one)}, key=lambda form: (-len(form), form))
    )


def _forms_of(secret: str) -> Iterator[str]:
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield repr(secret)[1:-1]
    raw = secret.encode("utf-8", "surrogatepass")
    yield quote(raw, safe="")
    yield quote_plus(raw)
    for ahead in range(3):  # in base64 it looks in three ways, by what stands before it
        coded = base64.b64encode(b"\0" * ahead + raw).decode()
        # The characters at both ends depend on the neighbours, too.
        middle = coded[-(-ahead * 8 // 6) : len(raw + b"\0" * ahead) * 8 // 6]
        yield middle
        yield middle.replace("+", "-").replace("/", "_")


def _replaced(text: str, forms: tuple[str, ...]) -> str:
    if len(text) < _SHORTEST:  # no form is shorter than its secret
        return text
    for form in forms:
        if form in text:
            text = text.replace(form, _MASK)
    return text


errors.clean = scrub
