"""Markdown from a model: shown live as HTML, and settled as Markdown that is harmless in any front end.

Rendering all of it at every repaint costs time that grows with the answer, so a `Draft` renders what is
finished once. Handing the raw text to the front end at the end is worse: JupyterLab does not sanitise the
Markdown of a cell that has just run, so raw HTML runs there, images load, and two prices become a formula.
"""

from __future__ import annotations

from gemini_nb.notebook.render.markdown.citations import Mark, marked
from gemini_nb.notebook.render.markdown.draft import Draft, answer_draft, finished, settle, to_html
from gemini_nb.notebook.render.markdown.html_writer import scrollable
from gemini_nb.notebook.render.markdown.neutral import escape, plain
from gemini_nb.notebook.render.markdown.typeset import has_formulas, typeset
from gemini_nb.notebook.render.markdown.words_of import words_of

__all__ = [
    "Draft",
    "Mark",
    "answer_draft",
    "escape",
    "finished",
    "has_formulas",
    "marked",
    "plain",
    "scrollable",
    "settle",
    "to_html",
    "typeset",
    "words_of",
]
