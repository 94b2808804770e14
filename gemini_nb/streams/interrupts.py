"""An interrupted wait, in one line: how many streams it stopped, and where what came is.

The frames of a lock or an event loop say nothing about a key that was pressed.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["StreamInterrupted", "interrupting", "mark_cancelled"]


class StreamInterrupted(KeyboardInterrupt):
    """A wait for streams was interrupted."""

    def _render_traceback_(self) -> list[str]:  # IPython shows this in place of the frames
        return [f"KeyboardInterrupt: {self}"]


def interrupting(names: Sequence[str], had_ended: int, *, stopped: bool = True) -> StreamInterrupted:
    """Make the error of an interrupted wait.

    Args:
        names: the ids of the streams that were waited for.
        had_ended: how many of them had ended before.
        stopped: whether the others were stopped; else they go on.
    """
    first, rest = names[0], len(names) - had_ended
    if len(names) == 1:
        what = (
            f"{first} had ended" if had_ended else f"{first} was stopped" if stopped else f"{first} goes on"
        )
    else:
        word = "stopped" if stopped else "go on" if rest != 1 else "goes on"
        what = f"{rest} {word}" + (f", {had_ended} had ended" if had_ended else "")
    if not stopped and rest:
        return StreamInterrupted(f"{what}; %gemini_stop stops what runs.")
    return StreamInterrupted(f"{what}; %gemini_show {first} shows what came.")


def mark_cancelled(error: BaseException, shown: StreamInterrupted) -> None:
    """Let IPython show a cancellation, which is what an interrupt is to a coroutine, as that one line."""
    error._render_traceback_ = shown._render_traceback_  # type: ignore[attr-defined]
