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
from approvals import asking
from gemini_nb import File
from gemini_nb.api.contents.content import encode_body, to_contents, to_part
from gemini_nb.api.contents.file import MAX_INLINE_BYTES, MAX_PDF_BYTES, MAX_REQUEST_BYTES, inline_data
from gemini_nb.api.contents.values import frame_text
from gemini_nb.errors import ArgumentError, ConfigError
from gemini_nb.tools.result import to_result

OFFICE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
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


def container(brand: bytes, *others: bytes) -> bytes:
    body = b"ftyp" + brand + b"\0\0\0\0" + b"".join(others)
    return (len(body) + 4).to_bytes(4, "big") + body + b"\0" * 32


KINDS = [
    (container(b"heic", b"mif1", b"heic"), "image/heic"),
    (container(b"heix", b"mif1"), "image/heic"),
    (container(b"mif1", b"mif1", b"heic"), "image/heic"),
    (container(b"mif1", b"miaf", b"avif"), "image/avif"),
    (container(b"mif1", b"mif1"), "image/heif"),
    (container(b"avif", b"mif1"), "image/avif"),
    (container(b"avis", b"avif"), "image/avif"),
    (container(b"M4A ", b"isom", b"mp42"), "audio/mp4"),
    (container(b"M4B "), "audio/mp4"),
    (container(b"qt  "), "video/quicktime"),
    (b"\0\0\0\x08wide\0\0\1\0mdat" + b"\0" * 32, "video/quicktime"),
    (container(b"isom", b"iso2", b"avc1", b"mp41"), "video/mp4"),
    (container(b"iso6", b"dash"), "video/mp4"),
    (container(b"M4V "), "video/mp4"),
    (container(b"3gp4"), "video/3gpp"),
    (bytes.fromhex("1a45dfa39f4286810142f7810142f2810442f381084282847765626d4287810442858102"), "video/webm"),
    (b"\xff\xfb\x90\x64" + b"\0" * 32, "audio/mp3"),
    (b"\xff\xfa\x90\x64" + b"\0" * 32, "audio/mp3"),
    (b"\xff\xf3\x90\x64" + b"\0" * 32, "audio/mp3"),
    (b"\xff\xf2\x40\xc0" + b"\0" * 32, "audio/mp3"),
    (b"\xff\xe3\x90\x64" + b"\0" * 32, "audio/mp3"),
    (b"ID3\3\0\0\0" + b"\0" * 32, "audio/mp3"),
    (b"\xff\xf1\x50\x80" + b"\0" * 32, "audio/aac"),
    (b"\xff\xf9\x50\x80" + b"\0" * 32, "audio/aac"),
    (b"RIFF\x24\0\0\0WAVEfmt " + b"\0" * 32, "audio/wav"),
    (b"RF64\xff\xff\xff\xffWAVEds64" + b"\0" * 32, "audio/wav"),
    (b"RIFF\x24\0\0\0AVI LIST" + b"\0" * 32, "video/avi"),
    (b"fLaC\0\0\0\x22" + b"\0" * 32, "audio/flac"),
    (b"OggS\0\2" + b"\0" * 32, "audio/ogg"),
    (b"FORM\0\0\0\0AIFFCOMM" + b"\0" * 32, "audio/aiff"),
    (b"GIF89a\1\0\1\0", "image/gif"),
    (b"%PDF-1.4 all of it ASCII", "application/pdf"),
]


@pytest.mark.parametrize(("data", "kind"), KINDS, ids=[f"{at} {kind}" for at, (_, kind) in enumerate(KINDS)])
def test_bytes_and_files_without_a_suffix_say_what_they_are(tmp_path: Path, data: bytes, kind: str) -> None:
    assert to_part(data)["inlineData"]["mimeType"] == kind
    (tmp_path / "nameless").write_bytes(data)
    assert File(tmp_path / "nameless").mime_type == kind


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("IMG_1.jpg", container(b"heic", b"mif1", b"heic"), "image/heic"),
        ("voice.m4a", container(b"mp42", b"isom"), "audio/mp4"),
        ("clip.mov", container(b"qt  "), "video/quicktime"),
        ("song.mp3", b"\xff\xfb\x90\x64" + b"\0" * 32, "audio/mp3"),
        ("song.wav", b"RIFF\x24\0\0\0WAVEfmt " + b"\0" * 32, "audio/wav"),
        ("page.pdf.bin", b"%PDF-1.7\n" + b"\0" * 32, "application/pdf"),
        ("sheet.xlsx", b"PK\3\4" + b"\0" * 32, OFFICE),
    ],
)
def test_a_files_bytes_and_its_name_together_say_what_it_is(
    tmp_path: Path, name: str, data: bytes, kind: str
) -> None:
    (tmp_path / name).write_bytes(data)
    assert File(tmp_path / name).mime_type == kind


@pytest.mark.parametrize("data", [b"BMW is a car", b"II*", b"MThd", b"", b"\0\1", b"\xff\xff\xff\xff"])
def test_bytes_that_only_begin_like_a_file_are_of_no_kind(data: bytes) -> None:
    with pytest.raises(ArgumentError, match="bytes of an unknown kind"):
        to_part(data)


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


@pytest.mark.parametrize(
    ("name", "limit", "words"),
    [
        (
            "big.png",
            MAX_INLINE_BYTES,
            r"has 75\.0 MB; a file inside a request has 75 MB at most, since base64",
        ),
        ("big.pdf", MAX_PDF_BYTES, r"has 50\.0 MB; a PDF inside a request has 50 MB at most"),
    ],
)
def test_a_file_may_be_as_large_as_the_service_takes(
    tmp_path: Path, name: str, limit: int, words: str
) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(limit)
    assert File(path).mime_type in {"image/png", "application/pdf"}
    with path.open("r+b") as file:
        file.truncate(limit + 1)
    if name.endswith("pdf"):
        with pytest.raises(ConfigError, match=words):
            File(path)
    else:
        assert to_part(File(path))["fileData"]["fileUri"] == path.as_uri()  # to be uploaded
    data = bytes(limit + 1)
    with pytest.raises(ConfigError, match=words) as caught:
        inline_data(data, "application/pdf" if name.endswith("pdf") else "image/png")
    assert "Files API" in caught.value.hint


def test_a_pdf_that_is_written_as_a_part_has_the_same_limit() -> None:
    data = "A" * (MAX_PDF_BYTES // 3 * 4 + 8)
    with pytest.raises(ConfigError, match="a PDF inside a request has 50 MB at most"):
        to_part({"inline_data": {"mime_type": "application/pdf", "data": data}})
    assert to_part({"inlineData": {"mimeType": "video/mp4", "data": data}})


def test_a_request_has_a_limit_of_its_own() -> None:
    half = "x" * (MAX_REQUEST_BYTES // 2)
    with pytest.raises(
        ConfigError, match=r"The request has 100\.0 MB with its history; a request has 100 MB"
    ):
        encode_body({"contents": [half, half]})
    assert encode_body({"contents": [half]})


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
