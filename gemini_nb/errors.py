"""Every error this package raises on purpose, grouped by whose fault it is.

    GeminiError
    ├── TransportError              the wire: no connection, reset, silence
    │   ├── ConnectError              no connection could be made
    │   ├── IdleTimeoutError          connected, but nothing arrived for too long
    │   └── StreamCutError            the answer stopped before its finishReason
    ├── APIError                    the server: it said no, by status or inside the stream
    │   ├── PromptBlockedError        the prompt was refused, there is no answer
    │   └── EmptyAnswerError          the model ended without an answer, however often it was asked
    ├── ProtocolError               the server: what it sent is not Gemini's protocol
    ├── TurnLimitError              the model: it went on asking for tools
    ├── SchemaMismatchError         the model: its answer does not fit the schema
    ├── NotAskedError               the stream it waited for did not complete; nothing was sent
    ├── NotKeptError                no answer is kept, and nothing could be asked
    ├── InternalError               us: a bug, or a background loop that died
    └── CallerError                  the caller
        ├── ConfigError               (ValueError) a setting, key or name does not fit
        │   └── MissingKeyError          there is no key or project to ask with
        ├── ArgumentError             (TypeError) a call that cannot be understood
        ├── StreamNotFoundError       (LookupError) no stream of that id
        └── BlockingCallError         (RuntimeError) a wait that could never end

No exception of httpx, json or asyncio leaves the package: catching `GeminiError` catches them all.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

E = TypeVar("E", bound=Exception)

clean: Callable[[str], str] = str
"""Takes keys and tokens out of every message; `redaction`, which stands below, puts its scrubber here."""


class GeminiError(Exception):
    """What went wrong, whose fault it is and what to do next.

    Attributes:
        message: what happened, in one sentence.
        hint: what the user can do about it; empty where there is nothing to say.
        status_code: the HTTP status or in-stream error code, None where the server never answered.
        api_status: Google's name for the status, such as "RESOURCE_EXHAUSTED".
        retry_after: seconds the server asked to wait, None where it did not.
        attempts: requests made for the model call that failed.
        is_permanent: whether asking again cannot help, though others of its kind pass.
        per_minute: requests a minute that the server says it allows, None where it does not.
        is_foreign: whether something else answered in the service's place, such as a hotel's login page.
        is_of_tools: whether a server of tools is at fault, so that all that use it fail alike.
    """

    per_minute: float | None = None
    is_of_tools = False

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        status_code: int | None = None,
        api_status: str | None = None,
        retry_after: float | None = None,
        attempts: int = 1,
        is_permanent: bool = False,
        is_foreign: bool = False,
    ) -> None:
        message, hint = clean(message), clean(hint)
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.status_code = status_code
        self.api_status = api_status
        self.retry_after = retry_after
        self.attempts = attempts
        self.is_permanent = is_permanent
        self.is_foreign = is_foreign

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()

    def _render_traceback_(self) -> list[str]:
        # IPython shows these lines in place of forty lines of event loop, whose frames (under
        # `%xmode Verbose`, with their variables) say nothing about a refused request.
        return [f"{type(self).__name__}: {self}"]


class Interrupted(KeyboardInterrupt):
    """A wait was interrupted; the message says what became of what was waited for."""

    def _render_traceback_(self) -> list[str]:  # IPython shows this in place of the frames
        return [f"KeyboardInterrupt: {self}"]


class TransportError(GeminiError):
    """The connection failed, broke or fell silent."""


class ConnectError(TransportError):
    """No connection could be made: name, route, proxy, TLS or a server that is down."""


class IdleTimeoutError(TransportError):
    """The connection stood, but no byte arrived within the idle timeout."""


class StreamCutError(TransportError):
    """The answer ended before the model said that it was finished.

    A body that ends properly but without a finishReason was cut, too: reading it as complete would
    lose the rest of the answer without a word.
    """


class APIError(GeminiError):
    """The server refused the request, or reported an error inside the stream."""


class PromptBlockedError(APIError):
    """The prompt was blocked before the model answered; asking again gives the same."""


class EmptyAnswerError(APIError):
    """The model ended its turn without an answer, however often it was asked again."""


class ProtocolError(GeminiError):
    """The server's answer is not a Gemini stream, for example a login page of a proxy."""


class TurnLimitError(GeminiError):
    """The model asked for tools in more rounds than `turn_limit` allows."""


class SchemaMismatchError(GeminiError):
    """The answer does not have the form that was asked for; its text stays."""


class NotAskedError(GeminiError):
    """The stream was not asked, since one that it waited for failed, was stopped or was asked again."""


class NotKeptError(GeminiError):
    """No answer is kept to what the stream asked, and there is no network or no key to ask with."""


class InternalError(GeminiError):
    """Something in this package failed; the streams it touched ended with this error."""

    @classmethod
    def of(cls, bug: Exception) -> InternalError:
        """Return the error that a stream ends with where this was raised."""
        return cls(
            f"gemini_nb failed: {type(bug).__name__}: {bug}",
            hint="This is a bug of gemini_nb's; the other streams go on.",
        )


class CallerError(GeminiError):
    """The call itself was wrong; nothing was sent."""


class ConfigError(CallerError, ValueError):
    """A setting, key, URL or name does not fit."""


class MissingKeyError(ConfigError):
    """There is no API key, or no project of Google Cloud, to ask with."""


class ArgumentError(CallerError, TypeError):
    """The arguments contradict each other, are missing, or are of a type that cannot be sent."""


class StreamNotFoundError(CallerError, LookupError):
    """No stream has this id, or it left the bounded history of finished streams."""


class BlockingCallError(CallerError, RuntimeError):
    """A blocking call was made where the wait could never end, such as on the thread that would end it."""


def without_traceback(error: E) -> E:
    """Return the error without its traceback and context.

    Their frames belong to the transport and hold the request's headers, which a user's traceback must not
    show.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Ask "Did you mean trip?" where one of the known words is nearly this one; else return nothing."""
    near = difflib.get_close_matches(word, known, 1, 0.7)
    return f"Did you mean {near[0]}?" if near else ""


def kind_of(value: object) -> str:
    """Return what a value is, for a message that says what it is not: "an int", "None"."""
    return "None" if value is None else with_article(type(value).__name__)


def with_article(name: str) -> str:
    """Put "a" or "an" before a name, as it is said: a UserDict, an object, an ndarray, an SSLContext."""
    spoken = name.lstrip("_")
    is_an = re.match(r"[AEIOaeio]|[FHLMNRSX][A-Z]", spoken) or name == "ndarray"
    return f"{'an' if is_an else 'a'} {name}"
