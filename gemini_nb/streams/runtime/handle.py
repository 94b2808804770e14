"""What stands for something that runs: a copy would be a second handle with half of its state."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn, Self

__all__ = ["Handle"]


class Handle:
    """Its copies are itself, in deep copies of what holds it, too; it is not pickled."""

    _instead: ClassVar[str]
    """What to pickle in its place."""

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"A {type(self).__name__} belongs to this process and is not pickled; {self._instead}"
        )
