"""What the newcomer's page shows runs as it stands, from top to bottom in one notebook."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gemini_nb.notebook.magics.arguments import OPTIONS
from gemini_nb.notebook.magics.chat_magic import ChatMagic
from gemini_nb.notebook.magics.history import HistoryMagics
from gemini_nb.notebook.magics.models_magic import ModelsMagic
from gemini_nb.notebook.magics.settings import GeminiNB
from kernels import Kernel

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted((ROOT / "docs").glob("*.md"))


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)^## ", README, re.DOTALL | re.MULTILINE)
    assert found is not None, title
    return found[1]


def test_the_examples_run(make_kernel: Callable[..., Kernel]) -> None:
    kernel = make_kernel(GEMINI_NB_AUTH="simulator", GEMINI_NB_SIMULATOR_PACE="0")
    cells = re.findall(r"^```(?:python)?\n(.*?)^```", section("Five examples"), re.DOTALL | re.MULTILINE)
    assert len(cells) == 9
    for cell in cells:
        done = kernel.run(cell)
        assert done.status == "ok", (cell, done.error_text + done.stderr)
    frame = kernel.run("print(*verdicts.to_frame()['would_return'], type(verdicts.results[0]).__name__)")
    *told, kind = frame.stdout.split()
    assert kind == "Verdict"
    assert len(told) == 2
    assert set(told) <= {"True", "False"}


def test_every_option_and_default_is_listed() -> None:
    page = (ROOT / "docs" / "magics.md").read_text(encoding="utf-8")
    shorter = {"-m": "--model", "-t": "--tools", "-o": "--out", "-c": "--chat", "-s": "--system"}
    wanted = (set(OPTIONS) - set(shorter.values())) | set(GeminiNB.class_traits(config=True)) - {
        "log",
        "parent",
    }
    assert {name for name in wanted if re.search(rf"`{name}\b", page) is None} == set()


def test_a_newcomer_reads_one_short_page() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES], ids=lambda path: path.name
)
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if ":" not in link and not (page.parent / link).exists()]
    assert missing == []


def test_every_page_is_linked_from_the_first() -> None:
    assert [page.name for page in PAGES if f"(docs/{page.name})" not in README] == []


def test_the_map_of_rooms_names_every_package_and_no_file_that_is_not_there() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    places = re.findall(r"`([\w/.]+(?:/|\.py))`", page)
    roots = (ROOT, *(path.parent for path in (ROOT / "gemini_nb").rglob("__init__.py")))
    assert [place for place in places if not any((root / place).exists() for root in roots)] == []
    packages = {path.parent.name for path in (ROOT / "gemini_nb").glob("*/**/__init__.py")}
    assert packages - {place.rstrip("/").rpartition("/")[2] for place in places} == set()


def test_every_dependency_says_what_it_is_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"]]
    for extra, more in project["optional-dependencies"].items():
        wanted += more if extra not in {"demo", "test"} else []
    names = {re.split(r"[\[<>=; ]", one)[0] for one in wanted}
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    said = set(
        re.findall(r"[\w-]+", " ".join(line.split("|")[1] for line in page.splitlines() if "|" in line))
    )
    assert names - said == set()


@pytest.mark.parametrize(
    "magic",
    [
        ChatMagic.gemini_chat,
        HistoryMagics.gemini_history,
        HistoryMagics.gemini_usage,
        ModelsMagic.gemini_models,
    ],
    ids=lambda magic: magic.__name__,
)
def test_every_option_of_the_other_magics_stands_where_the_magic_does(magic: Any) -> None:
    pages = [page.read_text(encoding="utf-8") for page in PAGES]
    pieces = [piece for page in pages for piece in re.split(r"\n\n|\n(?=\|)", page)]
    about = "\n".join(piece for piece in pieces if f"%{magic.__name__}" in piece)
    options = [one.option_strings for one in magic.parser._actions if "--help" not in one.option_strings]
    found = [names for names in options if not names or any(f"{name}" in about for name in names)]
    assert found == options
