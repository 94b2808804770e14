"""How each block of a transcript is drawn in a pane: live as a view, and at the end as HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, assert_never

from gemini_nb.api.wire import Part
from gemini_nb.notebook.pane import look
from gemini_nb.notebook.pane.card import CallView, call_html
from gemini_nb.notebook.pane.running_text import TextView
from gemini_nb.notebook.pane.widgetry import close_tree, piece, set_value
from gemini_nb.notebook.render import figures
from gemini_nb.notebook.render.blocks.blocks import (
    AudioBlock,
    Block,
    CallBlock,
    NoticeBlock,
    PartBlock,
    StruckBlock,
    TextBlock,
)
from gemini_nb.notebook.render.blocks.parts import DRAFT, part_markdown, written_file
from gemini_nb.notebook.render.blocks.sound import audio_html
from gemini_nb.notebook.render.markdown import Draft, escape, finished, to_html
from gemini_nb.notebook.render.settled import code_block, source_of
from gemini_nb.notebook.render.words import cut_start

if TYPE_CHECKING:
    import ipywidgets as widgets

_STRUCK = 4000  # characters of a broken attempt that are shown


class BlockView(Protocol):
    """One block on the page."""

    @property
    def widgets(self) -> list[widgets.Widget]:
        """What stands in the pane for it."""

    def draw(self, block: Any) -> object:
        """Draw what changed, and return whether there is more; the block is of the view's own kind."""

    def close(self) -> None:
        """Close the widgets."""


def view_for(block: Block, old: BlockView | None = None) -> tuple[BlockView, bool]:
    """The view of a block, the old one where it is of the right kind, and whether there is more to draw."""
    kind = _KINDS.get(type(block), _PieceView)
    if old is None or type(old) is not kind:
        if old is not None:
            old.close()
        made: BlockView = kind(block)
        return made, isinstance(block, TextBlock)
    return old, bool(old.draw(block))


class _TextBlockView(TextView):
    def __init__(self, block: TextBlock) -> None:
        super().__init__(source_of(block), block.draft)

    def draw(self, block: Any, draft: Draft | None = None) -> bool:
        """Draw a block, or as a `TextView` does."""
        if isinstance(block, TextBlock):
            return super().draw(source_of(block), block.draft)
        return super().draw(block, draft)


class _CallBlockView(CallView):
    def __init__(self, block: CallBlock) -> None:
        super().__init__(block.call)

    def draw(self, block: Any) -> None:
        """Draw a block's call."""
        super().draw(block.call)


class _PieceView:
    """A block that is one piece of HTML, and nothing while that is empty."""

    def __init__(self, block: Block) -> None:
        self._piece: Any = None
        self.draw(block)

    @property
    def widgets(self) -> list[widgets.Widget]:
        return [self._piece] if self._piece is not None else []

    def draw(self, block: Block) -> None:
        value = block_html(block)
        if self._piece is not None and value:
            set_value(self._piece, value)
        elif value:
            self._piece = piece(value)
        else:
            self.close()

    def close(self) -> None:
        if self._piece is not None:
            close_tree(self._piece)
            self._piece = None


_KINDS: dict[type, Any] = {TextBlock: _TextBlockView, CallBlock: _CallBlockView}


def block_html(block: Block) -> str:
    """A block for a page that changes no more."""
    match block:
        case TextBlock():
            return finished(block.draft, source_of(block)).html
        case CallBlock():
            return call_html(block.call)
        case NoticeBlock():
            return look.notice_html(block.text)
        case PartBlock():
            return "" if block.gone else _part_html(block.part)
        case AudioBlock():
            return f'<div class="gemini-nb-audio">{shown}</div>' if (shown := audio_html(block)) else ""
        case StruckBlock():
            return _struck_html(block.text)
        case _:
            assert_never(block)


def _struck_html(text: str) -> str:
    if not text:
        return ""
    return f'<div class="gemini-nb-struck"><del>{escape(cut_start(text, _STRUCK))}</del></div>'


def _part_html(part: Part) -> str:
    """Code, its output, a picture; of anything else its name."""
    code, outcome = part.get("executableCode"), part.get("codeExecutionResult")
    picture = figures.picture_of(part)
    if isinstance(code, dict):
        return to_html(code_block(str(code.get("code") or ""), "python"))
    if isinstance(outcome, dict):
        return look.pre_html(str(outcome.get("output") or outcome.get("outcome") or ""))
    if (file := written_file(part)) is not None:
        shown = look.pre_html(file[1])
        return f"<details><summary>{escape(f'file {file[0]}')}</summary>{shown}</details>"
    if picture is not None:
        source = f"data:{picture[0]};base64,{picture[1]}"
        shown = f'<img class="gemini-nb-picture" alt="an image from the model" src="{source}">'
        is_draft = part.get("thought") is True
        return f"<details><summary>{DRAFT}</summary>{shown}</details>" if is_draft else shown
    return to_html(part_markdown(part))
