"""The images of an answer: found, shown and saved."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from answers import PATIENCE, rig
from gemini_nb import Image
from gemini_nb.notebook.pane.pane import whole_html
from gemini_nb.notebook.render.settled import to_markdown, to_text, transcript_of
from gemini_nb.notebook.render.terminal import print_stream
from scripted import sse_answer

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def chunk(*parts: Any) -> Any:
    return {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]}


def blob(data: bytes | str, mime_type: str = "image/png", **more: Any) -> dict[str, Any]:
    text = data if isinstance(data, str) else base64.b64encode(data).decode()
    return {"inlineData": {"mimeType": mime_type, "data": text}, **more}


def test_images_are_found_in_their_order(tmp_path: Path) -> None:
    parts = [
        {"text": "Here: "},
        blob(PNG),
        blob(b"draft", thought=True),
        blob("not base64!"),
        blob("%%%"),
        blob(""),
        blob(b"sound", "audio/wav"),
        blob(b"second", "image/jpeg"),
    ]
    with rig([sse_answer(chunk(*parts))]) as made:
        stream = made.start("Draw").wait(PATIENCE)
        assert stream.images == [Image(PNG, "image/png"), Image(b"second", "image/jpeg")]
    first, second = stream.images
    assert first.save(tmp_path / "a.png").read_bytes() == PNG
    assert second.save(tmp_path / "b").name == "b.jpg"
    assert first._repr_mimebundle_()["image/png"] == base64.b64encode(PNG).decode()
    assert "data" not in repr(first)
    assert (first._repr_png_(), first._repr_jpeg_()) == (PNG, None)
    assert (second._repr_png_(), second._repr_jpeg_()) == (None, b"second")


def test_a_picture_that_may_hold_scripts_is_not_shown_by_itself() -> None:
    assert list(Image(b"<svg/>", "image/svg+xml")._repr_mimebundle_()) == ["text/plain"]


def test_data_in_lines_and_a_type_in_capitals_are_an_image() -> None:
    text = base64.b64encode(PNG).decode()
    with rig([sse_answer(chunk(blob(f"{text[:76]}\n{text[76:]}", "IMAGE/PNG")))]) as made:
        stream = made.start("Draw").wait(PATIENCE)
    assert stream.images == [Image(PNG, "image/png")]
    assert f"data:image/png;base64,{text}" in to_markdown(stream)


def test_an_image_of_its_thoughts_is_folded_away() -> None:
    draft, final = blob(b"draft", thought=True), blob(PNG, thoughtSignature="c2ln")
    with rig([sse_answer(chunk(draft, {"text": "Here."}, final))]) as made:
        stream = made.start("Draw").wait(PATIENCE)
    page, settled = whole_html(stream, transcript_of(stream)), to_markdown(stream)
    for shown in (page, settled):
        fold = shown[shown.index("<details>") : shown.index("</details>")]
        assert base64.b64encode(b"draft").decode() in fold
        assert shown.count("data:image/png") == 2
        assert base64.b64encode(PNG).decode() not in fold
    out = io.StringIO()
    print_stream(stream, out)
    assert (out.getvalue() + to_text(stream)).count("image/png") == 2
