"""What comes beside the text: sources, citations, pages, files; in words, and harmless."""

from __future__ import annotations

from typing import Any

import pytest
from test_markdown import commonmark
from test_transcript import make

from gemini_nb.notebook.render.blocks.blocks import PartBlock
from gemini_nb.notebook.render.blocks.parts import part_markdown
from gemini_nb.notebook.render.markdown import settle, to_html
from gemini_nb.notebook.render.transcript import Transcript
from gemini_nb.streams.events import events

GROUNDING = {
    "webSearchQueries": ["tall lighthouses"],
    "groundingChunks": [
        {"web": {"title": "Lights of Brittany", "uri": "https://example.org/lights"}},
        {"retrievedContext": {"title": "notes.pdf", "uri": "gs://bucket/notes.pdf"}},
    ],
}


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (
            {"groundingMetadata": GROUNDING},
            [">Lights of Brittany</a>", 'href="https://example.org/lights"', "notes.pdf", "tall lighthouses"],
        ),
        (
            {
                "groundingMetadata": {
                    "webSearchQueries": ["tea & cake", 'a"b'],
                    "imageSearchQueries": ["tall towers"],
                    "searchEntryPoint": {
                        "renderedContent": "<style>x</style><a href='https://e.example'>chip</a>"
                    },
                }
            },
            [
                'href="https://www.google.com/search?q=tea+%26+cake"',
                'href="https://www.google.com/search?q=a%22b"',
                'href="https://www.google.com/search?q=tall+towers&amp;udm=2"',
                ">tea &amp; cake</a>",
            ],
        ),
        (
            {
                "groundingMetadata": {
                    "groundingChunks": [
                        {
                            "image": {
                                "sourceUri": "https://page.example/a",
                                "imageUri": "https://file.example/a.png",
                                "title": "A tower",
                            }
                        },
                        {"maps": {"uri": "https://maps.google.com/?cid=7", "title": "Joe's"}},
                        {},
                        {
                            "retrievedContext": {
                                "uri": "https://store.example/n.pdf",
                                "title": "n.pdf",
                                "text": "x",
                            }
                        },
                    ]
                }
            },
            [
                'href="https://page.example/a"',
                ">A tower</a>",
                'href="https://maps.google.com/?cid=7"',
                'href="https://store.example/n.pdf"',
            ],
        ),
        (
            {"citationMetadata": {"citationSources": [{"uri": "https://a.example/x", "license": "MIT"}]}},
            ['href="https://a.example/x"', "(MIT)"],
        ),
        ({"citationMetadata": {"citations": [{"title": "A book"}]}}, ["A book"]),
        (
            {
                "urlContextMetadata": {
                    "urlMetadata": [
                        {
                            "retrievedUrl": "https://a.example",
                            "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_ERROR",
                        }
                    ]
                }
            },
            ['href="https://a.example"', "(error)"],
        ),
        ({"fileData": {"mimeType": "video/mp4", "fileUri": "https://a.example/v"}}, ["video/mp4", "href="]),
        ({"inlineData": {"mimeType": "audio/wav", "data": "AA=="}}, ["audio/wav"]),
        ({"toolCall": {"toolType": "GOOGLE_MAPS", "args": {"q": "tea"}}}, ["GOOGLE_MAPS", "tea"]),
        ({"somethingNew": 3, "thoughtSignature": "x"}, ["somethingNew"]),
    ],
)
def test_parts_in_words(part: dict[str, Any], words: list[str]) -> None:
    shown = to_html(part_markdown(part))
    for word in words:
        assert word in shown
    assert "thoughtSignature" not in shown
    assert "chip" not in shown
    assert "file.example" not in shown


HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "](javascript:alert(1))",
    "![x](https://evil.example/pixel)",
    "`</code><script>alert(1)</script>",
    "$\\href{javascript:alert(1)}{x}$",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_titles_and_addresses_are_text(text: str) -> None:
    for uri in (text, f"https://a.example/{text}", f"javascript:{text}"):
        chunks = [{"web": {"title": text, "uri": uri}}, {"image": {"title": text, "sourceUri": uri}}]
        part = {"groundingMetadata": {"groundingChunks": chunks, "webSearchQueries": [text, uri]}}
        for shown in (to_html(part_markdown(part)), commonmark(settle(part_markdown(part)))):
            assert "<img" not in shown
            assert "<script" not in shown
            assert 'href="javascript:' not in shown


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"groundingChunks": None},
        {"groundingChunks": [None, 3, {"web": None}]},
        {"webSearchQueries": 3},
        {"webSearchQueries": "ab", "imageSearchQueries": {"a": 1}},
        {"webSearchQueries": [None, "", 4]},
    ],
)
def test_odd_metadata_says_nothing(value: dict[str, Any]) -> None:
    assert part_markdown({"groundingMetadata": value}) == ""


def test_sources_that_come_piece_by_piece_are_listed_once() -> None:
    transcript = Transcript()
    for number in range(3):
        transcript.apply(
            make(events.PartReceived, part={"groundingMetadata": {"webSearchQueries": [str(number)]}})
        )
    transcript.apply(make(events.PartReceived, part={"executableCode": {"code": "1"}}))
    transcript.apply_all([])
    kept = [block.part for block in transcript.blocks if isinstance(block, PartBlock) and not block.gone]
    listed = {"groundingMetadata": {"webSearchQueries": ["0", "1", "2"], "groundingChunks": []}}
    assert kept == [listed, {"executableCode": {"code": "1"}}]
