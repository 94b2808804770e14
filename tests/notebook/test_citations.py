"""Numbers of sources in an answer: at their places, once each, and never in the way of what they stand in."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_markdown import commonmark, nbconvert, walk
from test_pane import displayed, manager, shown
from test_transcript import make

import gemini_nb
from answers import rig, until
from gemini_nb.notebook.pane.pane import whole_html
from gemini_nb.notebook.render.blocks.blocks import CallBlock, PartBlock, TextBlock
from gemini_nb.notebook.render.history import entry_bundle
from gemini_nb.notebook.render.markdown import Draft, Mark, finished, marked, to_html
from gemini_nb.notebook.render.settled import source_of, to_markdown, to_text, transcript_of
from gemini_nb.notebook.render.terminal import print_stream
from gemini_nb.notebook.render.transcript import Transcript
from gemini_nb.simulator import Simulator
from gemini_nb.streams.events import events
from gemini_nb.streams.events.states import ToolStatus
from markdown_cases import CASES
from scripted import Wait, call, sse_answer, text

__all__ = ["manager"]  # a fixture

LINKS = {1: "https://one.example/?a=1&b=(2)", 2: "https://two.example"}
SUP = re.compile(r"<sup>(?:(?:<a [^>]*>)?\[\d+\](?:</a>)?)+</sup>")


def drawn(source: str, *places: int | tuple[int, int]) -> Draft:
    marks = [Mark(place, (1,)) if isinstance(place, int) else Mark(place[0], (place[1],)) for place in places]
    return finished(Draft(LINKS), marked(source, marks))


def bare(page: str) -> str:
    """A page without the numbers, and without the paragraphs that hold nothing else."""
    return SUP.sub("", re.sub(rf"<p>(?:{SUP.pattern})+</p>\n", "", page))


@pytest.mark.parametrize(
    ("source", "end", "reads"),
    [
        ("Paris is old.", "old.", "old.[1]"),
        ("Grüße aus Köln.", "Grü", "Grüße[1] aus"),
        ("Ένα σπίτι.", "σπί", "σπίτι[1]."),
        ("東京は大きい。", "東京", "東京[1]は"),
        ("Paris is **big** now.", "big", "<strong>big[1]</strong> now."),
        ("Paris is **big** now.", "big**", "<strong>big</strong>[1] now."),
        ("A `code span` here.", "code", "<code>code span</code>[1] here."),
        ("See [the page](https://x.example/a) here.", "the", "the page</a>[1] here."),
        ("See [the page](https://x.example/a) here.", "example/", "the page</a>[1] here."),
        ("See https://x.example/abc here.", "example", "https://x.example/abc</a>[1] here."),
        ("So $x^2$ grows.", "x^", "$x^2$</code>[1] grows."),
        ("# A title\n\nText.", "A title", "A title[1]</h1>"),
        ("**「重要」**です", "」**", "<strong>「重要」</strong>[1]です"),
        ("an _old_ house", "_old_", "<em>old</em>[1] house"),
        ("one word", "wo", "one word[1]"),
        ("- [ ] a task\n- b", "[", "[1]a task"),
        ("| a | b |\n|---|---|\n| one | two |", "on", "<td>one[1]</td>"),
        ("| a | b |\n|---|---|\n| one | two |", "two", "<td>two[1]</td>"),
        ("![a picture](https://x.example/p.png) here", "pict", "a picture</a>[1] here"),
        ("line one\nline two", "line two", "line two[1]"),
        ("> quoted words\n> go on", "go on", "go on[1]"),
        ("1. one\n2. two", "two", "two[1]"),
    ],
)
def test_a_number_stands_where_its_source_supports_the_text(source: str, end: str, reads: str) -> None:
    draft = drawn(source, source.index(end) + len(end))
    assert reads in re.sub(r"</?sup>|<a href=\"https://one[^>]*>(\[1\])</a>", r"\1", draft.html)
    assert bare(draft.html) == to_html(source)
    for page in (commonmark(draft.markdown), nbconvert(draft.markdown)):
        assert walk(page).bad == []
        assert page.count("https://one.example/?a=1&amp;b=%282%29") == 1


@pytest.mark.parametrize(
    "source", ["```python\nx = 1\n```\n\nText.", "$$\nx^2\n$$\n\nText.", "    code\n\nText."]
)
def test_a_number_within_code_or_a_formula_stands_behind_it(source: str) -> None:
    draft = drawn(source, 6)
    assert re.search(r"</(?:pre|p)>\s*<p><sup>.*</sup></p>\s*<p>Text", draft.html, re.DOTALL)
    assert bare(draft.html) == to_html(source)


def test_a_number_without_a_page_is_no_link() -> None:
    draft = drawn("Some words.", (10, 3))
    assert "<sup>[3]</sup>" in draft.html
    assert "href" not in draft.html


WORDS = "word wörter 重要 」 https://x.example/a &amp; \u2e28 * ** _ ` ``` $ $$ [ ]( ) | ~~ ! < \\"
SPACES = [" ", "\n", "\n\n", "\n|---|\n", "- ", "> ", "# ", "1. "]
PIECES = st.sampled_from([*WORDS.split(), *SPACES])


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, max_size=25).map("".join), st.lists(st.integers(0, 80), max_size=6))
@example("| a |\n|---|\n| `b|c` |", [3, 15, 19])
def test_numbers_never_change_how_a_text_reads(source: str, places: list[int]) -> None:
    draft = drawn(source, *(place for place in places if place <= len(source)))
    assert bare(draft.html).replace("\n", "") == to_html(source).replace("\n", "")


def test_numbers_leave_every_case_of_markdown_as_it_is() -> None:
    for case in CASES:
        for place in range(0, len(case.source), 3):
            assert bare(drawn(case.source, place).html) == to_html(case.source), (case.name, place)


def grounding(*supports: dict[str, Any], chunks: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    listed = [
        {"web": {"uri": "https://one.example/a", "title": "One"}},
        {"maps": {"uri": "https://maps.google.com/?cid=7", "title": "A place", "placeId": "places/1"}},
        {
            "image": {
                "sourceUri": "https://page.example",
                "imageUri": "https://file.example/a.png",
                "title": "P",
            }
        },
        {"web": {"uri": "javascript:alert(1)", "title": "Bad"}},
    ]
    return {
        "groundingChunks": listed if chunks is None else chunks,
        "groundingSupports": list(supports),
        **more,
    }


def support(end: Any, *indices: int, **segment: Any) -> dict[str, Any]:
    return {"segment": {"endIndex": end, **segment}, "groundingChunkIndices": list(indices)}


def final(value: dict[str, Any], words: str = "", **more: Any) -> dict[str, Any]:
    chunk = text(words, finish="STOP")
    chunk["candidates"][0] |= {"groundingMetadata": value, **more}
    return chunk


def marks(transcript: Transcript) -> list[tuple[str, tuple[int, ...]]]:
    """The last words before each number."""
    return [
        (block.text[: mark.position][-6:], mark.numbers)
        for block in transcript.blocks
        if isinstance(block, TextBlock)
        for mark in block.marks
    ]


def transcript(*parts: Any) -> Transcript:
    made = Transcript()
    for part in parts:
        kind = events.TextDelta if isinstance(part, str) else events.PartReceived
        made.apply(make(kind, **({"text": part} if isinstance(part, str) else {"part": part})))
    made.apply_all([])
    return made


def test_segments_count_bytes_of_the_whole_text() -> None:
    words = "Zürich ist schön. "
    more = "Köln auch."
    end = len((words + more).encode())
    value = grounding(support(len(words.encode()) - 1, 0), support(end, 1, 2, startIndex=len(words.encode())))
    made = transcript(words, more, {"groundingMetadata": value})
    assert marks(made) == [("schön.", (1,)), (" auch.", (2, 3))]


def test_the_words_of_a_segment_decide_where_its_bytes_do_not_fit() -> None:
    value = grounding(support(4, 0, startIndex=0, text="second part"), support(9, 1, text="no such words"))
    made = transcript("First part, ", "second part", {"groundingMetadata": value})
    assert marks(made) == [("d part", (1,))]


@pytest.mark.parametrize(
    "odd",
    [
        support(900, 0),
        support(-4, 0),
        support("x", 0),
        support(None, 0),
        support(3, 17),
        support(3, 0, startIndex=5),
        support(3, 0, startIndex="-1"),
        {"segment": None, "groundingChunkIndices": [0]},
        {"segment": {"endIndex": 3}, "groundingChunkIndices": None},
        {"segment": {"endIndex": 3}, "groundingChunkIndices": ["a", 2.5, None, {}]},
        {"segment": {"endIndex": 1e300}, "groundingChunkIndices": [0]},
        "text",
    ],
)
def test_odd_supports_mark_nothing(odd: Any) -> None:
    made = transcript("Some words.", {"groundingMetadata": grounding(odd)})
    assert marks(made) == []
    assert len(made.sources.chunks) == 4


def test_an_index_within_a_character_marks_behind_it() -> None:
    made = transcript("aé.", {"groundingMetadata": grounding(support(2, 0))})
    assert marks(made) == [("aé", (1,))]


def test_sources_of_pieces_and_of_several_calls_have_one_list_and_one_number_each() -> None:
    one, two = ({"web": {"uri": f"https://{name}.example", "title": name}} for name in ("one", "two"))
    made = transcript("First. ", {"groundingMetadata": grounding(support(6, 0), chunks=[one])})
    both = grounding(support(6, 0), support(14, 2, 1, startIndex=7), chunks=[one, {}, two])
    for event in (
        make(events.TextDelta, text="Second."),
        make(events.PartReceived, part={"groundingMetadata": both}),
        make(events.PhaseChanged, phase="executing_tools", turn=1),
        make(events.PhaseChanged, phase="awaiting_final_response", turn=2),
        make(events.TextDelta, text="\n\n"),
        make(events.TextDelta, text="Third."),
        make(events.PartReceived, part={"groundingMetadata": grounding(support(6, 0, 1), chunks=[two, one])}),
    ):
        made.apply(event)
    made.apply_all([])
    assert marks(made) == [("First.", (1,)), ("econd.", (2,)), ("Third.", (2, 1))]
    lists = [block.part for block in made.blocks if isinstance(block, PartBlock) and not block.gone]
    assert [part["groundingMetadata"]["groundingChunks"] for part in lists] == [[one, two]]


def test_sources_in_the_middle_of_a_sentence_do_not_part_it() -> None:
    value = {"groundingMetadata": grounding(support(14, 0, text="Some **bold wo"))}
    made = transcript(
        "Some **bo", {"citationMetadata": {"citations": [{"uri": "https://c.example"}]}}, "ld wo"
    )
    made.apply(make(events.PartReceived, part=value))
    made.apply_all([make(events.TextDelta, text="rds** here."), make(events.PartReceived, part=value)])
    (block,) = (one for one in made.blocks if isinstance(one, TextBlock))
    assert block.text == "Some **bold words** here."
    assert "<strong>bold words<sup>" in finished(block.draft, source_of(block)).html
    assert isinstance(made.blocks[-1], PartBlock)
    assert made.changed >= {0, len(made.blocks) - 1}


def test_sources_with_every_piece_are_marked_once() -> None:
    made, chunks, supports = Transcript(), list[Any](), list[Any]()
    for number in range(60):
        made.apply(make(events.TextDelta, text=f"Sentence {number:03} of it. "))
        chunks.append({"web": {"uri": f"https://{number}.example", "title": str(number)}})
        supports.append(support(20 * number + 19, number, startIndex=20 * number))
        value = {"groundingChunks": chunks[:], "groundingSupports": supports[:]}
        made.apply_all([make(events.PartReceived, part={"groundingMetadata": value})])
    assert len(marks(made)) == 60
    assert len([block for block in made.blocks if isinstance(block, TextBlock)]) == 1


def test_a_call_that_broke_takes_its_sources_and_numbers_away() -> None:
    made = transcript("Kept. Lost.", {"groundingMetadata": grounding(support(11, 0))})
    made.apply_all([make(events.TextRewound, length=5, parts=0)])
    assert marks(made) == []
    assert not [block for block in made.blocks if isinstance(block, PartBlock) and not block.gone]
    made.apply_all(
        [
            make(events.TextDelta, text=" New."),
            make(events.PartReceived, part={"groundingMetadata": grounding(support(10, 1))}),
        ]
    )
    assert marks(made) == [(" New.", (2,))] or marks(made) == [(". New.", (2,))]


HOSTILE = "](javascript:alert(1)) <img src=x onerror=alert(1)> `</code>"


@pytest.mark.parametrize(
    "uri", ["javascript:alert(1)", f"https://x.example/{HOSTILE}", "data:text/html,x", HOSTILE]
)
def test_hostile_sources_are_no_links(uri: str) -> None:
    value = grounding(support(5, 0), chunks=[{"web": {"uri": uri, "title": HOSTILE}}])
    with rig([sse_answer(text("Words."), final(value))]) as made:
        stream = made.start().wait()
    page = whole_html(stream, transcript_of(stream))
    for shown_page in (page, commonmark(to_markdown(stream))):
        assert "[1]" in shown_page
        assert "<img" not in shown_page
        assert 'href="javascript' not in shown_page
        assert 'href="data' not in shown_page


def test_numbers_are_shown_live_settled_and_exported_but_not_in_the_text(
    manager: gemini_nb.StreamManager,
) -> None:
    value = grounding(support(6, 0, text="Words."), webSearchQueries=["words"])
    first = text("Words. And")
    first["candidates"][0]["groundingMetadata"] = value
    with rig([sse_answer(first, Wait())]) as made:
        stream = made.start()
        pane = displayed(stream)
        until(lambda: "https://one.example/a" in shown(pane))
        until(lambda: None is not re.search(r"Words\.<sup><a [^>]*>\[1\]</a></sup> And", shown(pane)))
        stream.stop()
        stream.wait()
    settled = to_markdown(stream)
    assert "Words.<sup>[&#91;1&#93;](https://one.example/a)</sup> And" in settled
    assert settled.count("**Sources**") == 1
    assert "1. [One](https://one.example/a)\n2. [A place](https://maps.google.com/?cid=7)\n3. [P]" in settled
    assert "\\[1\\]</a></sup> And" in nbconvert(settled) or ">[1]</a></sup> And" in nbconvert(settled)
    assert stream.text == "Words. And"
    assert to_text(stream).startswith("Words. And\n")


def test_a_terminal_says_what_each_source_stands_behind() -> None:
    value = grounding(support(6, 0, text="Words."))
    out = io.StringIO()
    with rig([sse_answer(text("Words. And more."), final(value))]) as made:
        print_stream(made.start(), out)
    assert out.getvalue().startswith("Words. And more.\n")
    assert (
        "1. [One](https://one.example/a): “Words.”\n2. [A place](https://maps.google.com/?cid=7)\n"
        in out.getvalue()
    )


def test_a_page_that_is_a_source_is_not_listed_twice() -> None:
    pages = [
        {"retrievedUrl": url, "urlRetrievalStatus": f"URL_RETRIEVAL_STATUS_{status}"}
        for url, status in (("https://one.example/a", "SUCCESS"), ("https://other.example", "ERROR"))
    ]
    with rig(
        [sse_answer(text("Words."), final(grounding(), urlContextMetadata={"urlMetadata": pages}))]
    ) as made:
        settled = to_markdown(made.start().wait())
    assert settled.count("https://one.example/a") == 1
    assert "https://other.example" in settled


def cards(made: Transcript) -> list[tuple[str, ToolStatus]]:
    return [(block.call.name, block.call.status) for block in made.blocks if isinstance(block, CallBlock)]


def server_call(number: str, **more: Any) -> dict[str, Any]:
    return {
        "toolCall": {
            "toolType": "GOOGLE_SEARCH_WEB",
            "id": number,
            "args": {"queries": ["q" + number]},
            **more,
        }
    }


def server_answer(number: str) -> dict[str, Any]:
    said = {"search_suggestions": "<style>x</style><div>", "places": ["here"]}
    return {"toolResponse": {"toolType": "GOOGLE_SEARCH_WEB", "id": number, "response": said}}


def test_googles_own_tools_are_cards() -> None:
    made = transcript(server_call("1"), server_call("2"), server_answer("2"))
    assert cards(made) == [("Google Search", ToolStatus.RUNNING), ("Google Search", ToolStatus.DONE)]
    second = made.blocks[1]
    assert isinstance(second, CallBlock)
    assert second.call.args == {"queries": ["q2"]}
    assert second.call.result == {"places": ["here"]}
    made.apply_all([make(events.StreamStopped)])
    assert cards(made)[0] == ("Google Search", ToolStatus.CANCELLED)


def test_a_card_goes_with_the_call_that_broke() -> None:
    made = transcript(server_call("1"), server_answer("1"))
    made.apply_all([make(events.TextRewound, length=0, parts=0)])
    assert cards(made) == []
    made.apply_all([make(events.PartReceived, part=server_call("1"))])
    assert cards(made) == [("Google Search", ToolStatus.RUNNING)]


@pytest.mark.parametrize(
    "odd",
    [
        {"toolCall": {}},
        {"toolCall": {"toolType": 7, "args": [1], "id": {}}},
        {"toolResponse": {"response": "text"}},
        {"toolResponse": {"id": "unknown", "response": None}},
        {"toolCall": {"toolType": "<img src=x>"}},
    ],
)
def test_odd_calls_of_googles_tools_are_cards_too(odd: dict[str, Any]) -> None:
    assert len(cards(transcript(odd))) == 1


def test_a_search_beside_a_function_is_shown_everywhere_and_goes_back_as_it_came(
    manager: gemini_nb.StreamManager,
) -> None:
    def weather(city: str) -> str:
        """Look up the weather."""
        return f"sunny in {city}"

    with Simulator(pace=0) as simulator:
        stream = manager.start_stream(
            "Weather in Lisbon? See https://a.example/x",
            auth="simulator",
            base_url=simulator.base_url,
            tools=["search", "url", weather],
        ).wait(20)
        second = simulator.requests[-1].body
    assert stream.error is None
    sent = second["contents"][1]["parts"]
    assert [next(iter(part)) for part in sent[:4]] == ["toolCall", "toolResponse"] * 2
    assert all(part["thoughtSignature"] for part in sent[:4])
    assert sent[0]["toolCall"]["id"] == sent[1]["toolResponse"]["id"] != sent[2]["toolCall"]["id"]
    assert [one.name for one in stream.tool_calls] == ["weather"]
    settled, page = to_markdown(stream), whole_html(stream, transcript_of(stream))
    for words in ("Google Search", "URL context"):
        assert f"<details><summary>tool {words}(" in settled
        assert f"<b>{words}</b>" in page
    assert "search_suggestions" not in settled
    out = io.StringIO()
    print_stream(stream, out)
    assert "[Google Search …]" in out.getvalue()
    assert re.search(r"\[Google Search\(queries=.*\): done", out.getvalue())


def test_the_simulator_grounds_in_maps_and_pages(manager: gemini_nb.StreamManager) -> None:
    with Simulator(pace=0) as simulator:
        stream = manager.start_stream(
            "Where is tea? See https://a.example/x.",
            auth="simulator",
            base_url=simulator.base_url,
            tools=["search", "maps", "url"],
        ).wait(20)
    settled = to_markdown(stream)
    assert settled.count("An Example Place") == 1
    assert settled.count("[&#91;3&#93;](https://maps.google.com/?cid=1)") == 1
    assert "**Pages read**" in settled


def test_a_call_of_a_function_is_untouched(manager: gemini_nb.StreamManager) -> None:
    with rig([sse_answer(call("f", args={}, finish="STOP")), sse_answer(text("ok", finish="STOP"))]) as made:
        stream = made.start(tools=[gemini_nb.tool(lambda: 1, name="f")]).wait()
    assert cards(transcript_of(stream)) == [("f", ToolStatus.DONE)]


def test_a_later_kernel_shows_the_same() -> None:
    made_of = [final(grounding(support(6, 0, text="Words.")), "Words.")]
    pieces = {"inlineData": {"mimeType": "audio/L16;rate=24000", "data": "AAAA"}}
    parts = {"candidates": [{"content": {"parts": [server_call("1"), server_answer("1"), pieces, pieces]}}]}
    with rig([sse_answer(parts, *made_of)]) as made:
        stream = made.start().wait(20)
        settled = to_markdown(stream)
        until(lambda: (entry := gemini_nb.journal().get(stream.stream_id)) is not None and entry.ended_at)
    entry = gemini_nb.journal().get(stream.stream_id)
    assert entry is not None
    later = entry_bundle(entry)["text/markdown"]
    for shown_page in (settled, later):
        assert "Words.<sup>[&#91;1&#93;](https://one.example/a)</sup>" in shown_page
        assert "1. [One](https://one.example/a)\n2. [A place]" in shown_page
        assert "<details><summary>tool Google Search(" in shown_page
        assert shown_page.count("<audio controls") == 1


def test_values_of_the_wrong_kind_in_a_models_turn_cost_no_answer() -> None:
    chunk = {
        "candidates": [
            {
                "content": {
                    "role": "model",
                    "parts": [
                        {"inlineData": {"mimeType": ["image/png"], "data": "AAAA"}},
                        {"toolCall": {"toolType": {}, "args": [], "id": {}}},
                        {"toolResponse": {"toolType": "GOOGLE_SEARCH_WEB", "response": 1, "id": []}},
                        {"text": "Here."},
                    ],
                },
                "groundingMetadata": {
                    "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}]
                },
                "urlContextMetadata": {"urlMetadata": [{"retrievedUrl": {}}]},
                "finishReason": "STOP",
            }
        ]
    }
    with rig([sse_answer(chunk)]) as made:
        stream = made.start().wait(20)
        out = io.StringIO()
        print_stream(stream, out)
        assert "Here." in out.getvalue()
        assert "Here." in to_text(stream)
        assert "Here." in to_markdown(stream)
