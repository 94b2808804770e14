"""The images in an answer."""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gemini_nb.api.wire import Part

_SHOWN = {"image/png", "image/jpeg", "image/gif", "image/webp"}  # an SVG may hold scripts


@dataclass(frozen=True, slots=True)
class Image:
    """An image that a model made.

    As the value of a cell it is shown.

    Attributes:
        data: the file's bytes.
        mime_type: such as "image/png".
    """

    data: bytes = field(repr=False)
    mime_type: str

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the image to a file and return its path.

        Args:
            path: the file; without a suffix it gets that of the image's type.
        """
        target = Path(path).expanduser()
        if not target.suffix:
            suffix = self.mime_type.partition("/")[2].partition("+")[0]
            target = target.with_suffix("." + {"jpeg": "jpg"}.get(suffix, suffix))
        target.write_bytes(self.data)
        return target

    def _repr_png_(self) -> bytes | None:
        return self.data if self.mime_type == "image/png" else None

    def _repr_jpeg_(self) -> bytes | None:
        return self.data if self.mime_type == "image/jpeg" else None

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        bundle = {"text/plain": repr(self)}
        if self.mime_type in _SHOWN:
            bundle[self.mime_type] = base64.b64encode(self.data).decode()
        return bundle


def images_in(parts: Iterable[Part]) -> list[Image]:
    """Return the images of these parts, in their order; thoughts' drafts are none of the answer's."""
    found = []
    for part in parts:
        blob = part.get("inlineData")
        if part.get("thought") is True or not isinstance(blob, Mapping):
            continue
        mime_type, data = blob.get("mimeType"), blob.get("data")
        if isinstance(mime_type, str) and isinstance(data, str) and mime_type.lower().startswith("image/"):
            with contextlib.suppress(ValueError):
                if content := base64.b64decode("".join(data.split()), validate=True):
                    found.append(Image(content, mime_type.partition(";")[0].strip().lower()))
    return found
