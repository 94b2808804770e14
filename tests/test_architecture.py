"""Who may import whom: the rooms of the design, read from the syntax trees."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from answers import run_python

ROOT = Path(__file__).parents[1] / "gemini_nb"
ROOMS = [
    "errors",
    "redaction",
    "sealing",
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
"""A room imports only from itself and from those before it."""
PURE = "gemini_nb.notebook.render"
"""The part of the notebook that knows neither widgets nor the rest of the notebook."""
FRONT_ENDS = {
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


@cache
def tree_of(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


@cache
def imports(name: str) -> set[str]:
    """The full names of what a module imports, also for its types; of a name in a module, the module."""
    found: set[str] = set()
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {full if full in MODULES else str(node.module) for full in names}
    return found


def room(name: str) -> str:
    return name.split(".")[1]


def package(name: str) -> str:
    """The package or file that stands directly in a room and holds this module."""
    return ".".join(name.split(".")[:3])


ROOMY = sorted(name for name in MODULES if name not in {"gemini_nb", "gemini_nb.__main__"})


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The names along a circle of the graph, none where it has none."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name not in done:
            for other in sorted(graph.get(name, ())):
                if found := visit(other, [*path, name]):
                    return found
            done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := visit(name, []))), [])


@pytest.mark.parametrize("name", ROOMY)
def test_a_module_imports_only_from_its_room_and_those_above(name: str) -> None:
    assert room(name) in ROOMS, f"{name} belongs to no room"
    for other in imports(name):
        if other.startswith("gemini_nb."):
            assert ROOMS.index(room(other)) <= ROOMS.index(room(name)), f"{name} imports {other}"
        elif room(name) != "cli":
            assert other != "gemini_nb", f"{name} imports the package's front door"


def test_nothing_above_the_notebook_knows_a_front_end() -> None:
    above = {name for name in ROOMY if room(name) not in {"notebook", "cli"}} | {"gemini_nb"}
    for name in above:
        known = {other.partition(".")[0] for other in imports(name)} & FRONT_ENDS
        assert not known, f"{name} imports {known}"


def test_rendering_knows_no_widgets_and_nothing_of_the_notebook_that_shows_it() -> None:
    pure = {name for name in ROOMY if f"{name}.".startswith(f"{PURE}.")}
    assert pure
    for name in pure:
        for other in imports(name):
            assert other.partition(".")[0] not in FRONT_ENDS, f"{name} imports {other}"
            if other.startswith("gemini_nb.notebook."):
                assert other.startswith(f"{PURE}."), f"{name} imports {other}"


@pytest.mark.parametrize("name", sorted({room(name) for name in ROOMY}))
def test_no_files_of_a_room_import_each_other_in_a_circle(name: str) -> None:
    files = {one for one in ROOMY if room(one) == name}
    assert not (found := circle({one: imports(one) & files for one in files})), " -> ".join(found)


@pytest.mark.parametrize("name", sorted({room(name) for name in ROOMY}))
def test_no_packages_of_a_room_import_each_other_in_a_circle(name: str) -> None:
    inside: dict[str, set[str]] = {}
    for one in ROOMY:
        if room(one) == name:
            others = {package(other) for other in imports(one) if other in ROOMY and room(other) == name}
            inside.setdefault(package(one), set()).update(others - {package(one)})
    assert not (found := circle(inside)), " -> ".join(found)


def test_no_module_uses_what_another_one_keeps_to_itself() -> None:
    """A name without an underscore is for other modules, one with an underscore is not."""
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("gemini_nb"):
                own = [alias.name for alias in node.names if alias.name.startswith("_")]
                assert not own, f"{name} imports {own} of {node.module}"


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_the_notebook_does_not_reach_behind_a_stream() -> None:
    for name in ROOMY:
        if room(name) != "notebook":
            continue
        for node in ast.walk(tree_of(name)):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith("stream"):
                assert node.attr not in {"record", "request"}, f"{name}: {ast.unparse(node)}"


def defined_in(tree: ast.AST) -> set[str]:
    """The names that a module or something in it defines itself, not those that it imports."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    named = {node.name for node in ast.walk(tree) if isinstance(node, functions)}
    stored = (
        node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    )
    return named | {node.id for node in stored}


def test_nothing_is_imported_by_way_of_a_third_module() -> None:
    trees = {name: tree_of(name) for name in MODULES}
    defined = {name: defined_in(tree) for name, tree in trees.items()}
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}  # these are doors
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom) or node.module not in trees or node.module in packages:
                continue
            for alias in node.names:
                assert alias.name in defined[node.module], f"{name} takes {alias.name} from {node.module}"


HEAVY = ["httpx", "aiohttp", "pydantic", "tornado", "google.auth", "ipywidgets", "IPython", "numpy"]


def test_importing_the_package_is_cheap() -> None:
    done = run_python(f"import gemini_nb, sys; print([name for name in {HEAVY} if name in sys.modules])")
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_loading_the_extension_leaves_the_renderer_to_its_thread() -> None:
    loaded = run_python(
        "import gemini_nb.notebook.magics.extension, sys; "
        "print([name for name in sys.modules if name.startswith('gemini_nb.notebook.render.') "
        "and name != 'gemini_nb.notebook.render.words'])"
    )
    assert (loaded.stdout.strip(), loaded.stderr) == ("[]", "")


def test_every_module_says_what_it_is_for_and_what_it_offers() -> None:
    for name in MODULES:
        tree = tree_of(name)
        assert ast.get_docstring(tree), f"{name} has no docstring"


def test_no_telemetry_is_loaded_where_nobody_collects_it() -> None:
    code = """if True:
        import sys, gemini_nb
        from gemini_nb.simulator import Simulator

        def weather(city: str) -> str:
            "Look up the weather."
            return "sunny"

        with Simulator(pace=0) as simulator:
            manager = gemini_nb.get_manager()
            stream = manager.start_stream("Weather in Rome?", auth="simulator", tools=[weather]).wait(20)
        assert stream.tool_calls
        print([name for name in sys.modules if name.startswith("opentelemetry")])
        manager.shutdown()
    """
    assert run_python(code).stdout == "[]\n"
