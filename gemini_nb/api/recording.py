"""Recordings of answers: their file format, and which request a recording answers.

A dump of raw bytes loses what makes a stream a stream, its timing, and cannot say which question it answers.
So a recording is a file of JSON lines that a person can read and compare: the request, the status, each piece
of the answer with the seconds that passed before it, and how it ended. The bytes come back as they were.

Comparing requests byte by byte would fail on the next machine: another version of a library words a tool's
schema otherwise. So the two are brought into one form first, in which a declared function is its name.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from gemini_nb.api.wire import JSON, objects
from gemini_nb.errors import ConfigError
from gemini_nb.redaction import scrub

__all__ = [
    "End",
    "Recording",
    "file_name",
    "normalised",
    "prompt_of",
    "read_recording",
    "request_key",
]

End = Literal["complete", "cut", "silent", "left"]
"""How an answer ended: in order, with its connection, in silence, or because nobody read on."""

_ENDS: dict[str, End] = {name: name for name in get_args(End)}
_VERSION = 1
_METHOD = "streamGenerateContent"
_SAYS_NOTHING = {"model", "labels", "store", "serviceTier"}
_DIGITS = 12  # of a key, in a file's name
_UNDERSCORE = re.compile(r"_([a-z0-9])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One request and what came of it.

    Attributes:
        model: the model's id.
        body: the request's body; None answers any.
        number: 1 for the first time that this was asked, 2 for the second.
        time: when it was recorded.
        wait: seconds until the answer began.
        status: its HTTP status.
        headers: those of its headers that mean something to a client.
        pieces: the bytes as they came, each with the seconds before it.
        end: how it ended.
        end_wait: seconds from the last piece until then.
    """

    model: str
    body: JSON | None
    number: int = 1
    time: str = ""
    wait: float = 0.0
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: tuple[tuple[float, bytes], ...] = ()
    end: End = "complete"
    end_wait: float = 0.0

    def lines(self) -> Iterator[JSON]:
        """The lines of its file."""
        yield {
            "recording": _VERSION,
            "method": _METHOD,
            "model": self.model,
            "number": self.number,
            "time": self.time,
            "body": self.body,
        }
        yield {"after": round(self.wait, 3), "status": self.status, "headers": dict(self.headers)}
        for wait, piece in self.pieces:
            yield {"after": round(wait, 3), **_said(piece)}
        yield {"after": round(self.end_wait, 3), "end": self.end}

    def encode(self) -> bytes:
        """Give the bytes of its file."""
        return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in self.lines()).encode()


def _said(piece: bytes) -> JSON:
    try:
        return {"text": piece.decode()}
    except UnicodeDecodeError:  # a piece may end in the middle of a character
        return {"base64": base64.b64encode(piece).decode()}


def file_name(recording: Recording) -> str:
    """Name a recording's file by its model, its prompt, how far the talk was, its key and its number."""
    model = re.sub(r"[^a-z0-9.-]+", "-", recording.model.lower())[:60]
    words = re.sub(r"[^a-z0-9]+", "-", prompt_of(recording.body).lower())[:40].strip("-")
    turn = f"turn{len(normalised(recording.body or {}).get('contents', ()))}"
    key = request_key(recording.model, recording.body or {})[:_DIGITS]
    return "_".join([model, *([words] if words else []), turn, key, f"{recording.number}.jsonl"])


def read_recording(path: Path) -> Recording:
    """Read a recording's file; one that ends in `.txt` is an answer's body alone, for the model of its name.

    Raises:
        ConfigError: it is none, or of a version that is not known.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".txt":
            return _of_body(path.stem, data)
        # Not splitlines(), which also splits at separators that stand inside of JSON strings.
        head, answer, *rest = [json.loads(line) for line in data.decode().split("\n") if line]
        if head["recording"] != _VERSION or head["method"] != _METHOD:
            raise ConfigError(f"{path.name} is a recording of a kind that this version cannot read.")
        *pieces, end = rest
        return Recording(
            model=str(head["model"]),
            body=head["body"],
            number=int(head["number"]),
            time=str(head["time"]),
            wait=float(answer["after"]),
            status=int(answer["status"]),
            headers=dict(answer["headers"]),
            pieces=tuple((float(piece["after"]), _bytes_of(piece)) for piece in pieces),
            end=_ENDS[end["end"]],
            end_wait=float(end["after"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path.name} is not a recording: {type(error).__name__}: {error}", hint="Record it again."
        ) from None


def _bytes_of(piece: JSON) -> bytes:
    if "text" in piece:
        return str(piece["text"]).encode()
    return base64.b64decode(piece["base64"], validate=True)


def _of_body(name: str, data: bytes) -> Recording:
    """A body without its request and its times, as others record them."""
    status, kind = 200, "text/event-stream"
    if not data.lstrip().startswith(b"data:"):
        status, kind = int(json.loads(data)["error"]["code"]), "application/json"
    return Recording(
        model=name, body=None, status=status, headers={"content-type": kind}, pieces=((0.0, data),)
    )


# ------------------------------------------------------------------------------------ what makes two the same


def request_key(model: str, body: JSON, *, results: bool = True) -> str:
    """A fingerprint that two requests share where one's answer is the other's, too.

    Args:
        model: the model's id.
        body: the request's body.
        results: whether what the tools returned counts.
    """
    text = json.dumps([model, normalised(body, results=results)], sort_keys=True)
    return hashlib.sha256(scrub(text).encode()).hexdigest()


def normalised(body: JSON, *, results: bool = True) -> JSON:
    """Bring a body into the one form of all that mean the same.

    Args:
        body: a request's body.
        results: whether what the tools returned counts.
    """
    found: JSON = {_UNDERSCORE.sub(lambda m: m[1].upper(), name): value for name, value in body.items()}
    contents = found.get("contents", [])
    found["contents"] = [
        {**content, "role": content.get("role") or "user", "parts": _parts(content, results=results)}
        for content in objects(contents if isinstance(contents, list) else [contents])
    ]
    found["tools"] = _tools(found.get("tools"))
    return {
        name: plain
        for name, value in found.items()
        if name not in _SAYS_NOTHING and (plain := _plain(value)) not in (None, [], {})
    }


def _parts(content: JSON, *, results: bool) -> list[Any]:
    parts = content.get("parts")
    listed = parts if isinstance(parts, list) else [parts]
    return listed if results else [_without_result(part) for part in listed]


def _without_result(part: Any) -> Any:
    response = part.get("functionResponse") if isinstance(part, dict) else None
    if not isinstance(response, dict):
        return part
    return {"functionResponse": {k: v for k, v in response.items() if k not in {"response", "parts"}}}


def _tools(tools: Any) -> list[Any]:
    """The functions by name, since the wording of their schemas differs with the versions of libraries."""
    names: set[str] = set()
    others = []
    for tool in objects(tools if isinstance(tools, list) else [tools]):
        rest = dict(tool)
        for field_name in ("functionDeclarations", "function_declarations"):
            names |= {str(one.get("name")) for one in objects(rest.pop(field_name, None))}
        if rest:
            others.append(rest)
    return [*sorted(names), *sorted(others, key=lambda tool: json.dumps(tool, sort_keys=True))]


def _plain(value: Any) -> Any:
    """JSON with one way to write a number, and without fields that are null."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def prompt_of(body: JSON | None) -> str:
    """The last text that somebody asked, empty where there is none."""
    contents = (body or {}).get("contents")
    for content in reversed(list(objects(contents if isinstance(contents, list) else [contents]))):
        if content.get("role", "user") == "user":
            parts = objects(content.get("parts"))
            words = " ".join(part["text"] for part in parts if isinstance(part.get("text"), str))
            if words.strip():
                return " ".join(words.split())
    return ""
