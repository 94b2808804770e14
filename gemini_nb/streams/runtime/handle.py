"""The base of handles on what runs: a copy would be a second handle with half of the state."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn, Self


class Handle:
    """A handle on something that runs. Copying it, deep copies included, returns itself; pickling fails."""

    _instead: ClassVar[str]
    """The end of the error: what to pickle in its place."""

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"A {type(self).__name__} belongs to this process and is not pickled; {self._instead}"
        )
