"""One table of what models write, held against what three pages show of it: live, settled, and exported."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import Locator, expect

from answers import until
from desk import Desk
from markdown_cases import CASES, normal_formulas, seen

pytestmark = pytest.mark.browser

SECTIONS = """shown => {
  const boxes = new Set([...shown.querySelectorAll('h4')].map(heading => heading.parentElement));
  const sections = {};
  let section = null;
  for (const element of [...boxes].flatMap(box => [...box.children])) {
    if (element.tagName === 'H4')
      sections[element.textContent.replace('¶', '').trim()] = section = [];
    else if (section)
      section.push(/^H[56]$/.test(element.tagName)  // whose whole words are bold, since they are small
        ? element.outerHTML.replace(/<[/]?strong>/g, '') : element.outerHTML);
  }
  return Object.fromEntries(Object.entries(sections).map(([name, parts]) => [name, parts.join('')]));
}"""


SECONDS = """async player => {
  while (player.readyState < 1)
    await new Promise(tell => setTimeout(tell, 20));
  return player.duration;
}"""


def sections(shown: Locator) -> dict[str, str]:
    """What stands under each heading."""
    found: dict[str, str] = shown.evaluate(SECTIONS)
    return found


def whole(shown: Locator, formulas: int) -> dict[str, str]:
    """The same, once it is whole and typeset: a page may be asked to take a settled answer again."""
    found: dict[str, str] = {}

    def is_whole() -> bool:
        expect(shown.locator("mjx-container")).to_have_count(formulas)
        expect(shown.locator("h4").last).to_have_text(re.compile("^end"))
        found.update(sections(shown))
        return "end" in found and "".join(found.values()).count("</mjx-container>") == formulas

    until(is_whole)
    return found


def faults(shown: dict[str, str], *, typeset: bool = True) -> Iterator[str]:
    """Each case that a reader sees otherwise."""
    for case in CASES:
        page = shown.get(case.name, "")
        found, wanted = seen(page, typeset=typeset), normal_formulas(case.sees, typeset=typeset)
        if found != wanted or "mjx-merror" in page:
            yield f"{case.name}\n{found}\n  and not\n{wanted}\n  in\n{page}"


def test_what_models_write_reads_the_same_live_settled_and_exported(desk: Desk) -> None:
    page = desk.set(["%%gemini_stream\ncases"])
    desk.run(1)
    formulas = sum(case.sees.count("⟦") for case in CASES)
    assert "\n\n".join(faults(whole(desk.pane(1), formulas))) == ""

    desk.open_gate("read")
    settled = page.output(1).locator(".jp-RenderedMarkdown")
    expect(settled).to_contain_text("The end.")
    assert "\n\n".join(faults(whole(settled, formulas))) == ""

    made, _ = HTMLExporter().from_notebook_node(page.save())
    path = desk.lab.server.notebooks / "cases.html"
    path.write_text(made, encoding="utf-8")
    tab = page.page.context.new_page()
    tab.route(re.compile("^https?://"), lambda route: route.abort())
    tab.goto(path.as_uri())
    exported = sections(tab.locator(".jp-RenderedMarkdown"))
    assert "\n\n".join(faults(exported, typeset=False)) == ""
    tab.close()


def plays(shown: Locator) -> None:
    """What is shown holds a player that has read a second of sound."""
    player = shown.locator("audio")
    expect(player).to_be_visible()
    assert player.evaluate(SECONDS) == 1


@pytest.mark.slow
def test_sources_cards_and_sound_are_shown_live_settled_and_reopened(desk: Desk) -> None:
    page = desk.set(["%%gemini_stream\nsources"])
    desk.run(1)
    card = desk.pane(1).locator(".gemini-nb-card")
    expect(card).to_have_attribute("data-status", "running")
    desk.open_gate("searched")
    expect(card).to_have_attribute("data-status", "done")
    link: dict[str, Any] = {"name": "[1]", "exact": True}
    address = "https://sources.example/tall"
    expect(desk.pane(1).get_by_role("link", **link)).to_have_attribute("href", address)
    plays(desk.pane(1))

    desk.open_gate("heard")
    settled = page.output(1).locator(".jp-RenderedMarkdown")
    expect(settled).to_contain_text("They are tall.[1]")
    expect(settled.get_by_role("link", **link)).to_have_attribute("href", address)
    expect(settled.get_by_role("link", name="Tall towers")).to_have_attribute("href", address)
    plays(settled)

    desk.new_kernel()
    reopened = page.output(1).locator(".jp-RenderedMarkdown")
    expect(reopened).to_contain_text("They are tall.[1]")
    expect(reopened.get_by_role("link", **link)).to_have_attribute("href", address)
    plays(reopened)
