"""Pictures and sound that are made up: a PNG of a few colours, and a tone as the service sends speech."""

from __future__ import annotations

import base64
import math
import random
import re
import struct
import zlib
from typing import Any

from gemini_nb.simulator.protocol.signatures import sign_text
from gemini_nb.simulator.scenario.prompt import Prompt
from gemini_nb.simulator.scenario.prose import NOTE

__all__ = ["made_media"]

_MANY = re.compile(
    r"\b(two|three|four|[2-8])\b[^.?!]{0,40}\b(?:images|pictures|drawings|photos)", re.IGNORECASE
)
_NUMBERS = {"two": 2, "three": 3, "four": 4}
_RATE = 24_000
_PIECES, _SECONDS = 6, 0.25  # of a second of sound each
_WIDTH, _HEIGHT = 120, 80


def made_media(prompt: Prompt) -> list[dict[str, Any]] | None:
    """Return the parts of an answer that is drawn or spoken, None where it is neither."""
    asked = prompt.modalities
    if "AUDIO" in asked:
        return [_sound(number) for number in range(_PIECES)]
    if "IMAGE" not in asked:
        return None
    found = _MANY.search(prompt.clues.text)
    count = 1 if found is None else _NUMBERS.get(found[1].lower()) or int(found[1])
    before = sum("inlineData" in part for content in prompt.body["contents"] for part in content["parts"])
    said = f"I changed the picture. {NOTE}" if before else f"Here is {prompt.clues.topic}. {NOTE}"
    text = [{"text": f"{said}\n\n"}] if "TEXT" in asked else []
    return [*text, *(_picture(prompt, number) for number in range(count))]


def _picture(prompt: Prompt, number: int) -> dict[str, Any]:
    data = base64.b64encode(_png(prompt.rng("picture", number, len(prompt.body["contents"])))).decode()
    part: dict[str, Any] = {"inlineData": {"mimeType": "image/png", "data": data}}
    return {**part, "thoughtSignature": sign_text(data)} if prompt.signs else part


def _png(rng: random.Random) -> bytes:
    """Draw a sky, a hill and a sun."""
    sky, hill, sun = (bytes(rng.randrange(40, 250) for _ in range(3)) for _ in range(3))
    middle, height = rng.randrange(30, 90), rng.randrange(40, 60)
    rows = []
    for y in range(_HEIGHT):
        row = bytearray()
        for x in range(_WIDTH):
            is_sun = (x - middle) ** 2 + (y - 20) ** 2 < 120
            row += sun if is_sun else hill if y > height + 10 * math.sin(x / 17) else sky
        rows.append(b"\0" + row)
    header = struct.pack(">IIBBBBB", _WIDTH, _HEIGHT, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _sound(number: int) -> dict[str, Any]:
    """A piece of a tone, as 16-bit samples without a header, as the service sends speech."""
    count = int(_RATE * _SECONDS)
    tone = 330 * 2 ** (number / 6)
    samples = (int(6000 * math.sin(2 * math.pi * tone * at / _RATE)) for at in range(count))
    data = base64.b64encode(struct.pack(f"<{count}h", *samples)).decode()
    return {"inlineData": {"mimeType": f"audio/L16;codec=pcm;rate={_RATE}", "data": data}}
