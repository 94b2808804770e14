"""Hostile output in a real browser: no script runs, no request leaves, nothing gets out of its pane."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nbconvert import HTMLExporter, MarkdownExporter
from playwright.sync_api import Dialog, Locator, Page, Request, expect

from desk import Desk

pytestmark = pytest.mark.browser

ARM = "() => { window.hits = []; window.hit = number => window.hits.push(number); }"
HARM = """shown => ({
  ran: window.hits,
  broken: document.querySelectorAll('.broken-out, #broken-out, x-a').length,
  loaded: [...shown.querySelectorAll(
    '[src], [srcset], [poster], [data], object, embed, iframe, link, meta, base, form')].map(
    element => element.outerHTML.slice(0, 200)),
  handlers: [...shown.querySelectorAll('*')].filter(
    element => element.getAttributeNames().some(name => name.startsWith('on'))).length,
  styled: getComputedStyle(document.body).outlineStyle === 'dotted',
  fixed: [...shown.querySelectorAll('*')].filter(
    element => getComputedStyle(element).position === 'fixed').length,
  links: [...shown.querySelectorAll('a, [href]')].map(link => link.getAttribute('href') || '')
    .filter(url => !/^(https?:|mailto:|#)/i.test(url)),
})"""
NO_HARM = {"ran": [], "broken": 0, "loaded": [], "handlers": 0, "styled": False, "fixed": 0, "links": []}
WIDE = """shown => [...shown.querySelectorAll('*')].filter(
  element => element.getBoundingClientRect().width > shown.getBoundingClientRect().width + 1
    && !element.closest('pre, table, code, mjx-container')).map(element => element.outerHTML.slice(0, 100))"""

TAKEN = """\
import asyncio, threading, gemini_nb
from gemini_nb.notebook.kernel import cell_output
taken = threading.Event()
gemini_nb.get_manager().runtime.loop.call(
    lambda: asyncio.get_running_loop().call_later(cell_output._TAKEN, taken.set))
print(taken.wait())"""
"""Waits until a page that has not taken an answer was asked once more."""


@pytest.fixture
def requests(desk: Desk) -> Iterator[list[str]]:
    """What leaves the page for anywhere but the server."""
    page, left = desk.page.page, []

    def seen(request: Request) -> None:
        if not request.url.startswith((desk.lab.server.url, "data:", "blob:", "about:", "file:")):
            left.append(request.url)

    def dismiss(dialog: Dialog) -> None:
        left.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.context.on("request", seen)
    page.on("dialog", dismiss)
    yield left
    page.context.remove_listener("request", seen)
    page.remove_listener("dialog", dismiss)


def provoke(page: Page, shown: Locator) -> None:
    """Unfold everything and touch everything."""
    page.context.route(re.compile(r"//(evil|ok)\.test"), lambda route: route.abort())
    for summary in shown.locator("summary").all():
        summary.click()
    shown.evaluate("""shown => shown.querySelectorAll('*').forEach(element => {
      for (const name of ['mouseover', 'focus', 'error', 'load', 'toggle'])
        element.dispatchEvent(new Event(name)); })""")


def click_links(page: Page, shown: Locator) -> list[str]:
    """Follow a link to each address with the keyboard, which finds those that wrap, too."""
    visible = shown.locator("a[href]:visible")
    found = visible.evaluate_all("links => links.map(link => link.getAttribute('href'))")
    opened = [url for url in dict.fromkeys(found) if not url.startswith("#")]
    for url in opened:
        with page.context.expect_page() as popup:
            shown.locator("a[href]:visible").nth(found.index(url)).press("Enter")
        popup.value.close()
    return opened


@pytest.mark.slow
def test_a_hostile_answer_does_nothing_live_and_settled(desk: Desk, requests: list[str]) -> None:
    ask = "%%gemini_stream -t attack_tool,attack_error -o hostile --thinking\nattack"
    page = desk.set([ask, "import json\nprint('the cell beneath')", TAKEN])
    page.page.evaluate(ARM)
    desk.run(1, 2)
    pane = desk.pane(1)
    expect(pane.locator(".gemini-nb-card[data-status=failed]")).to_have_count(2)
    expect(pane.locator(".gemini-nb-card[data-status=done]")).to_have_count(1)
    expect(pane).to_contain_text("lone")
    expect(pane.locator("mjx-container").first).to_be_attached()  # live, too
    provoke(page.page, pane)
    assert pane.evaluate(HARM) == NO_HARM
    assert pane.evaluate(WIDE) == []
    assert requests == []
    led = click_links(page.page, pane)
    assert led
    assert all(url.lower().startswith(("http://evil.test/", "http://ok.test/")) for url in led)
    assert pane.evaluate(HARM) == NO_HARM
    requests.clear()

    desk.open_gate("attacked")
    settled = page.output(1).locator(".jp-RenderedMarkdown")
    expect(settled).to_contain_text("Unharmed.")
    desk.run(3)  # asked once more to take the answer later, the page would fold all again
    expect(page.output(3)).to_have_text("True")
    expect(settled).to_contain_text("Unharmed.")
    expect(settled.locator("mjx-container").first).to_be_attached()  # formulas were typeset
    provoke(page.page, settled)
    assert settled.evaluate(HARM) == NO_HARM
    assert settled.evaluate(WIDE) == []
    assert requests == []
    assert all(
        url.lower().startswith(("http://evil.test/", "http://ok.test/"))
        for url in click_links(page.page, settled)
    )
    assert settled.evaluate(HARM) == NO_HARM
    expect(page.output(2)).to_have_text("the cell beneath")
    assert page.page.title().startswith("test-")
    page.page.context.unroute_all()

    saved: Any = page.save()
    check_exports(page.page, saved, desk.lab.server.notebooks / "hostile.html", requests)


def check_exports(page: Page, notebook: Any, path: Path, requests: list[str]) -> None:
    """The same for the notebook as a page of its own, and its Markdown as an unkind reader renders it."""
    made, _ = HTMLExporter().from_notebook_node(notebook)
    path.write_text(made, encoding="utf-8", errors="replace")
    tab = page.context.new_page()
    tab.add_init_script(f"({ARM})()")
    tab.route(re.compile(r"^https?://(?!(evil|ok)\.test)"), lambda route: route.abort())
    requests.clear()
    tab.goto(path.as_uri())
    shown = tab.locator(".jp-RenderedMarkdown").last
    expect(shown).to_contain_text("Unharmed.")
    provoke(tab, shown)
    assert shown.evaluate(HARM) == NO_HARM
    assert [url for url in requests if ".test" in url] == []
    tab.close()
    text, _ = MarkdownExporter().from_notebook_node(notebook)
    assert not re.search(r"^[^`]*<(script|img|iframe|svg)", text.split("```", 1)[0], re.MULTILINE)


@pytest.mark.slow
def test_an_answer_that_no_parser_should_read_is_shown_as_it_is(desk: Desk, requests: list[str]) -> None:
    page = desk.set(["%%gemini_stream\nhuge"])
    page.page.evaluate(ARM)
    desk.run(1)
    pane = desk.pane(1)
    expect(pane).to_contain_text("longlonglong")
    provoke(page.page, pane)
    assert pane.evaluate(HARM) == NO_HARM
    assert pane.evaluate(WIDE) == []
    desk.open_gate("attacked")
    settled = page.output(1).locator(".jp-RenderedMarkdown")
    expect(settled).to_contain_text("Unharmed.")
    provoke(page.page, settled)
    assert settled.evaluate(HARM) == NO_HARM
    assert requests == []
    page.page.context.unroute_all()
