"""From an answer to working code: `%gemini_code`, `%gemini_explain`, `%gemini_fix`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class, needs_local_scope, no_var_expand

from gemini_nb.notebook.kernel.frontend import Frontend, frontend_of
from gemini_nb.notebook.magics.arguments import split_line
from gemini_nb.notebook.magics.context.cell_log import CellLog
from gemini_nb.notebook.magics.context.own_secrets import MASK
from gemini_nb.notebook.magics.magics import GeminiMagics
from gemini_nb.streams.chat.chat import Chat
from gemini_nb.streams.code_blocks import CodeBlock, find_code_blocks, python_in
from gemini_nb.streams.events.states import Status
from gemini_nb.streams.runtime.ending import interrupting
from gemini_nb.streams.stream import Stream

_EXPLAIN = (
    "A cell of a Jupyter notebook failed. Explain in plain words what went wrong and how to mend it. "
    "Be brief, and quote the line that matters."
)
_FIX = (
    "A cell of a Jupyter notebook failed. Say in two or three sentences what went wrong. Then give the whole "
    "corrected cell in one Python code block. Change no more than is needed, and leave nothing out."
)
_HINT = (
    "A learner's notebook cell failed. Give one hint that lets the learner find the mistake: what to look "
    "at, and why. Give no corrected code and no solution."
)
_CELL_MAGICS = {
    "bash": "%%bash",
    "sh": "%%bash",
    "shell": "%%bash",
    "zsh": "%%script zsh",
    "html": "%%html",
    "javascript": "%%javascript",
    "js": "%%javascript",
    "latex": "%%latex",
}
_SHELLS = {"bash", "sh", "shell", "zsh"}
_OWN_MAGIC = re.compile(r"%%[a-zA-Z]")  # a LaTeX comment begins with % and a blank
_SHELL_MAGIC = re.compile(r"%%?[a-zA-Z]|![a-zA-Z]")  # a shell's own "! grep" has a blank


@magics_class
class CodeMagics(Magics):
    """The magics that turn answers into code, and errors into questions."""

    shell: Any

    def __init__(self, shell: Any, magics: GeminiMagics, log: CellLog) -> None:
        super().__init__(shell)
        self._magics = magics
        self._log = log
        self._failed_source = ""

    @line_magic
    def gemini_code(self, line: str) -> None:
        """Replace this cell by code of an answer: `%gemini_code trip`, or `%gemini_code trip 2`.

        Without a number it is all Python of the stream's last answer; with one it is that code block, in
        any language. Of a chat it is the last answer. It waits for a stream that still runs. The code is put
        into the cell and not run. In a terminal it becomes the next input.
        """
        name, number = _name_and_number(line)
        stream = self._stream(name)
        try:
            stream.wait_only()
        except KeyboardInterrupt:
            ended = int(stream.is_done)
            raise interrupting([stream.label], ended, stopped=False) from None
        blocks = stream.code_blocks
        if number is None:
            found = find_code_blocks(stream.answer)
            code = _one_cell(found if python_in(found) else blocks, blocks, name or stream.stream_id)
        else:
            code = _runnable(_block(blocks, number, name))
        if not code:
            empty = f"Code block {number} of {name or stream.stream_id} is empty."
            raise UsageError(_nothing(stream, blocks, name) if number is None else empty)
        self._put(stream, code, replace=True)

    @no_var_expand
    @needs_local_scope
    @line_magic
    def gemini_explain(self, line: str, local_ns: Mapping[str, Any] | None = None) -> None:
        """Explain the cell that failed last: `%gemini_explain`; returns at once, as every prompt does.

        Options of `%%gemini_stream` and a question of your own may follow:
        `%gemini_explain -m MODEL Why here?` `--show` prints what would be sent, and sends nothing.
        """
        options, prompt, flags = self._question(line, _HINT if "--hint" in line.split() else _EXPLAIN)
        if "--show" not in flags:
            self._magics.asked = self._magics.ask(options, prompt, local_ns or {}, as_written=True)

    @no_var_expand
    @needs_local_scope
    @line_magic
    def gemini_fix(self, line: str, local_ns: Mapping[str, Any] | None = None) -> None:
        """Correct the cell that failed last: `%gemini_fix`; the corrected cell becomes the next input.

        It waits for the answer, whose pane is live meanwhile. `--hint` gives a hint and no solution. `--show`
        prints what would be sent, and sends nothing. Other options are those of `%%gemini_stream`.
        """
        options, prompt, flags = self._fix(line)
        if "--show" not in flags:
            made = self._magics.ask(f"--wait {options}", prompt, local_ns or {}, as_written=True)
            self._use(made, flags)

    async def fix_cell(self, line: str) -> None:
        """`%gemini_fix` as a coroutine, which keeps the kernel's loop free."""
        options, prompt, flags = self._fix(line)
        if "--show" not in flags:
            made = await self._magics.ask_async(f"--wait {options}", prompt, as_written=True)
            self._use(made, flags)

    def _fix(self, line: str) -> tuple[str, str, set[str]]:
        if "--no-wait" in line.split():
            raise UsageError("%gemini_fix waits for its answer, whose code it takes. Leave --no-wait out.")
        return self._question(line, _HINT if "--hint" in line.split() else _FIX)

    def _use(self, made: Any, flags: set[str]) -> None:
        if "--hint" in flags or not isinstance(made, Stream):
            return
        found = find_code_blocks(made.answer)
        blocks = python_in(found)
        if not blocks and self._failed_source.lstrip().startswith("%%"):
            blocks = [block for block in found if block.language in _CELL_MAGICS]
        if not blocks:
            print("The answer holds no corrected cell.")
            return
        code = _runnable(blocks[-1])
        if MASK in code:
            print(f"{MASK} stands for a key or password that was not sent; put yours back.")
        self._put(made, code, replace=False)

    def _question(self, line: str, system: str) -> tuple[str, str, set[str]]:
        """The options and the prompt for the last failure; with --show both are printed."""
        words = line.split()
        flags = {word for word in words if word in {"--show", "--hint"}}
        options, asked = split_line(" ".join(word for word in words if word not in flags))
        failure = self._log.failure
        if failure is None:
            raise UsageError("No cell has failed yet. Run the one that does, then this.")
        self._failed_source = failure.source
        prompt = failure.describe(self.shell.user_ns)
        prompt = f"{asked}\n\n{prompt}" if asked else prompt
        if "--show" in flags:
            print(f"System instruction:\n{system}\n\nPrompt:\n{prompt}")
        return f'--system="{system}" {options}', prompt, flags

    def _stream(self, name: str) -> Stream:
        """The stream of this name, or the newest where there is none."""
        if not name:
            streams = self._magics.manager.list_streams(all=True)
            if not streams:
                raise UsageError("There is no answer yet to take code from.")
            return streams[-1]
        if isinstance(chat := self.shell.user_ns.get(name), Chat):
            answers = [stream for _, stream in chat.exchanges() if stream is not None]
            if not answers:
                raise UsageError(f"The chat {name} has no answer of this kernel.")
            return answers[-1]
        made = self._magics.find(name)
        if len(made) != 1 or not isinstance(made[0], Stream):
            raise UsageError(f"{name} has several answers. Take one of them: %gemini_code {name}[0].")
        return made[0]

    def _put(self, stream: Stream, code: str, *, replace: bool) -> None:
        if stream.status is not Status.COMPLETED or stream.finish_reason == "MAX_TOKENS":
            print("The answer is not whole, so its code may break off.")
        if frontend_of(self.shell) is Frontend.HEADLESS:
            print(code)
            return
        self.shell.set_next_input(code, replace=replace)


def _name_and_number(line: str) -> tuple[str, int | None]:
    words = line.split()
    number = None
    if words and words[-1].isdecimal():
        number = int(words.pop())
    if len(words) > 1:
        raise UsageError("%gemini_code takes one stream and one number: %gemini_code trip 2.")
    return (words[0] if words else ""), number


def _block(blocks: list[CodeBlock], number: int, name: str) -> CodeBlock:
    if not 1 <= number <= len(blocks):
        has = "no code blocks" if not blocks else f"{len(blocks)} code block{'s' * (len(blocks) > 1)}"
        raise UsageError(f"{name or 'The answer'} has {has}, numbered from 1; there is no number {number}.")
    return blocks[number - 1]


def _one_cell(found: Sequence[CodeBlock], blocks: list[CodeBlock], label: str) -> str:
    """The Python of these last blocks as one cell, which may have a cell magic in its first line only."""
    chosen = python_in(found)
    codes = [_runnable(block) for block in chosen]
    if len(codes) > 1 and any(code.startswith("%%") for code in codes):
        problem = f"{label} has several cells of code, some with a cell magic (%%). Take them one by one"
        before = len(blocks) - len(found)
        if [block.code for block in blocks[max(before, 0) :]] != [block.code for block in found]:
            raise UsageError(f"{problem}, each by its number.")
        numbers = [
            str(before + place) for place, block in enumerate(found, 1) if any(block is one for one in chosen)
        ]
        raise UsageError(
            f"{problem}, for example %gemini_code {label} {numbers[0]}; "
            f"their numbers are {', '.join(numbers)}."
        )
    return "\n\n".join(codes)


def _runnable(block: CodeBlock) -> str:
    """A block as a cell runs it: a session without its prompts and outputs, a script beneath its magic."""
    code = block.code.strip("\n")
    magic = _CELL_MAGICS.get(block.language)
    own = _SHELL_MAGIC if block.language in _SHELLS else _OWN_MAGIC
    if magic and code and not own.match(code):
        return f"{magic}\n{code}"
    if code.startswith(">>>"):
        from doctest import DocTestParser  # few cells need it

        try:
            return "".join(one.source for one in DocTestParser().get_examples(code)).rstrip("\n")
        except ValueError:  # no session after all
            return code
    return code


def _nothing(stream: Stream, blocks: list[CodeBlock], name: str) -> str:
    label = name or stream.stream_id
    if stream.status is not Status.COMPLETED and not blocks:
        return f"{label} has no code: its status is {stream.status}."
    if blocks:
        listed = ", ".join(
            f"{index} ({block.language or 'no language'})" for index, block in enumerate(blocks, 1)
        )
        return (
            f"{label} has no Python code. Its code blocks: {listed}. %gemini_code {label} 1 takes the first."
        )
    return f"There is no code in the answer of {label}."
