"""Argument texts from docstrings.

The model reads a description beside each argument more surely than one in the middle of a long text.
"""

from __future__ import annotations

import inspect
from typing import Any


def docstring_of(function: Any) -> str:
    """Return a callable's own docstring, "" if it has none.

    Python has a text for everything: a model inherits pydantic's own manual, a dataclass gets its signature,
    and an object that can be called is described as what it is, not as what calling it does.
    """
    if isinstance(function, type):
        for cls in function.__mro__:
            text = vars(cls).get("__doc__")
            is_foreign = cls.__module__.partition(".")[0] in {"pydantic", "builtins", "typing", "abc"}
            if isinstance(text, str) and not is_foreign and not text.startswith(f"{cls.__name__}("):
                return inspect.cleandoc(text)
        return ""
    call = getattr(type(function), "__call__", None)  # noqa: B004 - its text is wanted
    if inspect.isroutine(function) or not inspect.isfunction(call):
        return inspect.getdoc(function) or ""
    own = getattr(function, "__dict__", {}).get("__doc__")
    text = own if isinstance(own, str) else call.__doc__
    return inspect.cleandoc(text) if text else docstring_of(type(function))


def argument_texts(docstring: str | None) -> dict[str, str]:
    """Return the text of each argument that a docstring describes, in Google's, NumPy's or Sphinx's style."""
    import docstring_parser  # only tools need it

    try:
        parsed = docstring_parser.parse(docstring or "")
    except docstring_parser.ParseError:  # a text that only looks like one of the styles
        return {}
    texts: dict[str, str] = {}
    for parameter in parsed.params:
        text = " ".join((parameter.description or "").split())
        for name in parameter.arg_name.split(","):
            if text:
                texts[name.strip().lstrip("*")] = text
    return texts
