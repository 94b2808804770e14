"""Secrets that a user's own cells hold: a password in a literal, a token of the environment, a key in a URL.

The scrubber knows the keys that this package was given. A cell may hold others, and its error message and its
variables repeat them. So what is called a secret is taken for one wherever it stands, and so is what looks
like the keys that well-known services make.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from gemini_nb.redaction import URL_PASSWORD, scrub

MASK = "[secret]"
_OF_PASSWORDS = (
    r"(?:(?:api|access|encryption|private|secret|signing)[_-]?key"
    r"|passw(?:or)?d|passphrase|passcode|pwd|secret)"
)
_CALLED = (
    rf"(?P<name>{_OF_PASSWORDS}|(?:account|auth|client|service|session)[_-]?key"
    r"|token|credentials?|authorization|cookie)\d{0,9}"
)
_IS_CALLED = re.compile(rf"{_CALLED}\Z", re.IGNORECASE)
_IS_PASSWORD = re.compile(_OF_PASSWORDS, re.IGNORECASE)
# Each repetition that another may follow has a limit: a text is looked through in time linear to its length.
_TEXT = (
    r"""(?P<escaped>\\{0,8})(?P<quote>\"{3}|'{3}|["'])"""
    r"""(?P<value>(?:(?!(?P=escaped)(?P=quote))(?:\\.|[^\\\n]))+)"""
)
# api_key = "…", api_key: str = "…", "api_key": "…", environ["API_KEY"] = "…"
_GIVEN = re.compile(
    rf"""{_CALLED}(?![\w-])
    (?: \s{{0,20}}= | [ \t]{{0,20}}:[ ]{{0,20}}(?=[\w.\[\]|\ ]{{0,40}}(?:str|bytes|any|final))
        [\w.\[\]|][\w.\[\]|\ ]{{0,80}}?=
      | \\{{0,8}}["']\s{{0,20}}: | \\{{0,8}}["']\s{{0,20}}\]\s{{0,20}}= )
    \s{{0,20}} (?:[\w.]{{0,80}}Secret\w{{0,40}}\()? [rRbBuU]{{0,2}} {_TEXT}""",
    re.IGNORECASE | re.VERBOSE,
)
_DEFAULT = re.compile(
    rf"""(?:get|getenv|setdefault)\(\s{{0,20}}["']\w{{0,80}}{_CALLED}["']\s{{0,20}},\s{{0,20}}{_TEXT}""",
    re.IGNORECASE,
)
_EXPORTED = re.compile(
    rf"^[ \t]*!?(?:%(?:set_)?env|export|set)[ \t]{{1,20}}\w{{0,80}}{_CALLED}"
    r"(?:[ \t]{0,20}=[ \t]{0,20}|[ \t]{1,20})[\"']?(?P<value>[^\s\"']+)",
    re.IGNORECASE | re.MULTILINE,
)
_KNOWN = re.compile(
    r"""(?P<value>(?<![\w-])sk-(?=[\w-]*\d)
        (?:(?=[\w-]*[A-Z]|(?:proj|ant|svcacct|admin|or)-)[\w-]{20,}|[a-z0-9]{20,})
      | \b[sr]k_(?:live|test)_\w{16,} | \bgh[oprsu]_[A-Za-z0-9]{30,} | \bgithub_pat_\w{30,}
      | \bhf_[A-Za-z0-9]{30,} | \bgsk_[A-Za-z0-9]{40,}
      | (?<![\w-])(?:glpat|xox[abeprs])-(?=[\w-]*\d)[\w-]{16,}
      | \bAIza[\w-]{30,} | \bya29\.[\w.-]{20,} | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b
      | (?<![\w-])eyJ[\w-]{6,}\.[\w-]{6,}\.[\w-]+
      | (?<=\bBearer[ ])(?=[^\s"']*\d)[\w.~+/-]{8,}=* | (?<=\bBasic[ ])(?=[^\s"']*[\d=])[\w+/-]{12,}=*
      | -----BEGIN\ [A-Z ]{0,40}PRIVATE\ KEY-----(?:[^'"`]+?-----END\ [A-Z ]{0,40}-----|[^'"`]*))""",
    re.VERBOSE,
)
_ORDINARY = re.compile(  # paths, marks such as "<pad>", placeholders, versions, addresses, names of files
    r"""^(?:/|~/|\.{1,2}/|[a-z]:[\\/]) | ^[<\[({].*[>\])}]$ | \{[\w.!:()]{0,80}\} | %[sdr](?!\w) | %\(\w
      | ^\$\{?[a-z_]+\}?$ | ^v?\d+(?:\.\d+)+(?:[-.]?[a-z]{1,5}\.?\d{0,3})?$ | ://
      | \.(?:json|pem|crt|p12|txt|ya?ml|toml|ini|env|pickle|py)$""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_NAME = re.compile(r"[^\W\d][\w.]*")
_NUMBERED = re.compile(r"[^\W\d]+\d{1,2}")
_SHORTEST_GIVEN = 6  # characters of what is masked where a name calls it a password
_SHORTEST = 8  # characters of what is looked for everywhere; shorter ones would mangle ordinary words
_SHORTEST_PHRASE = 16
_LONGEST = 10_000


def hide_secrets(text: str, *namespaces: Mapping[str, Any]) -> str:
    """Return a text without what it gives away as secret, and without the secrets that others do.

    Args:
        text: source, messages and values of a user's cells.
        namespaces: the names that the cells have; texts that are called a secret are hidden, too.
    """
    named = (_GIVEN, _DEFAULT, _EXPORTED)
    found = {piece for names in (os.environ, *namespaces) for piece in _called_so(names)}
    for pattern in named:  # before the scrubber, which takes some of them away
        for match in pattern.finditer(text):
            found.update(_telling(match["name"], match["value"]))
    for match in URL_PASSWORD.finditer(text):
        for value in (match["value"], match["value"].partition("@")[0]):
            found.update(_telling("password", value), _telling("password", unquote(value)))
    found.update(match["value"] for match in _KNOWN.finditer(text))
    text = scrub(text)
    for pattern in (*named, _KNOWN):
        text = pattern.sub(_masked, text)
    for value in sorted(found, key=len, reverse=True):
        text = text.replace(value, MASK)
    return text


def _called_so(names: Mapping[str, Any]) -> Iterable[str]:
    """The texts whose names say that they are secret."""
    for name, value in list(names.items()):
        if isinstance(name, str) and isinstance(value, str) and (called := _IS_CALLED.search(name)):
            yield from _telling(called["name"], value)


def _telling(name: str, value: str) -> list[str]:
    """The parts of a value that cannot be mistaken for ordinary words or code, wherever they stand."""
    if len(value) > _LONGEST or _ORDINARY.search(value):
        return []
    if _IS_PASSWORD.fullmatch(name):
        is_phrase = " " in value and not any(map(str.isdigit, value))
        return [value] if _is_mixed(value, _SHORTEST_PHRASE if is_phrase else _SHORTEST) else []
    return [
        word
        for word in value.split()
        if _is_mixed(word, _SHORTEST) and not _NUMBERED.fullmatch(word) and not _ORDINARY.search(word)
    ]


def _is_mixed(value: str, shortest: int) -> bool:
    """Whether a text has a digit, or letters and signs which are neither a name nor code."""
    if len(value) < shortest or not any(map(str.isalnum, value)):
        return False
    is_code = _NAME.fullmatch(value.strip(".,:;")) or any(sign in value for sign in "()[]{}<>")
    return not is_code or any(map(str.isdigit, value))


def _masked(match: re.Match[str]) -> str:
    name, value = match.groupdict().get("name"), match["value"]
    if name is not None and not _telling(name, value):
        is_password = _IS_PASSWORD.fullmatch(name) and len(value) >= _SHORTEST_GIVEN
        if not is_password or (len(value) <= _LONGEST and _ORDINARY.search(value)):
            return match[0]
    start, end = (place - match.start() for place in match.span("value"))
    return f"{match[0][:start]}{MASK}{match[0][end:]}"
