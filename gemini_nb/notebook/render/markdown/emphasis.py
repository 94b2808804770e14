"""Where emphasis may begin and end beside scripts that are written without spaces.

CommonMark tells an opening mark from a closing one by what stands beside it. In `**「重要」**です` no space
follows the bracket, so the second mark opens, too; nothing is bold, or what stands between two such words is.
Here the punctuation of those scripts counts as a word, and beside their letters any punctuation may be bold.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from markdown_it.rules_inline.state_inline import Scanned, StateInline

from gemini_nb.notebook.render.markdown.neutral import is_word

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

    from markdown_it import MarkdownIt
    from markdown_it.token import Token

# Thai to Khmer, then Chinese, Japanese and Korean with their punctuation and full-width forms.
_SPACELESS = re.compile(
    "[\u0e00-\u0eff\u1000-\u11ff\u1780-\u17ff\u2e80-\ua4cf\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\ufe30-\ufe4f"
    "\uff00-\uffef\U0001b000-\U0001b16f\U00020000-\U0003ffff]"
)


def parse_inline(content: str, md: MarkdownIt, env: MutableMapping[str, Any], tokens: list[Token]) -> None:
    """Parse a paragraph as `md.inline.parse` does, with our rule of where emphasis begins and ends."""
    state = _State(content, md, env, tokens)
    md.inline.tokenize(state)
    for rule in md.inline.ruler2.getRules(""):
        rule(state)


class _State(StateInline):
    def scanDelims(self, start: int, canSplitWord: bool) -> Scanned:  # noqa: N802, N803 - the library's names
        scanned = super().scanDelims(start, canSplitWord)
        end = start + scanned.length
        before = self.src[start - 1] if start else " "
        after = self.src[end] if end < self.posMax else " "
        if not canSplitWord or not (_SPACELESS.match(before) or _SPACELESS.match(after)):
            return scanned
        return Scanned(_stands_before(after, before), _stands_before(before, after), scanned.length)


def _stands_before(inner: str, outer: str) -> bool:
    """Whether a mark with `inner` on one side and `outer` on the other belongs to the inner one."""
    if inner.isspace():
        return False
    return is_word(inner) or not is_word(outer) or any(map(_SPACELESS.match, (inner, outer)))
