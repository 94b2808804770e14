"""Sound as a player, for a page and for the notebook's file, and in words for those that play none."""

from __future__ import annotations

import base64

from gemini_nb.api.contents.audio import PLAYED, Audio, join_audio
from gemini_nb.notebook.render.blocks.blocks import AudioBlock
from gemini_nb.notebook.render.markdown import escape
from gemini_nb.notebook.render.words import duration

_LARGEST = 20 * 2**20  # bytes that are put into a page and a notebook's file


def audio_html(block: AudioBlock) -> str:
    """Return a player, once all of the sound is there; its words alone where no browser plays it.

    The data are written as base64 here, and the type is one of a few, so that nothing in them ends the tag.
    """
    if not block.pieces:
        return ""
    if not block.is_whole:
        size = sum(len(str(piece["inlineData"].get("data") or "")) for piece in block.pieces) * 3 // 4
        return f"<em>{escape(block.kind[:60])}: {size:,} bytes so far</em>"
    sound = join_audio(block.pieces, block.kind)
    words = escape(_words(sound))
    if sound.mime_type not in PLAYED or len(sound.data) > _LARGEST:
        return f"<em>{words}: <code>stream.audio</code> has it</em>"
    data = base64.b64encode(sound.data).decode()
    return f'<audio controls title="{words}" src="data:{sound.mime_type};base64,{data}">{words}</audio>'


def audio_words(block: AudioBlock) -> str:
    """Return its type and its length as plain text."""
    return _words(join_audio(block.pieces, block.kind))


def _words(sound: Audio) -> str:
    size = f"{len(sound.data):,} bytes" if sound.seconds is None else duration(sound.seconds)
    return f"{sound.mime_type[:60]}, {size}"
