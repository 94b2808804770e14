"""Who may import whom: the rooms of the design, read from the syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from answers import run_python

ROOT = Path(__file__).parents[1] / "gemini_nb"
ROOMS = [
    "errors",
    "redaction",
    "daemon",
    "config",
    "api",
    "journal",
    "simulator",
    "tools",
    "streams",
    "notebook",
    "cli",
]
STREAMS = [
    ["states"],
    ["approval"],
    ["calls"],
    ["events"],
    ["log"],
    ["flag"],
    ["loop"],
    ["delivery"],
    ["interrupts", "readers"],
    ["record"],
    ["runtime"],
    ["fitting"],
    ["options"],
    ["request"],
    ["code"],
    ["info"],
    ["subscribers"],
    ["ending"],
    ["stream"],
    ["dependencies"],
    ["place"],
    ["round"],
    ["conversation"],
    ["orchestrator"],
    ["counts"],
    ["admission"],
    ["manager"],
    ["chat_file"],
    ["messages"],
    ["chat"],
    ["group"],
]
PEOPLE = {
    "IPython",
    "ipywidgets",
    "ipykernel",
    "anywidget",
    "jupyter_client",
    "nbformat",
    "comm",
    "traitlets",
}


def modules() -> dict[str, Path]:
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def nodes(tree: ast.AST, *, inside_functions: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if is_for_types_only(node):
            continue
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and not inside_functions:
            continue
        yield node
        yield from nodes(node, inside_functions=inside_functions)


def imports(name: str, *, inside_functions: bool = True) -> set[str]:
    """The full names of what a module imports; `from package import module` is the module."""
    found: set[str] = set()
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    for node in nodes(tree, inside_functions=inside_functions):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {full if full in MODULES else str(node.module) for full in names}
    return found


def room(name: str) -> str:
    return name.split(".")[1]


ROOMY = sorted(name for name in MODULES if name not in {"gemini_nb", "gemini_nb.__main__"})


@pytest.mark.parametrize("name", ROOMY)
def test_a_module_imports_only_from_its_room_and_those_above(name: str) -> None:
    assert room(name) in ROOMS, f"{name} belongs to no room"
    for other in imports(name):
        if other.startswith("gemini_nb."):
            assert ROOMS.index(room(other)) <= ROOMS.index(room(name)), f"{name} imports {other}"
        elif room(name) != "cli":
            assert other != "gemini_nb", f"{name} imports the package's front door"


def test_nothing_above_the_notebook_knows_a_widget_library() -> None:
    above = {name for name in ROOMY if room(name) not in {"notebook", "cli"}} | {"gemini_nb"}
    for name in above:
        known = {other.partition(".")[0] for other in imports(name)} & PEOPLE
        assert not known, f"{name} imports {known}"


def test_rendering_knows_no_widgets_and_nothing_of_the_notebook_that_shows_it() -> None:
    pure = {name for name in ROOMY if f"{name}.".startswith("gemini_nb.notebook.render.")}
    assert pure
    for name in pure:
        for other in imports(name):
            assert other.partition(".")[0] not in PEOPLE, f"{name} imports {other}"
            if other.startswith("gemini_nb.notebook."):
                assert other.startswith("gemini_nb.notebook.render."), f"{name} imports {other}"


def test_the_streams_stand_in_one_order() -> None:
    order = {name: rank for rank, group in enumerate(STREAMS) for name in group}
    for name in MODULES:
        if room_and_name := name.split(".")[1:]:
            if room_and_name[0] != "streams" or len(room_and_name) == 1:
                continue
            assert room_and_name[1] in order, f"{name} has no place in the order"
            for other in imports(name):
                if other.startswith("gemini_nb.streams."):
                    below = other.split(".")[2]
                    assert order[below] < order[room_and_name[1]], f"{name} imports {other}"


def test_there_are_no_import_cycles() -> None:
    graph = {name: imports(name) & set(MODULES) for name in ROOMY}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        for other in sorted(graph.get(name, ())):
            visit(other, (*path, name))
        done.add(name)

    for name in ROOMY:
        visit(name, ())


HEAVY = ["httpx", "aiohttp", "pydantic", "tornado", "google.auth", "ipywidgets", "IPython", "numpy"]


def test_importing_the_package_is_cheap() -> None:
    done = run_python(f"import gemini_nb, sys; print([name for name in {HEAVY} if name in sys.modules])")
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_every_module_says_what_it_is_for_and_what_it_offers() -> None:
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), f"{name} has no docstring"
