"""Settings: what a call says, then what the user configured, then the environment, then the defaults.

The environment is read as google-genai reads it, so a notebook that works with one works with the other, and
at every call, so a key set in a cell counts at once.
"""

from __future__ import annotations

import functools
import ipaddress
import math
import numbers
import operator
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeGuard
from urllib.parse import urlsplit

from gemini_nb.errors import ArgumentError, ConfigError, MissingKeyError
from gemini_nb.redaction import Secret, excerpt_of

DEFAULT_MODEL = "gemini-3.8-flash"
"""The model google-genai's documentation uses everywhere, November 2026."""

WELL_KNOWN_MODELS = (
    DEFAULT_MODEL,
    "gemini-flash-latest",
    "gemini-flash-lite-latest",
    "gemini-pro-latest",
)
"""Models to offer before any was used."""

DEFAULT_KEEP = "answers.jsonl"
"""The file of kept answers where no other is named: beside the notebook, in which kernels run."""

_MODEL = re.compile(r"(?!/)[^\s\x00-\x1f\x7f?&#%\\{}]+(?<!/)")
_ODD = re.compile(r'[\x00-\x20\x7f\\"<>]')
_FOLDER_VARIABLES = ("LOCALAPPDATA", "USERPROFILE") if os.name == "nt" else ("XDG_DATA_HOME", "HOME")
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


class Auth(StrEnum):
    """Which service answers, and how a request proves who asks."""

    GEMINI = "gemini"
    VERTEX_AI = "vertex_ai"
    SIMULATOR = "simulator"
    RECORDING = "recording"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Defaults for every stream of a manager; None leaves the decision to the environment.

    Attributes:
        auth: "gemini", "vertex_ai", "simulator" or "recording".
        model: the model's id.
        keep: the file or folder of kept answers, True for "answers.jsonl", False for none; by default
            GEMINI_NB_KEEP says.
        folder: where files of kept answers are; by default the folder in which the process is at that moment.
        replay_pace: what the pauses of an answer are multiplied by that "recording" plays back; 0 for at
            once.
        allow_http: send keys over plain http to other machines, too. Loopback is always allowed.
        max_event_bytes: largest single event accepted from a server.
        on_cut: "restart" or "keep", what becomes of an answer that broke; see `RetryPolicy`.
        journal: the file of the journal, True for one in the user's data, False or "off" for none; by default
            GEMINI_NB_JOURNAL says, or it is on.
        journal_megabytes: how much text the journal keeps; the oldest goes first.
    """

    auth: str | None = None
    model: str | None = None
    keep: str | os.PathLike[str] | bool | None = None
    folder: str | None = None
    replay_pace: float = 1.0
    allow_http: bool = False
    max_event_bytes: int = 256 * 2**20
    on_cut: Literal["restart", "keep"] = "restart"
    journal: str | os.PathLike[str] | bool | None = None
    journal_megabytes: int = 256


def whole_number(value: Any) -> int | None:
    """Return a whole number as an int, numpy's too; None where it is none: True and 2.0 are not."""
    try:
        return None if truth_value(value) is not None else operator.index(value)
    except TypeError:
        return None


def real_number(value: Any) -> float | None:
    """Return a number as an int or a float, numpy's too; None for True, NaN, and what no float can hold."""
    whole = whole_number(value)
    if truth_value(value) is not None or not isinstance(value, (numbers.Real, Decimal)):
        return None
    try:
        number = float(value)
    except (OverflowError, ValueError):  # 10**400, a signalling NaN
        return None
    return None if math.isnan(number) else number if whole is None else whole


def seconds_to_wait(timeout: Any) -> float | None:
    """Return how long a wait may last, None for as long as it takes.

    Raises:
        ConfigError: it is no number.
    """
    seconds = None if timeout is None else real_number(timeout)
    if seconds is None and timeout is not None:
        raise ConfigError(f"timeout is a number of seconds, or None, not {excerpt_of(timeout)}.")
    return seconds


def truth_value(value: Any) -> bool | None:
    """Return True or False, numpy's too, as a bool; None where it is neither: 1 and "yes" are not."""
    kind = type(value)
    is_numpys = kind.__module__ == "numpy" and kind.__name__ in {"bool", "bool_"}
    return bool(value) if is_numpys or isinstance(value, bool) else None


def choose_model(model: str | None, settings: Settings) -> str:
    """Return the model to ask; ids are not validated, since new ones appear every month.

    Raises:
        ConfigError: the id cannot be part of a URL.
    """
    chosen = model or settings.model or os.environ.get("GEMINI_NB_MODEL") or DEFAULT_MODEL
    if not is_model(chosen):
        raise ConfigError(f"{chosen!r} is not a model id.", hint=f'One looks like "{DEFAULT_MODEL}".')
    return chosen


def is_model(model: object) -> TypeGuard[str]:
    """Whether this can be a model's id, and so a part of a URL."""
    return isinstance(model, str) and ".." not in model and _MODEL.fullmatch(model) is not None


def choose_auth(auth: str | None, credentials: object, settings: Settings) -> Auth:
    """Decide who answers: the argument, the credentials' kind, the configuration, the environment.

    The simulator is never chosen because a key is missing: a made-up answer must not pass for a real one.

    Raises:
        ConfigError: an unknown name, or nothing says which.
    """
    if auth is None and credentials is not None:
        return _auth_of(credentials)
    chosen = auth or settings.auth or os.environ.get("GEMINI_NB_AUTH")
    if chosen:
        try:
            return Auth(chosen)
        except ValueError:
            names = ", ".join(f'"{name}"' for name in Auth)
            raise ConfigError(f"There is no auth {chosen!r}.", hint=f"It is one of {names}.") from None
    if _flag("GOOGLE_GENAI_USE_ENTERPRISE", _flag("GOOGLE_GENAI_USE_VERTEXAI", default=False)):
        return Auth.VERTEX_AI
    if environment_key() is not None:
        return Auth.GEMINI
    raise missing_key()


def _auth_of(credentials: object) -> Auth:
    if isinstance(credentials, Mapping):
        vertex = {"project_id", "location", "service_account", "access_token"}
        return Auth.VERTEX_AI if vertex & set(credentials) else Auth.GEMINI
    return Auth.VERTEX_AI


def environment_key() -> Secret | None:
    """The API key of the environment; GOOGLE_API_KEY wins over GEMINI_API_KEY, as in google-genai."""
    key = os.environ.get("GOOGLE_API_KEY", "").strip() or os.environ.get("GEMINI_API_KEY", "").strip()
    return Secret(key) if key else None


def missing_key() -> MissingKeyError:
    """The error for a stream that has no key to show."""
    return MissingKeyError(
        "No Gemini API key was found.",
        hint=(
            "Set GEMINI_API_KEY or GOOGLE_API_KEY (or GOOGLE_GENAI_USE_VERTEXAI with GOOGLE_CLOUD_PROJECT), "
            'pass credentials={"api_key": ...}, or try it without a key: `--auth simulator`, '
            'in Python auth="simulator".'
        ),
    )


def check_base_url(url: str, *, allow_http: bool) -> str:
    """Return the URL without a trailing slash if a key may be sent there.

    Raises:
        ConfigError: not an http(s) URL, with a query or credentials in it, or plain http to another machine.
    """
    checked = check_url(url, allow_http=allow_http)
    if "?" in checked:
        raise ConfigError("A base URL has no query.", hint="A full URL goes into `endpoint`.")
    return checked.rstrip("/")


def check_url(url: str, *, allow_http: bool) -> str:
    """Return the URL as it is if a key may be sent there.

    Raises:
        ConfigError: not an http(s) URL, with credentials or a fragment, or plain http to another machine.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except (ValueError, AttributeError, TypeError):
        host, parts = None, urlsplit("")
    # urlsplit drops line ends and passes over blanks and backslashes, which others read in other ways.
    odd = not isinstance(url, str) or _ODD.search(url) is not None
    if odd or not host or parts.scheme not in {"http", "https"}:
        raise ConfigError(
            f"{_shown(url)} is not a base URL.",
            hint='One looks like "https://host" or "http://127.0.0.1:8765".',
        )
    if "@" in parts.netloc or "#" in url:
        raise ConfigError(
            "The base URL must not carry a user, password or fragment.",
            hint='Leave it out; a key goes into credentials={"api_key": ...}.',
        )
    if parts.scheme == "http" and not (allow_http or is_loopback(host)):
        raise ConfigError(
            f"A key would travel unencrypted to {host}.",
            hint="Use https, or allow it with GEMINI_NB_ALLOW_HTTP=1 if that network is yours.",
        )
    return url


def check_header(name: object, value: object) -> None:
    """Refuse what cannot be an HTTP header.

    Raises:
        ArgumentError: the name or the value is none.
    """
    if not isinstance(name, str) or not isinstance(value, str):
        raise ArgumentError(f"A header's name and value are text; {name!r} is not.")
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        raise ArgumentError(f"{name!r} is not a name that a header can have.")
    if not (value.isascii() and value.isprintable()):
        raise ArgumentError(
            f"The header {name} holds what no header can: a line end, or a letter beyond ASCII."
        )


def http_allowed(settings: Settings) -> bool:
    """Whether plain http to other machines was explicitly allowed."""
    return settings.allow_http or _flag("GEMINI_NB_ALLOW_HTTP", default=False)


def choose_keep(keep: object, settings: Settings) -> str | None:
    """Return the path of the file of kept answers, None where none is used.

    Args:
        keep: the call's own: a path, True for `answers.jsonl`, False for none, None for what is configured.
        settings: the manager's defaults.

    Raises:
        ConfigError: it is no path.
    """
    configured = None if settings.keep == "" else settings.keep  # as `%config` is used to take it back
    for value in (keep, configured, os.environ.get("GEMINI_NB_KEEP", "").strip() or None):
        if value is not None:
            return _keep_path(value, settings)
    return None


def _keep_path(value: Any, settings: Settings) -> str | None:
    path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    is_on = truth_value(value)
    if isinstance(path, str) and path.lower() in _TRUE | _FALSE:
        is_on = path.lower() in _TRUE
    if is_on is not None:
        return _default_keep(settings) if is_on else None
    if not isinstance(path, str) or not path.strip():
        raise ConfigError(
            f"{excerpt_of(value)} is not a file of kept answers.",
            hint=f'It is a path, such as "{DEFAULT_KEEP}".',
        )
    if settings.folder is None or path.startswith("~") or Path(path).is_absolute():
        return path
    # One name is one file, wherever `%cd` has led.
    return os.path.join(settings.folder, path)  # noqa: PTH118 - a Path would lose a "/" at its end


def _default_keep(settings: Settings) -> str:
    return str(Path(settings.folder or "", DEFAULT_KEEP))


def replay_pace(settings: Settings) -> float:
    """What the pauses of an answer that is played back are multiplied by.

    Raises:
        ConfigError: it is not a number, or negative.
    """
    pace = settings.replay_pace
    number = real_number(pace)
    if number is None or not 0 <= number < math.inf:
        raise ConfigError(f"replay_pace is a number, 0 or more, not {excerpt_of(pace)}.")
    return float(number)


def journal_path(settings: Settings) -> tuple[Path, bool] | None:
    """The journal's file, and whether its folder is ours alone; None where the journal is off."""
    configured = settings.journal
    if isinstance(configured, bool):
        configured = "on" if configured else "off"
    chosen = os.fspath(configured or os.environ.get("GEMINI_NB_JOURNAL", "")).strip()
    if chosen.lower() in _FALSE:
        return None
    if chosen and chosen.lower() not in _TRUE:
        return Path(chosen).expanduser(), False
    return _default_journal(*map(os.environ.get, _FOLDER_VARIABLES)), True


@functools.lru_cache(maxsize=4)
def _default_journal(*_: str | None) -> Path:
    """Return the file in the user's data, looked up anew when a variable that it depends on changes."""
    import platformdirs

    return platformdirs.user_data_path("gemini_nb", appauthor=False) / "journal.db"


def simulator_pace() -> float:
    """What pauses of simulated answers are multiplied by: GEMINI_NB_SIMULATOR_PACE, or 1.

    Raises:
        ConfigError: it is not a number, or negative.
    """
    value = os.environ.get("GEMINI_NB_SIMULATOR_PACE", "1")
    try:
        pace = float(value)
    except ValueError:
        pace = -1.0
    if not 0 <= pace < math.inf:
        raise ConfigError(f"GEMINI_NB_SIMULATOR_PACE is a number, 0 or more, not {value!r}.")
    return pace


@functools.lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _shown(url: object) -> str:
    # What stands before an @ is a password.
    return repr(str(url).rpartition("@")[2][:100])


def _flag(name: str, default: bool) -> bool:
    value = os.environ.get(name)
    return default if value is None else value.strip().lower() in _TRUE
