"""What a docstring says about each argument.

The model reads a description beside each argument more surely than one in the middle of a long text.
"""

from __future__ import annotations

__all__ = ["argument_texts"]


def argument_texts(docstring: str | None) -> dict[str, str]:
    """Return the text of each argument that a docstring describes, in Google's, NumPy's or Sphinx's style."""
    import docstring_parser  # noqa: PLC0415 - only tools need it

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
