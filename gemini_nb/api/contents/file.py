"""Files that a user sends: a path, an address, a link to a film, or the name of an upload.

A small file goes inside the request; a large one stands there as its path, which only the program that made
the `File` can turn into an upload: a `file:` address that a model, a server or a chat's file brings along
names no file of this machine.
"""

from __future__ import annotations

import base64
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from gemini_nb.api.contents.local_file import printable, unreadable
from gemini_nb.api.contents.mime import BEGINNING, type_of, type_of_name
from gemini_nb.errors import ArgumentError, ConfigError, kind_of
from gemini_nb.redaction import Secret, scrub
from gemini_nb.sealing import seal_options

_MB = 2**20
MAX_REQUEST_BYTES = 100 * _MB
"""Largest request that Gemini takes."""

MAX_INLINE_BYTES = MAX_REQUEST_BYTES * 3 // 4
"""Largest file sent inside a request: base64 makes four bytes of three."""

MAX_PDF_BYTES = 50 * _MB
"""Largest PDF sent inside a request."""

UPLOAD_FROM = 20 * _MB
"""Largest file that is sent inside each request; a larger one is uploaded once, where the service can."""

MAX_FILE_BYTES = 2048 * _MB
"""Largest file that Gemini takes."""

UPLOAD_INSTEAD = "gemini_nb.File(path) uploads a large file by the Files API; a larger PDF has to be split."

_NAME = re.compile(r"files/[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_GOOGLE = "https://generativelanguage.googleapis.com/v1beta/"
_UPLOADED = re.compile(rf"https://generativelanguage\.googleapis\.com/v\w+/({_NAME.pattern})")
_FILMS = re.compile(r"(?:(?:www\.|m\.|music\.)?youtube(?:-nocookie)?\.com|youtu\.be)", re.IGNORECASE)
_SECRET = re.compile(
    r"(?:.*[-_.])?(?:key|token|sig|signature|credential|secret|password|auth)|awsaccesskeyid|googleaccessid",
    re.IGNORECASE,
)
_MIME_TYPE = re.compile(r"[\w.+-]+/[\w.+*-]+(;.*)?")
_SEALED = 64  # addresses whose signatures are kept out of what is shown, the newest

_given: dict[str, Path] = globals().get("_given", {})  # survives a reload of this module
_sealed: OrderedDict[str, list[Secret]] = OrderedDict()
_lock = threading.Lock()

Deleter = Callable[["File", dict[str, Any]], bool]


class _Remote:
    """Holds the function that deletes uploads: `gemini_nb.streams` sets it, which cannot be imported here."""

    delete: Deleter


remote = _Remote()


class File:
    """A file to send, in a prompt or as a tool's result; a bare path or address is only text.

    A file of up to 20 MB goes inside each request. A larger one is uploaded when it is first sent, and once:
    it is known again by its content until the upload expires, after 48 hours, also in another kernel.

    Args:
        path_or_uri: a path; an `https://` address, which Google reads; a link to a film on YouTube; a `gs://`
            address, for Vertex AI; or the name of an upload, such as "files/abc-123", where there is no such
            path.
        mime_type: its type; by default what its name and its beginning say.

    Raises:
        ConfigError: there is no such file, it cannot be read, is empty or too large, its type is not known,
            or the address cannot be sent.
    """

    def __init__(self, path_or_uri: str | os.PathLike[str], mime_type: str | None = None) -> None:
        if not isinstance(path_or_uri, (str, os.PathLike)):
            raise ArgumentError(f"A File is a path or an address, not {kind_of(path_or_uri)}.")
        if mime_type is not None and not (isinstance(mime_type, str) and _MIME_TYPE.fullmatch(mime_type)):
            raise ConfigError(f"{mime_type!r} is not a MIME type.", hint='One looks like "image/png".')
        self.path: Path | None = None
        self.uri: str | None = None
        self.mime_type = mime_type
        text = path_or_uri if isinstance(path_or_uri, str) else ""
        if "://" in text:
            self.uri = _checked_uri(text)
            self.mime_type = mime_type or _type_of_uri(self.uri)
        elif _NAME.fullmatch(text) and not Path(text).exists():
            self.uri = text
        else:
            self.path = _checked_path(path_or_uri)
            _check_file(self.path, "")
            self.mime_type = mime_type or _type_of_file(self.path)
            _check_file(self.path, self.mime_type)

    def __repr__(self) -> str:
        if self.uri is None:
            return f"File({str(self.path)!r})"
        address, question, _ = self.uri.partition("?")
        return f"File({scrub(address + question + '…' * bool(question))!r})"

    def part(self, *, inside: int = UPLOAD_FROM) -> dict[str, Any]:
        """Return the part to send: text as text, everything else as data, or as what is to be uploaded.

        Args:
            inside: the largest size that goes inside the request.

        Raises:
            ConfigError: it cannot be read, or has grown too large.
        """
        path = self.path
        if path is None:
            mime_type = {"mimeType": self.mime_type} if self.mime_type else {}
            address = f"{_GOOGLE}{self.uri}" if is_upload_name(str(self.uri)) else self.uri
            return {"fileData": {**mime_type, "fileUri": address}}
        kind = str(self.mime_type)
        is_large = _check_file(path, kind) > inside
        return local_part(path, kind) if is_large else content_part(path, kind)

    def delete(self, **options: Any) -> bool:
        """Delete the uploads of this file from Google's servers; the file on this machine stays.

        Args:
            **options: `auth`, `credentials`, `base_url` and `api_version`, as `start_stream` takes them.

        Returns:
            Whether there was an upload to delete.

        Raises:
            ConfigError: it is an address, which was never uploaded.
            GeminiError: the service refuses, or cannot be reached.
        """
        seal_options(options)
        if self.uri is not None and upload_name(self.uri) is None:
            raise ConfigError(f"{self!r} is an address; nothing of it was uploaded.")
        return remote.delete(self, options)


def parts_together(files: list[File]) -> list[dict[str, Any]]:
    """Return the parts of files that go together; where all are too large for one request, few go inside.

    Raises:
        ConfigError: one cannot be read.
    """
    sizes = [0 if file.path is None else _check_file(file.path, str(file.mime_type)) for file in files]
    inside = UPLOAD_FROM
    while inside > _MB and sum(size for size in sizes if size <= inside) > MAX_INLINE_BYTES:
        inside //= 2
    return [file.part(inside=inside) for file in files]


def content_part(path: Path, mime_type: str) -> dict[str, Any]:
    """Read a file and return it as a part: text as text, everything else as data.

    Raises:
        ConfigError: it cannot be read, or is too large.
    """
    _check_file(path, mime_type)
    check_size(path.stat().st_size, mime_type, printable(str(path)))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None
    if mime_type.startswith("text/") or mime_type == "application/json":
        try:
            return {"text": f"{printable(path.name)}:\n{data.decode()}"}
        except UnicodeDecodeError:
            pass
    return inline_data(data, mime_type, name=printable(str(path)))


def local_part(path: Path, mime_type: str) -> dict[str, Any]:
    """Return the part for a file that is uploaded before it is sent."""
    path = path.absolute()
    uri = path.as_uri()
    _given[uri] = path
    return {"fileData": {"mimeType": mime_type, "fileUri": uri, "displayName": printable(path.name)}}


def given_path(uri: str) -> Path | None:
    """Return the path behind the address of a local file that this program was given; None for all others."""
    return _given.get(uri)


def is_upload_name(uri: str) -> bool:
    """Whether this is the bare name of an upload."""
    return _NAME.fullmatch(uri) is not None


def upload_name(uri: str, root: str | None = None) -> str | None:
    """Return the name of the upload that an address means, None where it means none.

    Args:
        uri: a name, or an address as the service gives it out.
        root: where the service's files are, for a service that is not at Google's address.
    """
    if is_upload_name(uri):
        return uri
    if (found := _UPLOADED.fullmatch(uri)) is not None:
        return found[1]
    name = f"files/{uri.rpartition('/')[2]}"
    return (
        name
        if root is not None and uri == f"{root}/{name.partition('/')[2]}" and is_upload_name(name)
        else None
    )


def _checked_path(path: str | os.PathLike[str]) -> Path:
    try:
        return Path(path).expanduser()
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(f"{printable(str(path))} is no path: {error}.") from None


def _checked_uri(uri: str) -> str:
    """Return the address if it can be sent; its signature, where it has one, is shown nowhere.

    Raises:
        ConfigError: it cannot.
    """
    try:
        parts = urlsplit(uri)
        host = parts.hostname
    except ValueError:
        parts, host = urlsplit(""), None
    shown = printable(scrub(uri.partition("?")[0]))
    if not host or not uri.isprintable() or " " in uri:
        raise ConfigError(f"{shown} is no address.", hint='One looks like "https://host/film.mp4".')
    if parts.scheme == "gs" and len(parts.path) > 1:
        return uri
    if parts.scheme != "https":
        raise ConfigError(
            f"{shown} cannot be sent: Google reads https:// and gs:// addresses.",
            hint="Download it, and pass its path.",
        )
    if "@" in parts.netloc:
        raise ConfigError(
            "The address of a file must not hold a user or a password.",
            hint="Download the file, and pass its path.",
        )
    _seal(uri, shown)
    return uri


def _seal(uri: str, shown: str) -> None:
    """Keep the signature of an address out of what is shown; refuse one with a key of the user's in it."""
    parts = urlsplit(uri)
    values = parse_qsl(parts.query)
    with _lock:
        signatures = {secret.reveal() for secrets in _sealed.values() for secret in secrets}
        texts = [uri.partition("?")[0], *(value for _, value in values if value not in signatures)]
        if any(scrub(text) != text for text in texts):
            raise ConfigError(
                f"{shown} holds a password or one of your keys, which Google and the model would see.",
                hint="Download the file, and pass its path.",
            )
        if secrets := [Secret(value) for name, value in values if value and _SECRET.fullmatch(name)]:
            _sealed[uri] = secrets
            _sealed.move_to_end(uri)
            while len(_sealed) > _SEALED:
                _sealed.popitem(last=False)


def _type_of_uri(uri: str) -> str | None:
    parts = urlsplit(uri)
    if _FILMS.fullmatch(parts.hostname or ""):
        return "video/*"
    return type_of_name(unquote(parts.path).rpartition("/")[2])


def _check_file(path: Path, mime_type: str) -> int:
    """Return the size of a file that can be sent.

    Raises:
        ConfigError: it cannot.
    """
    shown = printable(str(path))
    try:
        size = path.stat().st_size
        is_file = path.is_file()
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    if not is_file:
        folder = ", but a folder" if path.is_dir() else ""
        raise ConfigError(f"{shown} is not a file{folder}.", hint="Pass files, each by itself.")
    if not size:
        raise ConfigError(f"{shown} is empty.", hint="Gemini takes no empty file.")
    if mime_type == "application/pdf":
        check_size(size, mime_type, shown)
    if size > MAX_FILE_BYTES:
        raise ConfigError(
            f"{shown} has {size / _MB:,.1f} MB; a file has {MAX_FILE_BYTES // _MB:,} MB at most.",
            hint="Send it in parts.",
        )
    return size


def _type_of_file(path: Path) -> str:
    kind = type_of(path.name, _beginning(path))
    if kind is None:
        raise ConfigError(
            f"The type of {printable(str(path))} is not known.",
            hint='Name it in Python: gemini_nb.File(path, "image/png").',
        )
    return kind


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(BEGINNING)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None


def inline_data(data: bytes, mime_type: str, *, name: str = "The data") -> dict[str, Any]:
    """Return a part that holds a file.

    Raises:
        ConfigError: it is larger than a request may be.
    """
    check_size(len(data), mime_type, name)
    return {"inlineData": {"mimeType": mime_type, "data": base64.b64encode(data).decode("ascii")}}


def check_size(size: int, mime_type: object, name: str) -> None:
    """Refuse what is too large to go inside a request.

    Raises:
        ConfigError: it is.
    """
    if mime_type == "application/pdf" and size > MAX_PDF_BYTES:
        limit = f"a PDF inside a request has {MAX_PDF_BYTES // _MB} MB at most"
    elif size > MAX_INLINE_BYTES:
        limit = (
            f"a file inside a request has {MAX_INLINE_BYTES // _MB} MB at most, since base64 makes a third"
            f" more of it and a request has {MAX_REQUEST_BYTES // _MB} MB at most"
        )
    else:
        return
    raise ConfigError(f"{name} has {size / _MB:.1f} MB; {limit}.", hint=UPLOAD_INSTEAD)
