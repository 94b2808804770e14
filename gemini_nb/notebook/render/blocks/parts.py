"""What the model sent beside text and calls, as Markdown: code, its output, sources, files.

It is as hostile as the rest of an answer and goes the same way, through the page's sanitiser or through
`settle`; here it is only put into words.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

from gemini_nb.api.wire import Part, objects
from gemini_nb.notebook.render.markdown import plain
from gemini_nb.notebook.render.words import cut_counted

METADATA = ("citationMetadata", "groundingMetadata", "urlContextMetadata")
"""Parts of this kind are sent again and again while an answer grows; the newest counts."""

DRAFT = "an image that the model drew while it thought"
"""What such an image, which is none of the answer's, is folded away under."""

_TEXTS = re.compile(r"text/[\w.+-]+|application/(?:json|xml|x-ndjson)")
_LONGEST_FILE = 400_000  # characters of base64 that are looked into
_MARKS = re.compile(r"([\\`*_\[\]<>#|~$!&])")
_ESCAPED = re.compile(r"\\([^\s0-9A-Za-z])")
_RESULTS = "https://www.google.com/search?q="
"""Google's page of results. The server's own suggestions are HTML of a page's power, and are not shown."""
_SHOWN = 4000  # characters of a file
_SAFE = ":/?#@!$&'*+,;=%~-._"


def part_markdown(part: Part) -> str:
    """Put a part into words; empty where there is nothing to say."""
    for name, render in _RENDERERS.items():
        value = part.get(name)
        if isinstance(value, dict):
            return render(value)
    names = ", ".join(name for name in part if name != "thoughtSignature")
    return f"*{_words(names)}*" if names else ""


def written_file(part: Part) -> tuple[str, str] | None:
    """Return the name or type, and the text, of a file that the model's code wrote; None for other parts."""
    data = part.get("inlineData")
    if not isinstance(data, dict) or not isinstance(content := data.get("data"), str):
        return None
    kind = str(data.get("mimeType")).partition(";")[0].strip()
    if not _TEXTS.fullmatch(kind) or len(content) > _LONGEST_FILE:
        return None
    try:
        text = base64.b64decode(content, validate=True).decode()
    except ValueError:
        return None
    return str(data.get("displayName") or kind), text


def part_text(part: Part) -> str:
    """Return the same without Markdown's marks, for a terminal; code and its output, too."""
    code, outcome, data = (part.get(name) for name in ("executableCode", "codeExecutionResult", "inlineData"))
    if isinstance(code, dict):
        return f"```python\n{plain(str(code.get('code') or '')).rstrip()}\n```"
    if isinstance(outcome, dict):
        output = plain(str(outcome.get("output") or outcome.get("outcome") or ""))
        return "\n".join(f"  | {line}" for line in output.splitlines())
    if (file := written_file(part)) is not None:
        return plain(f"[{file[0]}]\n{cut_counted(file[1], _SHOWN)}")
    if isinstance(data, dict):
        size = len(str(data.get("data") or "")) * 3 // 4
        return plain(f"[{data.get('mimeType')}, {size:,} bytes, in the stream's parts]")
    return plain(_ESCAPED.sub(r"\1", part_markdown(part)).replace("**", ""))


def _words(text: object) -> str:
    return _MARKS.sub(r"\\\1", " ".join(plain(str(text)).split()))


def _link(title: object, uri: object) -> str:
    words = _words(title or uri or "a source")
    address = plain(str(uri or ""))
    return (
        f"[{words}]({quote(address, safe=_SAFE)})" if address.startswith(("https://", "http://")) else words
    )


def _listed(head: str, lines: Iterable[str]) -> str:
    numbered = [f"{number}. {line}" for number, line in enumerate(lines, 1)]
    return "\n".join([head, "", *numbered]) if numbered else ""


def _grounding(value: dict[str, Any]) -> str:
    searched = [
        _link(query, _RESULTS + quote_plus(plain(query), errors="replace") + kind)
        for field, kind in (("webSearchQueries", ""), ("imageSearchQueries", "&udm=2"))
        for query in _texts(value.get(field))
    ]
    sources = [
        _link(source.get("title"), source.get("uri") or source.get("sourceUri"))
        for chunk in objects(value.get("groundingChunks"))
        for source in objects(list(chunk.values()))
    ]
    suggestions = f"**Searched for** {', '.join(searched)}" if searched else ""
    return "\n\n".join(piece for piece in (suggestions, _listed("**Sources**", sources)) if piece)


def _texts(value: object) -> list[str]:
    return [text for text in value if isinstance(text, str) and text] if isinstance(value, list) else []


def _citations(value: dict[str, Any]) -> str:
    cited = [*objects(value.get("citations")), *objects(value.get("citationSources"))]
    lines = []
    for source in cited:
        licence = f" ({_words(source['license'])})" if source.get("license") else ""
        lines.append(_link(source.get("title"), source.get("uri")) + licence)
    return _listed("**Cited**", lines)


def _pages(value: dict[str, Any]) -> str:
    lines = []
    for page in objects(value.get("urlMetadata")):
        status = str(page.get("urlRetrievalStatus") or "").removeprefix("URL_RETRIEVAL_STATUS_").lower()
        note = f" ({_words(status)})" if status not in {"", "success"} else ""
        lines.append(_link(None, page.get("retrievedUrl")) + note)
    return _listed("**Pages read**", lines)


def _file(value: dict[str, Any]) -> str:
    kind = _words(value.get("mimeType") or "a file")
    return (
        f"{kind}: {_link(value.get('displayName'), value.get('fileUri'))}"
        if "fileUri" in value
        else f"*{kind}*"
    )


def _model_status(value: dict[str, Any]) -> str:
    stage, day = str(value.get("modelStage")).lower(), str(value.get("retirementTime") or "")[:10]
    pieces = [f"**{_words(value.get('model') or 'This model')} is {_words(stage)}.**"]
    if message := _words(value.get("message") or ""):
        pieces.append(message)
    if day:
        pieces.append(f"Its retirement: {_words(day)}.")
    return " ".join([*pieces, "Choose a newer model."])


def _server_tool(value: dict[str, Any]) -> str:
    shown = json.dumps(value.get("args", value.get("response", {})), ensure_ascii=False)
    return f"*{_words(value.get('toolType') or 'tool')}* {_words(shown[:300])}"


_RENDERERS = {
    "groundingMetadata": _grounding,
    "citationMetadata": _citations,
    "urlContextMetadata": _pages,
    "modelStatus": _model_status,
    "fileData": _file,
    "inlineData": _file,
    "toolCall": _server_tool,
    "toolResponse": _server_tool,
}
