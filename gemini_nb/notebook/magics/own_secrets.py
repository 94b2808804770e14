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

from gemini_nb.redaction import scrub

__all__ = ["MASK", "hide_secrets"]

MASK = "[secret]"
_CALLED = (
    r"(?:(?:api|access|account|auth|client|encryption|private|secret|service|session|signing)[_-]?key"
    r"|token|secret|passw(?:or)?d|passphrase|passcode|pwd|credentials?|authorization|cookie)\d*"
)
_IS_CALLED = re.compile(rf"{_CALLED}\Z", re.IGNORECASE)
_TEXT = (
    r"""(?P<escaped>\\*)(?P<quote>\"{3}|'{3}|["'])(?P<value>(?:(?!(?P=escaped)(?P=quote))(?:\\.|[^\\\n]))+)"""
)
# api_key = "…", api_key: str = "…", "api_key": "…", environ["API_KEY"] = "…"
_GIVEN = re.compile(
    rf"""{_CALLED}(?![\w-])
    (?: \s*[=!]?=\s* | \s*:\s*[\w.\[\]| ]+?\s*=\s* | \\*["']\s*:\s* | \\*["']\s*\]\s*=\s* )
    (?:[\w.]*Secret\w*\()? [rRbBuU]{{0,2}} {_TEXT}""",
    re.IGNORECASE | re.VERBOSE,
)
_DEFAULT = re.compile(rf"""(?:get|getenv|setdefault)\(\s*["']\w*{_CALLED}["']\s*,\s*{_TEXT}""", re.IGNORECASE)
_EXPORTED = re.compile(
    rf"^\s*!?(?:%(?:set_)?env|export|set)\s+\w*{_CALLED}\s*[= ]\s*[\"']?(?P<value>[^\s\"']+)",
    re.IGNORECASE | re.MULTILINE,
)
_IN_URL = re.compile(r"\w://[^\s:/@'\"]+:(?P<value>[^\s@'\"/]+)@")
_KNOWN = re.compile(
    r"""(?P<value>\b(?:sk|rk|gh[oprsu]|github_pat|glpat|hf|gsk|xox[abeprs])[_-](?=[\w-]*\d)[\w-]{16,}
      | \bAIza[\w-]{30,} | \bya29\.[\w.-]{20,} | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b
      | \beyJ[\w-]{6,}\.[\w-]{6,}\.[\w-]+
      | (?<=\bBearer[ ])(?=[^\s"']*\d)[\w.~+/-]{8,}=* | (?<=\bBasic[ ])[\w+/-]{12,}=*
      | -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----(?:[^'"`]+?-----END\ [A-Z ]*-----|[^'"`]*))""",
    re.VERBOSE,
)
_SHORTEST = 6  # characters of what is looked for everywhere; shorter ones would mangle ordinary words
_LONGEST = 10_000


def hide_secrets(text: str, *namespaces: Mapping[str, Any]) -> str:
    """Return a text without what it gives away as secret, and without the secrets that others do.

    Args:
        text: source, messages and values of a user's cells.
        namespaces: the names that the cells have; texts that are called a secret are hidden, too.
    """
    text = scrub(text)
    found = {value for names in (os.environ, *namespaces) for value in _called_so(names)}
    for pattern in (_GIVEN, _DEFAULT, _EXPORTED, _IN_URL, _KNOWN):
        found.update(match["value"] for match in pattern.finditer(text) if _is_findable(match["value"]))
        text = pattern.sub(_masked, text)
    for value in sorted(found, key=len, reverse=True):
        text = text.replace(value, MASK)
    return text


def _called_so(names: Mapping[str, Any]) -> Iterable[str]:
    """The texts whose names say that they are secret."""
    for name, value in list(names.items()):
        if isinstance(value, str) and _IS_CALLED.search(name) and _is_findable(value):
            yield value


def _is_findable(value: str) -> bool:
    """Whether a text can be told from ordinary words and paths."""
    is_word = value.isalpha() and len(value) < _SHORTEST + 2
    return _SHORTEST <= len(value) <= _LONGEST and not is_word and not value.startswith(("/", MASK))


def _masked(match: re.Match[str]) -> str:
    start, end = (place - match.start() for place in match.span("value"))
    return f"{match[0][:start]}{MASK}{match[0][end:]}"
