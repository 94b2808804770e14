"""The frame or series of pandas that a group's rows came from.

Rows are dictionaries, which have neither the index of their frame nor the types of its columns. A table of
answers with another index would be put beside the wrong rows of a filtered frame: pandas goes by the index,
without a word.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gemini_nb.api.contents.objects import is_from


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """What is to be found again in a group's table.

    Attributes:
        index: that of the frame or series.
        frame: the frame as it was; None for a series.
    """

    index: Any
    frame: Any = None

    def put_back(self, pd: Any, table: Any, own: list[Any], *, wide: bool) -> Any:
        """Return a table of rows with this index, and with the frame's own columns where they are the rows'.

        Args:
            pd: pandas.
            table: a row for each of the index, as often as there are models; fewer where not all were read.
            own: the columns that the rows brought along, which are its first.
            wide: whether the models stand side by side; rows with models of their own are then in no order.
        """
        size = len(self.index)
        if not size or (wide and len(table) != size):
            return table
        places = [row % size for row in range(len(table))]
        table.index = self.index.take(places)
        if self.frame is None or list(self.frame.columns) != own:
            return table
        mine = self.frame.iloc[places]
        mine.columns = pd.Index(own, tupleize_cols=False)
        return pd.concat([mine, table.iloc[:, len(own) :]], axis=1)


class Records(list[Any]):
    """Rows, and where they came from."""

    __slots__ = ("origin",)

    def __init__(self, rows: Iterable[Any], origin: Origin | None) -> None:
        super().__init__(rows)
        self.origin = origin


def origin_of(rows: Any) -> Origin | None:
    """Return where rows come from; None for those without an index."""
    if isinstance(rows, Records):
        return rows.origin
    if is_from(rows, "pandas", "DataFrame"):
        return Origin(rows.index, rows.copy())
    return Origin(rows.index) if is_from(rows, "pandas", "Series") else None
