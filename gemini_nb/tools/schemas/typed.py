"""Types as pydantic takes them.

Before Python 3.12 `typing.TypedDict` does not keep what pydantic needs, and it refuses every type that has
one somewhere in it; `typing_extensions` makes the same class in a way that does.
"""

from __future__ import annotations

import sys
import types
import typing
from typing import Annotated, Any


def for_pydantic(kind: Any) -> Any:
    """Return the type with every `typing.TypedDict` in it made anew where this Python needs that."""
    if sys.version_info >= (3, 12):
        return kind
    if typing.is_typeddict(kind) and type(kind).__module__ == "typing":
        return _anew(kind)
    inner = typing.get_args(kind)
    made = tuple(for_pydantic(one) for one in inner)
    if all(new is old for new, old in zip(made, inner, strict=True)):
        return kind
    origin = typing.get_origin(kind)
    if origin is Annotated:
        return Annotated[made[0], *kind.__metadata__]
    if origin is types.UnionType:
        return typing.Union[made]  # noqa: UP007 - of as many as there are
    return kind.copy_with(made) if hasattr(kind, "copy_with") else origin[made]


def _anew(kind: Any) -> Any:
    import typing_extensions  # comes with pydantic

    fields = {}
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        field = for_pydantic(hint)
        fields[name] = field if name in kind.__required_keys__ else typing_extensions.NotRequired[field]
    made: Any = typing_extensions.TypedDict(kind.__name__, fields)  # type: ignore[misc]  # by its values
    made.__doc__ = kind.__doc__
    return made
