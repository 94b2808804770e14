"""Braces in a prompt: how a field is written, and which others look as if they were one.

A prompt's braces may be JSON, code or LaTeX, so that most that are no field mean themselves. Those in a
sentence that look like a name or an expression of the notebook are found here, for a remark or an error.
Nothing here knows streams or groups; `prompt.py` fills the fields in.
"""

from __future__ import annotations

import ast
import builtins
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_STEP = r"""\.[^\W\d]\w*|\[-?\d+\]|\[(?:'[^'\\\n]*'|"[^"\\\n]*")\]"""
FIELD = re.compile(
    rf"(?P<open>\{{\{{?)(?P<name>[^\W\d]\w*)(?P<steps>(?:{_STEP})*)"
    rf"(?:!(?P<conversion>[rsa]))?(?::(?P<spec>[^\s{{}}][^{{}}\n]*))?(?P<close>\}}\}}?)"
)
_BRACES = re.compile(r"\{([^{}\n]{1,200})\}")
_ANY_BRACES = re.compile(r"\{\{?([^{}\n]{0,200})\}\}?")
_SPEC = r"(?:\S?[<>=^])?[+-]?z?#?\d*[,_]?(?:\.\d+)?[bcdeEfFgGnosxX%]?|\S*%[a-zA-Z]\S*"
_PLACE = re.compile(rf"\d*(?:![rsa])?(?::(?:{_SPEC}))?")
_WORD = re.compile(r"[^\W\d]\w+")
_EXPRESSIONS = (ast.Attribute, ast.BinOp, ast.Call, ast.Name, ast.Subscript)
_ONLY_NAMES = "Give it a name first, since braces take only names, their attributes and single items"
_TOO_MANY_BLANKS = "Leave out the blanks in the braces"
_FORMAT = re.compile(r"all|[<>^]?\d*,?(?:\.\d+)?[a-zA-Z%]?")
STEPS = re.compile(_STEP)
_NEAR = 500  # characters of a line on each side of braces, in which code is looked for
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]+\$", re.DOTALL)
_CODE_LINE = re.compile(
    r"""[=<>]|;\s*$|["']\s*\{|\\[a-zA-Z]|\w\("""
    r"""|^\s*(?:(?:def|class|return|import|yield)\b|from\b.*\bimport\b|for\b.*\bin\b.*:|(?:if|while|with)\b[^,]*:)""",
    re.MULTILINE,
)


def python_name(name: str) -> str:
    """Normalise a name as Python does: the micro sign of a keyboard becomes a Greek letter."""
    return unicodedata.normalize("NFKC", name)


def step_into(value: Any, step: str) -> Any:
    """Return what a step leads to, such as `.text` or `[0]`; an attribute may be a key of a dictionary."""
    if step.startswith("["):
        return value[ast.literal_eval(step[1:-1])]
    if step.startswith("._"):
        raise LookupError(step)
    if isinstance(value, Mapping) and step[1:] in value:
        return value[step[1:]]
    return getattr(value, python_name(step[1:]))


def is_doubled(match: re.Match[str]) -> bool:
    """Whether a field stands in double braces, which stand for themselves in single ones."""
    return match["open"] == "{{" and match["close"] == "}}"


def has_name(steps: Sequence[str]) -> bool:
    """Whether one of these steps is a name: an attribute, or a key in quotes."""
    return any(step[0] == "." or step[1] in "'\"" for step in steps)


def check_written(text: str, needed: str) -> None:
    """Refuse braces with this name that cannot be resolved, such as {item[a]}."""
    for match in re.finditer(rf"(?<!\{{)\{{\s*{needed}\s*(?:[.\[!][^{{}}]*)?\}}", text):
        if FIELD.fullmatch(match[0]) is None:
            raise LookupError(match[0])


def first_steps(text: str, name: str, value: object) -> list[tuple[str, Any, bool]]:
    """Return what a prompt wants of a name: as written, what the first step leads to, whether a name follows.

    A name is an attribute or a key in quotes; a number is an item of a text, too.

    Raises:
        LookupError: there is no such thing; with the braces in question.
    """
    check_written(text, name)
    wanted: list[tuple[str, Any, bool]] = []
    for match in FIELD.finditer(text):
        if match["name"] != name or is_doubled(match) or not (steps := STEPS.findall(match["steps"])):
            continue
        try:
            wanted.append((match[0], step_into(value, steps[0]), has_name(steps[1:])))
        except Exception:  # noqa: BLE001 - whatever the value raises
            raise LookupError(match[0]) from None
    return wanted


def strays(text: str, name: str, parts: Iterable[Any]) -> list[tuple[re.Match[str], str | None]]:
    """Return braces in sentences that name no row, and look as if they did: `{0}`, `{city}`, `{len(city)}`.

    Args:
        text: the prompt.
        name: what a row is called in it, such as "item".
        parts: the names of what a row has.

    Returns:
        The braces, single or double, and the name that stands in them, None for a number or an expression.
    """
    known: dict[str, Any] = {part: part for part in parts if isinstance(part, str)} | {name: name}
    prose = _without_code(text)
    found: list[tuple[re.Match[str], str | None]] = []
    for match in _ANY_BRACES.finditer(text):
        field = FIELD.fullmatch(f"{{{match[1]}}}")
        if field is not None and field["name"] == name:
            continue
        called = None if field is None else python_name(field["name"])
        is_stray = called in known or _looks_stray(match[1], field, known)
        if not is_stray and _PLACE.fullmatch(inner := match[1].strip()):
            is_stray = bool(inner) or f"{{{name}" not in text  # {} is JSON, too
        is_text = prose[match.start()] == "{" and _stands_in_prose(prose, match, is_sure=called in known)
        if is_stray and is_text:
            found.append((match, called))
    return found


def _looks_stray(inner: str, field: re.Match[str] | None, known: Mapping[str, Any]) -> bool:
    """Whether braces look like a variable, or like an expression of what a row has."""
    if field is not None:
        return _has_format(field)
    braces = _BRACES.fullmatch(f"{{{inner}}}")
    return braces is not None and _kind(braces, (known,)) is not None


def prose_of(text: str, namespaces: tuple[Mapping[str, Any], ...], notes: list[str]) -> str:
    """Return the text with code and formulas blanked out, and expressions in braces, which it notes.

    It is as long as the text, so that what is found in one stands at the same place in the other.
    """
    sentences = _without_code(text)
    kinds = {
        match.start(): kind for match in _BRACES.finditer(sentences) if (kind := _kind(match, namespaces))
    }
    if not kinds:
        return sentences
    prose = _BRACES.sub(lambda match: " " * len(match[0]) if match.start() in kinds else match[0], sentences)
    for match in _BRACES.finditer(sentences):
        if match.start() in kinds and _stands_in_prose(prose, match):
            why = _TOO_MANY_BLANKS if kinds[match.start()] is ast.Name else _ONLY_NAMES
            notes.append(f"{why}: {match[0]} was sent as it is.")
    return prose


def _without_code(text: str) -> str:
    return _CODE.sub(lambda code: re.sub(r"[^\n]", "`", code[0]), text)


def _kind(match: re.Match[str], namespaces: tuple[Mapping[str, Any], ...]) -> type[ast.expr] | None:
    """The kind of expression in braces that are no field, where all names in it are known."""
    words = map(python_name, _WORD.findall(match[1]))
    if not any(word in names for word in words for names in namespaces) or FIELD.fullmatch(match[0]):
        return None
    try:
        parsed: Any = ast.parse(f'rf"""{match[0]}"""', mode="eval").body
        expression: ast.expr = parsed.values[0].value
    except (SyntaxError, ValueError, AttributeError, RecursionError, MemoryError):
        return None
    used = {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}
    is_known = all(hasattr(builtins, name) or any(name in names for names in namespaces) for name in used)
    return type(expression) if is_known and isinstance(expression, _EXPRESSIONS) else None


def looks_like_variable(prose: str, match: re.Match[str]) -> bool:
    """Whether a field is meant as a variable of the notebook."""
    if match["open"] != "{" or match["close"] != "}" or not _has_format(match):
        return False
    return prose[match.start()] == "{" and _stands_in_prose(prose, match)


def _has_format(match: re.Match[str]) -> bool:
    """Whether a field has a name of some length, and what a variable would have for a format, if any."""
    spec = match["spec"]
    is_format = spec is None or (_FORMAT.fullmatch(spec) is not None and not spec.isalnum()) or spec == "all"
    return is_format and len(match["name"]) >= 2


def _stands_in_prose(prose: str, match: re.Match[str], *, is_sure: bool = False) -> bool:
    """Whether braces stand in a sentence, not in JSON, code or LaTeX.

    Args:
        prose: the prompt without code and formulas.
        match: the braces.
        is_sure: whether they count also on a line that has signs of code.
    """
    before = prose[max(0, match.start() - 1) : match.start()]
    if before.isalnum() or before in set("_^\\}])$\"'`#%{"):
        return False
    if is_sure:
        return True
    start = max(prose.rfind("\n", 0, match.start()) + 1, match.start() - _NEAR)
    end = prose.find("\n", match.end(), match.end() + _NEAR)
    after = prose[match.end() : end if end >= 0 else match.end() + _NEAR]
    return _CODE_LINE.search(f"{prose[start : match.start()]}{{}}{after}") is None
