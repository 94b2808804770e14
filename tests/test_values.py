"""Images, figures, files and frames, in prompts and as tool results."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from matplotlib.figure import Figure
from PIL import Image

from answers import rig
from gemini_nb import File
from gemini_nb.api.content import to_contents, to_part
from gemini_nb.api.values import MAX_INLINE_BYTES, frame_text
from gemini_nb.errors import ConfigError
from gemini_nb.tools.result import to_result
from test_approval import asking

PNG = b"\x89PNG\r\n\x1a\n"


def image() -> Image.Image:
    return Image.new("RGB", (3, 2), "red")


def png() -> bytes:
    buffer = io.BytesIO()
    image().save(buffer, format="png")
    return buffer.getvalue()


def figure() -> Any:
    made = Figure(figsize=(1, 1))
    made.subplots().plot([1, 2])
    return made


def frame(rows: int = 2) -> pd.DataFrame:
    return pd.DataFrame({"city": ["Lisbon"] * rows, "people": range(rows)})


def decoded(part: dict[str, Any]) -> bytes:
    return base64.b64decode(part["inlineData"]["data"])


@pytest.mark.parametrize("make", [image, figure, png, lambda: figure().axes[0]])
def test_pictures_become_png(make: Any) -> None:
    part = to_part(make())
    assert part["inlineData"]["mimeType"] == "image/png"
    assert Image.open(io.BytesIO(decoded(part))).format == "PNG"


@pytest.mark.parametrize("mode", ["CMYK", "F", "I;16", "RGBA", "P", "1"])
def test_every_mode_of_an_image_can_be_sent(mode: str) -> None:
    assert decoded(to_part(Image.new(mode, (2, 2)))).startswith(PNG)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"%PDF-1.7", "application/pdf"),
        (bytearray(b"RIFF\0\0\0\0WAVEfmt "), "audio/wav"),
        (memoryview(b"\0\0\0\x18ftypmp42"), "video/mp4"),
    ],
)
def test_bytes_of_a_known_kind(data: Any, kind: str) -> None:
    assert to_part(data)["inlineData"]["mimeType"] == kind


def test_a_frame_becomes_a_table_with_its_shape_and_types() -> None:
    (turn,) = to_contents(["Which is larger?", frame()])
    text = turn["parts"][1]["text"]
    assert text.startswith("DataFrame, 2 rows x 2 columns (city: ")
    assert "people: int64" in text
    assert text.endswith(":\n,city,people\n0,Lisbon,0\n1,Lisbon,1\n")


def test_a_long_frame_is_cut_and_says_so() -> None:
    text = to_part(frame(100_000))["text"]
    assert "100,000 rows" in text
    assert "only the first 40 rows follow" in text
    assert len(text) < 2000
    wide = to_part(pd.DataFrame([["x" * 1000] * 100]))["text"]
    assert "100 columns" in wide
    assert len(wide) < 15_000


def test_series_and_polars_and_large_arrays() -> None:
    assert to_part(frame()["people"])["text"].startswith("Series, 2 rows x 1 columns (people: int64)")
    text = to_part(pl.DataFrame({"a": [1, 2]}))["text"]
    assert text == "DataFrame, 2 rows x 1 columns (a: Int64):\na\n1\n2\n"
    assert "shape (1000, 1000)" in to_part(np.zeros((1000, 1000)))["text"]
    assert to_result(np.arange(3)).value == [0, 1, 2]


def test_a_file_is_sent_with_its_type_and_a_path_is_only_text(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    path.write_bytes(png())
    assert decoded(to_part(File(path))) == png()
    assert to_result(path).value == str(path)
    bare = tmp_path / "nameless"
    bare.write_bytes(png())
    assert File(bare).mime_type == "image/png"
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    assert to_part(File(tmp_path / "notes.csv")) == {"text": "notes.csv:\na,b\n1,2\n"}


def test_files_that_cannot_be_sent(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.png cannot be read: No such file"):
        File(tmp_path / "missing.png")
    with pytest.raises(ConfigError, match="is not a file"):
        File(tmp_path)
    (tmp_path / "what").write_bytes(b"\x00\x01")
    with pytest.raises(ConfigError, match="what is not known"):
        File(tmp_path / "what")
    with (tmp_path / "big.png").open("wb") as big:
        big.truncate(MAX_INLINE_BYTES + 1)
    with pytest.raises(ConfigError, match=r"has 15\.7 MB; a request holds 15\.7 MB at most"):
        File(tmp_path / "big.png")


def test_a_tools_picture_goes_beside_its_json_which_refers_to_it() -> None:
    def plot() -> dict[str, Any]:
        """Draw."""
        return {"title": "Red", "plots": [image(), figure()], "data": frame()}

    with rig(asking("plot")) as made:
        stream = made.start(tools=[plot]).wait(10)
        response = made.server.requests[1].json["contents"][-1]["parts"][0]["functionResponse"]
    result = response["response"]["result"]
    assert result["plots"] == [{"$ref": "image-1"}, {"$ref": "image-2"}]
    assert result["data"].startswith("DataFrame, 2 rows")
    assert [part["inlineData"]["displayName"] for part in response["parts"]] == ["image-1", "image-2"]
    assert all(decoded(part).startswith(PNG) for part in response["parts"])
    assert stream.tool_calls[0].parts == tuple(response["parts"])


def test_a_tools_file_that_is_gone_is_told_to_the_model(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    path.write_bytes(png())

    def send() -> File:
        """Send a file."""
        file = File(path)
        path.unlink()
        return file

    with rig(asking("send")) as made:
        (call,) = made.start(tools=[send]).wait(10).tool_calls
    assert call.error is not None
    assert "red.png cannot be read" in call.error


def test_a_figure_that_cannot_be_drawn_becomes_text() -> None:
    broken = figure()
    broken.savefig = None
    assert to_result({"plot": broken}).value["plot"].startswith("Figure(")


@pytest.mark.parametrize(
    "name", ["query.sql", "notes", "config.yaml", "run.ipynb", "app.ts", "logo.svg", "a.log"]
)
def test_a_file_that_reads_as_text_is_sent_as_text(tmp_path: Path, name: str) -> None:
    content = "größe\n" * 1000  # some character lies across the end of what is looked at
    (tmp_path / name).write_text(content)
    assert to_part(File(tmp_path / name)) == {"text": f"{name}:\n{content}"}


def test_a_file_that_only_looks_like_text_is_data(tmp_path: Path) -> None:
    (tmp_path / "paper.pdf").write_bytes(b"%PDF-1.4 all of it ASCII")
    assert File(tmp_path / "paper.pdf").mime_type == "application/pdf"
    (tmp_path / "zeros.txt").write_bytes(b"\0" * 10)
    assert File(tmp_path / "zeros.txt").mime_type == "text/plain"


def test_a_table_of_long_texts_is_cut_where_it_is_too_long() -> None:
    table = frame_text(pd.DataFrame({"text": ["w" * 20_000, "x"]}))
    assert table is not None
    head, _, rows = table.partition(":\n")
    assert head.endswith("only the first 12,000 characters follow")
    assert rows.startswith(",text\n0,wwww")
    assert rows.endswith("w…\n")
    assert 12_000 < len(table) < 12_200


def test_an_image_that_cannot_be_drawn_says_so() -> None:
    with pytest.raises(ConfigError, match="This Image cannot be drawn"):
        to_part(Image.new("RGB", (0, 0)))
