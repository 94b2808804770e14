"""`%config GeminiNB`: defaults for every stream of the notebook, also from IPython's configuration file."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from traitlets import Bool, CaselessStrEnum, Float, Int, Unicode, Union, observe
from traitlets.config import Configurable

from gemini_nb.config import Auth, real_number, whole_number
from gemini_nb.streams.manager import StreamManager

_OF_STREAMS = ("model", "auth", "on_cut", "keep", "replay_pace", "journal", "journal_megabytes")
_OF_THE_MANAGER = (*_OF_STREAMS, "history", "max_concurrent")


class _Number(Float):  # type: ignore[type-arg]  # older traitlets cannot be subscripted
    """A number; traitlets takes NaN for one within any limits."""

    def validate(self, obj: Any, value: Any) -> Any:
        """Return the value, numpy's as a float; refuse NaN, infinity and what no float can hold."""
        number = real_number(value)
        if number is None or not math.isfinite(number):
            self.error(obj, value)
        return super().validate(obj, float(number))


class _Whole(Int):  # type: ignore[type-arg]  # older traitlets cannot be subscripted
    """A whole number; traitlets takes True for one, and not numpy's."""

    def validate(self, obj: Any, value: Any) -> Any:
        """Return the value as an int."""
        number = whole_number(value)
        if number is None:
            self.error(obj, value)
        return super().validate(obj, number)


class GeminiNB(Configurable):
    """Defaults of gemini_nb in this shell."""

    model = Unicode(None, allow_none=True, help="The model's id; by default GEMINI_NB_MODEL says.").tag(
        config=True
    )
    auth = CaselessStrEnum(
        [str(auth) for auth in Auth],
        None,
        allow_none=True,
        help="Who answers; by default the environment says.",
    ).tag(config=True)
    wait = Bool(False, help="Whether a cell ends only when its answer has.").tag(config=True)
    paints_per_second = _Number(20.0, min=0.5, max=60.0, help="How often a pane is drawn at most.").tag(
        config=True
    )
    history = _Whole(200, min=0, help="Finished streams that stay listed.").tag(config=True)
    on_cut = CaselessStrEnum(
        ["restart", "keep"],
        "restart",
        help="Ask again when an answer breaks off, or keep what came.",
    ).tag(config=True)
    keep = Union(
        [Bool(), Unicode()],
        default_value=None,
        allow_none=True,
        help="The file or folder of kept answers, which are not asked for again; True for answers.jsonl.",
    ).tag(config=True)
    replay_pace = _Number(
        1.0, min=0.0, help="What the pauses of recorded answers are multiplied by; 0 for at once."
    ).tag(config=True)
    max_concurrent = _Whole(
        None, allow_none=True, min=1, help="Streams of one model that run at a time; None for no limit."
    ).tag(config=True)

    journal = Union(
        [Bool(), Unicode()],
        default_value=None,
        allow_none=True,
        help="The file that keeps all answers, or off; by default GEMINI_NB_JOURNAL, or in your data",
    ).tag(config=True)
    journal_megabytes = _Whole(
        256, min=1, max=2**40, help="Text that the journal keeps; the oldest goes first."
    ).tag(config=True)

    def __init__(self, manager: StreamManager, **options: Any) -> None:
        self._manager = manager
        self._folder = _here()
        self._set_folder()
        super().__init__(**options)  # applies what the configuration sets

    @classmethod
    def of(cls, shell: Any, manager: StreamManager) -> GeminiNB:
        """Return a shell's settings; they outlive the extension, which may be loaded again.

        New ones would be made from what `%config` has noted, which holds the values it refused, too.
        """
        settings: GeminiNB | None = getattr(shell, "gemini_nb_settings", None)
        if settings is None:
            return cls(manager, parent=shell)
        settings.serve(manager)
        return settings

    def serve(self, manager: StreamManager) -> None:
        """Apply the configured values to this manager, once."""
        if manager is self._manager:
            return
        self._manager = manager
        self._set_folder()
        for name in _OF_THE_MANAGER:
            if getattr(self, name) != self.traits()[name].default():
                self._apply(name)

    def _set_folder(self) -> None:
        """Let `keep` mean the file beside the notebook, wherever `%cd` leads."""
        runtime = self._manager.runtime
        runtime.settings = dataclasses.replace(runtime.settings, folder=self._folder)

    def update_config(self, config: Any) -> None:
        """Apply `%config`, also where only the manager's value has changed since."""
        super().update_config(config)
        for name in _OF_THE_MANAGER:
            if name in config.get(type(self).__name__, ()):
                self._apply(name)

    @observe(*_OF_THE_MANAGER)
    def _on_change(self, change: Any) -> None:
        self._apply(change.name)

    def _apply(self, name: str) -> None:
        value = getattr(self, name)
        if name in _OF_STREAMS:
            runtime = self._manager.runtime
            runtime.settings = dataclasses.replace(runtime.settings, **{name: value})
        else:
            setattr(self._manager, name, value)


def _here() -> str | None:
    try:
        return str(Path.cwd())
    except OSError:  # the folder was deleted
        return None
