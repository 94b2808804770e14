"""How IPython reads a cell that asks.

Three things stand in the way of a prompt. IPython takes a line with a question mark at its end for a question
about a name. A cell that loads the extension has been read before anything here could. And a magic cannot be
awaited, so a cell that waits would hold up the kernel's loop; but a cell whose text was rewritten to an
`await` is also saved so, and `%run` of what `%save` wrote would fail. So the await is put into the syntax
tree, and the text that the history keeps stays plain.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from IPython.core.magic import MagicAlias

_CALL = "get_ipython().run_cell_magic('gemini_stream', "
_COROUTINES = {"gemini_stream": "stream_cell", "gemini_fix": "fix_cell", "gemini_wait": "wait_cell"}
_LINE_CALL = "get_ipython().run_line_magic("
_FIX_CALL = f"{_LINE_CALL}'gemini_fix', "
_WAIT_CALL = f"{_LINE_CALL}'gemini_wait', "
_ASKING = ("gemini_stream", "gemini_explain", "gemini_fix")
_FILLING = (*_ASKING, "gemini_chat")  # these fill braces in themselves; for an alias IPython would, too
_EXPAND = "get_ipython().var_expand"
_ASSIGNED = "get_ipython().gemini_nb_extension.asked_by"
_TARGET = r"""[^\s%#='"](?:'[^'\n]*'|"[^"\n]*"|[^%#='"\n])*=[ \t]*"""
_ASKED = re.compile(rf"^([ \t]*(?:{_TARGET})*)%(\w+)[ \t]+(\S.*\?)[ \t]*$", re.MULTILINE)
_INNER = re.compile(r"(?:^|[\s=])%(\w+)")
_CELL_MAGIC = re.compile(r"%%(\w+)")
_MAGIC_CALL = re.compile(r"get_ipython\(\)\.run_(line|cell)_magic\('(\w+)', ")
_TRIPLE = re.compile(r"\"\"\"|'''")


def question_keeper(shell: Any) -> Callable[[list[str]], list[str]]:
    """Return what lets `%gemini_stream Why is the sky blue?` ask, also where it is indented or an alias.

    A `%%gemini_stream` may stand beneath comments; beneath code, where IPython finds fault with the prompt,
    it is a SyntaxError that says so.
    """

    def as_call(asked: re.Match[str]) -> str:
        before, magic, line = asked.groups()
        name, params = _meant(shell, "line", magic)
        if name in _ASKING or name == "gemini_history":
            return f"{before}{_LINE_CALL}{name!r}, {params + line!r})"
        if any(
            _meant(shell, "line", inner)[0] in _ASKING for inner in _INNER.findall(line)
        ):  # %time %gemini_…
            return f"{before}{_LINE_CALL}{magic!r}, {line!r})"
        return asked[0]

    def keep_questions(lines: list[str]) -> list[str]:
        begin = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("#")), 0)
        if lines and lines[begin].startswith("%%"):
            return lines[begin:] if _names_asking(shell, lines[begin]) else lines
        kept, quotes, left = [], 0, iter(lines)
        for line in left:
            if not quotes % 2 and _names_asking(shell, line):
                name = line.split()[0]
                raise SyntaxError(f"{name} begins a cell: put what stands above it into a cell of its own.")
            parts = [line]
            while parts[-1].endswith("\\\n") and not quotes % 2 and (more := next(left, None)) is not None:
                parts.append(more)
            whole = " ".join([*(part.rstrip()[:-1] for part in parts[:-1]), parts[-1]])  # as IPython does
            asked = whole if quotes % 2 else _ASKED.sub(as_call, whole)  # within a text it stays
            kept += [asked] if asked != whole else parts
            quotes += len(_TRIPLE.findall(whole))
        return kept

    return keep_questions


def _names_asking(shell: Any, line: str) -> bool:
    """Whether a line is the first of a cell that asks."""
    named = _CELL_MAGIC.match(line)
    return named is not None and _meant(shell, "cell", named[1])[0] in _ASKING


def _meant(shell: Any, kind: str, name: str) -> tuple[str, str]:
    """The magic that a name or an alias of `%alias_magic` stands for, and the options that the alias has."""
    made = shell.magics_manager.magics[kind].get(name)
    if not isinstance(made, MagicAlias):
        return name, ""
    return made.magic_name, f"{made.magic_params} " if made.magic_params else ""


class AwaitStreamCells(ast.NodeTransformer):
    """Make a cell that asks or waits, and does nothing else, a top-level await: the kernel's loop stays free.

    Beside other statements they stay as they are: an interrupt would not reach the code of a coroutine.
    Inside another magic (`%%time`, `%run notebook.ipynb`) the code runs already and cannot be awaited;
    there the plain magic stays. It sits in three places of a shell: after the text was transformed it notes
    whether a cell is such a one, `should_run_async` says so, and the tree is changed.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._should_run_async = shell.should_run_async
        self._is_pending = False

    def register(self) -> None:
        """Put the hooks into the shell."""
        self._shell.input_transformers_post.append(self.note)
        self._shell.ast_transformers.append(self)
        self._shell.should_run_async = self.should_run_async

    def unregister(self) -> None:
        """Take the hooks away."""
        self._shell.input_transformers_post.remove(self.note)
        self._shell.ast_transformers.remove(self)
        vars(self._shell).pop("should_run_async", None)

    def note(self, lines: list[str]) -> list[str]:
        """Note whether these lines are a cell that asks or waits; its text stays as it is, but for aliases.

        IPython calls an alias without what it gives to the magic itself: the names of the function that calls
        it, and the braces of a prompt as they are.
        """
        lines = [_MAGIC_CALL.sub(self._without_alias, line) for line in lines]
        outside = self._shell.display_trap.old_hook  # None before the first cell; %%capture puts in its own
        runs_cell = outside not in (None, sys.displayhook)
        if not runs_cell:
            has_loop = hasattr(self._shell, "kernel")  # elsewhere nothing needs it, and Ctrl-C would not come
            self._is_pending = self._shell.autoawait and (_asks(lines) or (has_loop and _waits(lines)))
        return lines

    def _without_alias(self, call: re.Match[str]) -> str:
        kind, alias = call.groups()
        name, params = _meant(self._shell, kind, alias)
        if name == alias or name not in _FILLING:
            return call[0]
        before = f"{params!r} " if params else ""  # it joins the text that follows
        return f"get_ipython().run_{kind}_magic({name!r}, {before}"

    def should_run_async(self, raw_cell: str, **known: Any) -> bool:
        """Tell IPython to await the noted cell, whose text has no await."""
        text = known.get("transformed_cell") or ""
        if self._is_pending and text.startswith((_CALL, _FIX_CALL, _WAIT_CALL)):
            return True
        return bool(self._should_run_async(raw_cell, **known))

    def visit_Module(self, module: ast.Module) -> ast.Module:
        """Await the cell that was noted, once, and bind what is asked where a name takes it."""
        _bind_asked(module)
        pending, self._is_pending = self._is_pending, False
        if not pending or len(module.body) != 1:
            return module
        match module.body[0]:
            case ast.Expr(value=ast.Call(args=[ast.Constant(value=name), *_]) as call) if name in _COROUTINES:
                coroutine = f"get_ipython().gemini_nb_extension.{_COROUTINES[name]}"
                call.func = ast.parse(coroutine, mode="eval").body
                del call.args[0]
                if name == "gemini_wait":  # unlike a prompt it takes `$name` and `{name}` as IPython does
                    call.args = [ast.Call(ast.parse(_EXPAND, mode="eval").body, call.args, [])]
                module.body[0] = ast.Expr(ast.Await(call))
        return ast.fix_missing_locations(module)


def _bind_asked(module: ast.Module) -> None:
    """Let `trip = %gemini_stream …` bind the stream, which the magic does not return: it would be shown."""
    for node in ast.walk(module):
        match node:
            case (
                ast.Assign(value=ast.Call(args=[ast.Constant(value="gemini_stream"), *_]) as call)
                | ast.AnnAssign(value=ast.Call(args=[ast.Constant(value="gemini_stream"), *_]) as call)
            ) if ast.unparse(call.func) == "get_ipython().run_line_magic":
                bound = ast.Call(ast.parse(_ASSIGNED, mode="eval").body, [call], [])
                # Of this alone: it goes as deep as the tree, and IPython drops a transformer that raises.
                node.value = ast.fix_missing_locations(ast.copy_location(bound, call))


def _asks(lines: list[str]) -> bool:
    """Whether a cell is one that asks, and nothing else."""
    first = lines[0] if lines else ""
    if first.startswith(_FIX_CALL):
        return _is_alone(lines)
    is_empty = first.rstrip("\n").endswith(", '')")  # of which IPython speaks
    return first.startswith(_CALL) and not is_empty


def _waits(lines: list[str]) -> bool:
    """Whether a cell is one that waits, and nothing else."""
    return bool(lines) and lines[0].startswith(_WAIT_CALL) and _is_alone(lines)


def _is_alone(lines: list[str]) -> bool:
    return not any(map(str.strip, lines[1:]))


def read_loading_cell_again(shell: Any) -> None:
    """Transform the rest of the cell that loads the extension.

    IPython read it before the hooks were there, and took `%gemini_stream Why?` for a question about a name.
    """
    nodes = None
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - IPython keeps what is left to run nowhere else
    while frame is not None:
        known = frame.f_locals
        if frame.f_code.co_name == "run_ast_nodes" and known.get("self") is shell:
            nodes = known.get("nodelist")
        elif frame.f_code.co_name == "run_cell_async" and known.get("self") is shell and nodes:
            _replace(nodes, shell, str(known.get("raw_cell", "")))
            return
        frame = frame.f_back


def _replace(nodes: list[ast.stmt], shell: Any, text: str) -> None:
    transformed = shell.transform_cell(text)
    try:
        module = ast.parse(transformed)
    except SyntaxError:
        return
    _bind_asked(module)
    read = module.body
    if len(read) != len(nodes):
        return
    history = shell.history_manager
    if history.input_hist_raw[-1] == text.rstrip("\n"):  # else it keeps no history
        history.input_hist_parsed[-1] = transformed.rstrip("\n")
    for old, new in zip(nodes, read, strict=True):
        if type(old) is type(new) and ast.dump(old) != ast.dump(new):
            vars(old).update(vars(new))
