"""The images of an answer: found, shown and saved."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from answers import PATIENCE, rig
from gemini_nb import Image
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


def test_a_picture_that_may_hold_scripts_is_not_shown_by_itself() -> None:
    assert list(Image(b"<svg/>", "image/svg+xml")._repr_mimebundle_()) == ["text/plain"]
