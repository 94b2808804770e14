"""The sources of an answer, each numbered once, and the places in its text that they support.

Grounding metadata comes piece by piece: a list of chunks of sources with each piece, and segments of the text
by their bytes. Another model call of the stream begins its lists and its bytes anew.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gemini_nb.api.wire import JSON, Part, objects
from gemini_nb.notebook.render.markdown import Mark

_MOST = 500  # supports of one answer that get a number in its text
_QUERIES = ("webSearchQueries", "imageSearchQueries")
_LISTS = ("groundingChunks", "groundingSupports", *_QUERIES)


@dataclass(slots=True, eq=False)
class Grounding:
    """One groundingMetadata as it came.

    Attributes:
        value: what it says.
        start: where the text of its model call begins in the stream's text.
        blocks: where pieces of that text begin that code or a picture keeps apart.
    """

    value: JSON
    start: int
    blocks: tuple[int, ...] = ()
    _compared: Grounding | None = field(default=None, repr=False)
    _is_repeated: bool = False

    def is_repeated_by(self, after: Grounding) -> bool:
        """Whether the next piece of the same call repeats this one, as services that add up do."""
        if self._compared is not after:  # it is asked again with every further piece
            before = [_listed(self.value.get(name)) for name in _LISTS]
            repeated = [_listed(after.value.get(name)) for name in _LISTS]
            self._compared = after
            self._is_repeated = self.start == after.start and all(
                longer[: len(shorter)] == shorter for shorter, longer in zip(before, repeated, strict=True)
            )
        return self._is_repeated


@dataclass(slots=True)
class Sources:
    """What an answer stands on.

    Attributes:
        chunks: each source once, as it came; the first has the number 1.
        queries: what the model searched for, by the field that says so.
        marks: the places in the text.
        quotes: of each number the first words that it supports.
    """

    chunks: list[JSON] = field(default_factory=list)
    queries: dict[str, list[str]] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    quotes: dict[int, str] = field(default_factory=dict)

    @property
    def part(self) -> Part:
        """All of them as one part."""
        return {"groundingMetadata": {**self.queries, "groundingChunks": self.chunks}}

    @property
    def links(self) -> dict[int, str]:
        """The addresses of the sources by number."""
        found = {number: address_of(chunk) for number, chunk in enumerate(self.chunks, 1)}
        return {number: address for number, address in found.items() if address}


def address_of(chunk: Mapping[str, Any]) -> str:
    """The page of a source, empty where it has none that a link may lead to."""
    for source in objects(list(chunk.values())):
        address = source.get("uri") or source.get("sourceUri")
        if isinstance(address, str) and address.startswith(("https://", "http://")):
            return address
    return ""


def read_sources(groundings: Sequence[Grounding], text: str) -> Sources:
    """Put together what the pieces of grounding metadata of a stream say.

    Args:
        groundings: in the order in which they came.
        text: the stream's text so far.
    """
    sources = Sources()
    numbers: dict[str, int] = {}
    coded: dict[int, bytes] = {}
    for grounding, after in itertools.zip_longest(groundings, groundings[1:]):
        if after is not None and grounding.is_repeated_by(after):
            continue
        for name in _QUERIES:
            _add_queries(sources, name, grounding.value.get(name))
        own = [_number(sources, numbers, chunk) for chunk in _listed(grounding.value.get("groundingChunks"))]
        begin = _begin(grounding.start, text)
        if begin not in coded:
            coded[begin] = text[begin:].encode(errors="surrogatepass")
        for support in objects(grounding.value.get("groundingSupports")):
            if (found := _numbers_of(support, own)) and len(sources.marks) < _MOST:
                place = _place(support.get("segment"), text, begin, grounding.blocks, coded[begin])
                if place is not None:
                    _mark(sources, text, place, found)
    return sources


def _numbers_of(support: Mapping[str, Any], own: Sequence[int]) -> tuple[int, ...]:
    """The numbers of the sources that a passage stands on, each once; those of no source are left out."""
    return tuple(dict.fromkeys(own[at] for at in _indices(support) if at < len(own) and own[at]))


def _mark(sources: Sources, text: str, place: tuple[int, int], numbers: tuple[int, ...]) -> None:
    """Note that these characters stand on the sources of these numbers."""
    shown = text[slice(*place)].rstrip()
    sources.marks.append(Mark(place[0] + len(shown), numbers))
    for number in numbers:
        sources.quotes.setdefault(number, shown)


def without_listed(part: Part, sources: Sources) -> Part:
    """The pages that the model read, without those that stand among the sources."""
    known = set(sources.links.values())
    pages = [
        page
        for page in objects(part["urlContextMetadata"].get("urlMetadata"))
        if str(page.get("retrievedUrl")) not in known
        or page.get("urlRetrievalStatus") != "URL_RETRIEVAL_STATUS_SUCCESS"
    ]
    return {"urlContextMetadata": {"urlMetadata": pages}}


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _add_queries(sources: Sources, name: str, value: object) -> None:
    for query in _listed(value):
        known = sources.queries.setdefault(name, [])
        if isinstance(query, str) and query and query not in known:
            known.append(query)


def _number(sources: Sources, numbers: dict[str, int], chunk: object) -> int:
    """The number of a source, 0 for one that says nothing."""
    source = chunk if isinstance(chunk, dict) else {}
    found = next(iter(objects(list(source.values()))), {})
    names = ("uri", "sourceUri", "title", "pageNumber")
    if not any(found.get(name) for name in names[:3]):
        return 0
    key = json.dumps([found.get(name) for name in names], default=str)
    if key not in numbers:
        sources.chunks.append(source)
        numbers[key] = len(sources.chunks)
    return numbers[key]


def _indices(support: Mapping[str, Any]) -> Iterator[int]:
    for index in _listed(support.get("groundingChunkIndices")):
        if (number := _whole(index)) is not None:
            yield number


def _whole(value: object) -> int | None:
    """A number from 0 on; a server may write it as a text or with a point."""
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return None
    return int(number) if number.is_integer() and number >= 0 else None


def _begin(start: int, text: str) -> int:
    """Where a model call's own text begins: behind the blank line that sets it apart from earlier text."""
    apart = text.startswith("\n\n", start) and bool(text[:start].strip())
    return start + 2 if apart else start


def _place(
    segment: object, text: str, begin: int, blocks: Sequence[int], encoded: bytes
) -> tuple[int, int] | None:
    """The characters of the text that a segment names; None where it names none.

    Its bytes count within a part, and a stream's parts come in pieces, so the words that it repeats decide.
    """
    if not isinstance(segment, dict):
        return None
    words, extent = segment.get("text"), _range_in(segment)
    if isinstance(words, str) and words.strip():
        return _said(words, text, begin, blocks, _characters(encoded, extent[0]) if extent else 0)
    if extent is None or extent[1] > len(encoded):
        return None
    if _whole(segment.get("partIndex") or 0) and len(blocks) != 1:
        return None
    return begin + _characters(encoded, extent[0]), begin + _characters(encoded, extent[1])


def _range_in(segment: Mapping[str, Any]) -> tuple[int, int] | None:
    """The bytes that a segment names."""
    first, end = _whole(segment.get("startIndex") or 0), _whole(segment.get("endIndex"))
    return (first, end) if first is not None and end is not None and end > first else None


def _said(words: str, text: str, begin: int, blocks: Sequence[int], offset: int) -> tuple[int, int] | None:
    """Where these words stand: at their place, or else nearest to it."""
    for start in (begin, *blocks):
        if text.startswith(words, start + offset):
            return start + offset, start + offset + len(words)
    expected = begin + offset
    after, before = text.find(words, expected), text.rfind(words, begin, expected + len(words))
    found = [at for at in (after, before) if at >= 0]
    if not found:
        return None
    nearest = min(found, key=lambda at: abs(at - expected))
    return nearest, nearest + len(words)


def _characters(encoded: bytes, length: int) -> int:
    """How many characters so many bytes are; one that is cut through counts as whole."""
    while length < len(encoded) and encoded[length] & 0xC0 == 0x80:
        length += 1
    return len(encoded[:length].decode(errors="surrogatepass"))
