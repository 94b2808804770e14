"""How a cell that asks is read: as IPython's own cells are, with the names of the place that asks."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from gemini_nb.streams.group.prompt import interpolate
from kernels import Kernel

LOAD = "%load_ext gemini_nb"
ASKED = (
    "print(gemini_nb.get_manager().list_streams(all=True)[-1].info().request_body['contents'][-1]['parts'])"
)


@pytest.fixture(scope="module")
def shared(make_shared_kernel: Callable[..., Kernel]) -> Kernel:
    return make_shared_kernel(GEMINI_NB_AUTH="simulator", GEMINI_NB_SIMULATOR_PACE="0")


@pytest.fixture
def shell(shared: Kernel) -> Kernel:
    loaded = shared.run(f"import gemini_nb\n{LOAD}\n%gemini_stop all")
    assert loaded.status == "ok", loaded.error_text
    return shared


def asked(shell: Kernel) -> str:
    result = shell.run(ASKED)
    assert result.status == "ok", result.error_text
    return result.stdout


def test_a_function_asks_with_its_own_names(shell: Kernel) -> None:
    ran = shell.run(
        "city = 'Oslo'\ndef plan():\n    city = 'Bergen'\n    %gemini_stream Plan a day in {city}.\nplan()"
    )
    assert ran.status == "ok", ran.error_text
    assert "Plan a day in Bergen." in asked(shell)
    shell.run("%gemini_stream Plan a day in {city}.")
    assert "Plan a day in Oslo." in asked(shell)


def test_a_question_may_be_indented_and_stands_in_a_text_as_it_is(shell: Kernel) -> None:
    ran = shell.run(
        "text = '''\n%gemini_stream Why?\n'''\n"
        "if True:\n    %gemini_stream Why is the sky blue?\nprint(repr(text))"
    )
    assert ran.status == "ok", ran.error_text
    assert repr("\n%gemini_stream Why?\n") in ran.stdout
    assert "Why is the sky blue?" in asked(shell)


def test_a_question_is_bound_to_the_name_before_it(shell: Kernel) -> None:
    asks = (
        "city = 'Oslo'\nsky = %gemini_stream Why is the sky blue in {city}?\n"
        "def ask(river):\n    made = %gemini_stream Where is the {river}?\n    return made\n"
        "sea = ask('Tagus')\nprint(sky.result()[:9], sea.stream_id)"
    )
    ran = shell.run(asks)
    assert ran.status == "ok", ran.error_text
    assert "Where is the Tagus?" in asked(shell)
    assert len(ran.outputs) == 2  # the panes, and nothing of what was bound
    kept = shell.run("print(sky.info().request_body['contents'], In[-2])").stdout
    assert "Why is the sky blue in Oslo?" in kept
    assert "asked_by" not in kept


@pytest.mark.parametrize(
    "cell",
    [
        "%gemini_stream -o sea Why is \\\n  it\\\n blue?",
        "sea = %gemini_stream Why is \\\n  it blue?",
        "%time %gemini_stream -o sea Why is it blue?",
        "%time sea = %gemini_stream Why is it blue?",
    ],
)
def test_a_question_mark_is_one_wherever_the_question_ends(shell: Kernel, cell: str) -> None:
    shell.run("sea = None")
    ran = shell.run(f"{cell}\nprint(sea.result() != '')")
    assert (ran.status, ran.stdout[-5:]) == ("ok", "True\n"), ran.stdout + ran.error_text
    assert re.search(r"'Why is +it +blue\?'", asked(shell))


def test_the_history_is_searched_for_a_question(shell: Kernel) -> None:
    shell.run("%gemini_stream --wait Why is the grass green?")
    assert "Why is the grass green?" in shell.run("%gemini_history grass green?").stdout


def test_a_cell_that_asks_may_begin_with_comments_and_says_that_it_may_not_with_code(shell: Kernel) -> None:
    ran = shell.run("# Which one?\n\n#  of two\n%%gemini_stream -o trip --wait\n# Plan a day.\nIn Oslo?")
    assert ran.status == "ok", ran.error_text
    assert r"'# Plan a day.\nIn Oslo?'" in asked(shell)
    shell.run("%alias_magic ask gemini_stream")
    for name in ("%%gemini_stream", "%%ask"):
        ran = shell.run(f"city = 'Oslo'\n{name} -o trip\nPlan a day in {{city}}.")
        assert f"SyntaxError: {name} begins a cell: put what stands above it" in ran.error_text
    for cell in ("text = '''\n%%gemini_stream\n'''", "# A comment\n%%time\n1", "# A comment"):
        assert "begins a cell" not in shell.run(cell).error_text


def test_a_question_is_bound_to_whatever_python_can_bind(shell: Kernel) -> None:
    asks = (
        "kept, rows = {}, [0]\n"
        "kept['Q#1'] = %gemini_stream Is it high?\nboth = kept['a=b'] = %gemini_stream Is it low?\n"
        "for town in ('Lima', 'Rome'):\n    kept[town] = %gemini_stream Where is {town}?\n"
        "rows[0] = %gemini_stream Is it far?\nsky: object = %gemini_stream Is it blue?\n"
        "print(*(type(one).__name__ for one in (*kept.values(), *rows, sky)))"
    )
    ran = shell.run(asks)
    assert (ran.status, ran.stdout) == ("ok", " ".join(["Stream"] * 6) + "\n"), ran.error_text


def test_a_cell_of_deep_nesting_ends_no_waiting(shell: Kernel) -> None:
    deep = shell.run(f"total = {'+'.join(['1'] * 1_200)}")
    assert "unregistered" not in deep.stderr
    ran = shell.run("sky = %gemini_stream Why is it blue?\nprint(sky.stream_id)")
    assert ran.status == "ok", ran.error_text


def test_an_alias_is_read_as_the_magic_itself(shell: Kernel) -> None:
    shell.run(
        "%alias_magic gs gemini_stream\n%alias_magic t time\n"
        "%alias_magic -p '-o brief --raw' raw gemini_stream"
    )
    for cell, words in [
        ("%gs Why is the sky blue?", "Why is the sky blue?"),
        ("if True:\n    %gs Is it {1 + 1}?", "Is it {1 + 1}?"),
        ("def plan():\n    city = 'Bergen'\n    %gs Plan a day in {city}.\nplan()", "Plan a day in Bergen."),
        ("%raw Say {city}, why?", "Say {city}, why?"),
        ("%%raw --wait\nSay {city}.", "Say {city}."),
    ]:
        ran = shell.run(cell)
        assert ran.status == "ok", ran.error_text
        assert words in asked(shell)
    assert "{city}" in shell.run("print(brief.info().request_body)").stdout
    ticks = shell.run(
        "import asyncio\nticks = []\nasync def tick():\n"
        "    while True:\n        ticks.append(1)\n        await asyncio.sleep(0.001)\n"
        "task = asyncio.ensure_future(tick())"
    )
    assert ticks.status == "ok"
    waited = shell.run("%%gs --wait -o free\nHello")
    assert any("text/markdown" in bundle for bundle in waited.outputs)
    ran_meanwhile = "print(len(ticks)); task.cancel(); print(In[-2])"
    count, text = shell.run(ran_meanwhile).stdout.split("\n", 1)
    assert int(count) > 1  # the kernel's loop was free
    assert "gemini_stream" in text
    timed = shell.run("%t 1 + 1")
    assert "Wall time" in timed.stdout
    helped = shell.run("%gs?")
    assert "Alias for" in str(helped.payload)


def test_the_cell_that_loads_the_extension_asks(make_kernel: Callable[..., Kernel], tmp_path: Path) -> None:
    fresh = make_kernel(GEMINI_NB_AUTH="simulator", GEMINI_NB_SIMULATOR_PACE="0")
    ran = fresh.run(
        f"import gemini_nb\n{LOAD}\nsea = %gemini_stream On the sea.\n"
        "%gemini_stream -o sky Why is the sky blue?\nprint(sky.stream_id, sea.stream_id)"
    )
    assert ran.status == "ok", ran.error_text
    assert ran.stdout.strip().startswith("s")
    assert "Why is the sky blue?" in asked(fresh)
    ran = fresh.run(
        f"del sky\n%save -f {tmp_path / 'first.py'} 1\n%run -i {tmp_path / 'first.py'}\nprint(sky)"
    )
    assert "<Stream sky" in ran.stdout, ran.stdout + ran.error_text
    fresh.run("%unload_ext gemini_nb")
    script = tmp_path / "asks.ipy"
    script.write_text(f"{LOAD}\n%gemini_stream -o sea Why is the sea salty?\n")
    ran = fresh.run(f"%run {script}")
    assert ran.status == "ok", ran.error_text
    assert "Why is the sea salty?" in asked(fresh)


def test_what_is_saved_and_kept_as_history_runs(shell: Kernel, tmp_path: Path) -> None:
    number = shell.run("print(get_ipython().execution_count)").stdout.strip()
    first = int(number)
    ran = shell.run("%%gemini_stream --wait -o kept\nName a river.")
    assert ran.status == "ok", ran.error_text
    path = tmp_path / "cells.py"
    saved = shell.run(f"%save -f {path} {first}")
    assert saved.status == "ok", saved.error_text
    assert "await" not in path.read_text()
    for again in (f"%run -i {path}", f"exec(In[{first}])"):
        shell.run("del kept")
        ran = shell.run(again)
        assert ran.status == "ok", ran.error_text
        waited = shell.run("print(kept.wait().status)")
        assert waited.stdout.strip() == "completed", waited.error_text


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('--system="Be brief"', "Be brief"),
        ('-s "Say \\"yes\\" or no"', 'Say "yes" or no'),
        ("--system='It is {city}'", "It is Oslo"),
        ('-s "-v means verbose"', "-v means verbose"),
    ],
)
def test_quotes_hold_a_value_together(shell: Kernel, line: str, said: str) -> None:
    shell.run("city = 'Oslo'")
    ran = shell.run(f"%%gemini_stream {line}\nHello")
    assert ran.status == "ok", ran.error_text
    body = shell.run(
        "print(gemini_nb.get_manager().list_streams(all=True)[-1].info().request_body['systemInstruction']['parts'][0]['text'])"
    )
    assert body.stdout.strip() == said


def test_a_quote_that_is_not_closed_is_named(shell: Kernel) -> None:
    ran = shell.run('%%gemini_stream -s "Be brief\nHello')
    assert "is not closed" in ran.stderr


def test_a_name_that_is_not_defined_is_said_once(shell: Kernel) -> None:
    ran = shell.run("%%gemini_stream\nGreet {undefined_name} and {undefined_name}.")
    assert ran.stdout.count("undefined_name is not defined") == 1
    assert "{undefined_name}" in asked(shell)


def notes_of(text: str, /, **names: object) -> list[str]:
    notes: list[str] = []
    interpolate(text, names, notes=notes)
    return notes


@pytest.mark.parametrize(
    "text",
    [
        "Return {\"name\": name} and {'a': {b}}",
        "```python\nprint(f'{total}')\n```",
        "Use `{placeholder}` there",
        "print(f'{total:.2f}')",
        "const area = ({width}) => width",
        r"Prove \frac{numerator}{denominator} and x_{index} and e^{power}",
        r"$\sqrt{value}$ and \begin{align} a \end{align}",
        "${HOME}/bin and #{ruby} and %{elixir} and {{mustache}}",
        "a set {x} and {len} and {print}",
        "\\text{hello}",
        "for row in rows: yield {row}",
        "a map {key:value}, {key:1}, {total:b}",
        "Take {a}, {item: total}, {total, item}, {total: item, item: total} and {total < item}",
        "const {total} = first(); {total.x(item)}",
        "$x_{total + item}$ and \\frac{total-1}{item.text} and {{ total }}",
        '[{"total": 1, "item": [total[0]]}]',
    ],
)
def test_json_code_and_formulas_say_nothing(text: str) -> None:
    assert notes_of(text) == []
    words = re.findall(r"\w+", text)
    assert notes_of(text, **dict.fromkeys(words, "named so")) == []


def test_the_time_for_many_braces_grows_with_their_number() -> None:
    def seconds(text: str) -> float:
        start = time.process_time()
        notes_of(text, name="")
        return time.process_time() - start

    for braces in ("{undefined} ", "{len(name)} ", '{"name": [name]}, ', "`{undefined}` ", "{undefined}\n"):
        assert seconds(braces * 8_000) < 8 * seconds(braces * 2_000) + 0.5


@pytest.mark.parametrize(
    "text",
    [
        "Plan a day in {ctiy}.",
        "({trip.text})",
        "Compare {first_one}, {second_one}",
        "It costs {prize:.2f} or {prize!r}",
        "for a trip to {ctiy}, say what to pack; then go to {ctiy}",
        "print a poem on {topic}",
    ],
)
def test_a_mistyped_name_is_noticed(text: str) -> None:
    assert notes_of(text)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("See {city.nmae}.", "city has no nmae: {city.nmae} was sent as it is."),
        ("See {rows[7].name}.", "rows has no [7].name: {rows[7].name} was sent as it is."),
        ("See {prices['tea']}.", "prices has no ['tea']: {prices['tea']} was sent as it is."),
        ("See {city:.2f}.", "city is a str, which has no such format: {city:.2f} was sent as it is."),
        ("See {broken}, {broken!r}.", "broken has no text (RuntimeError): {broken} was sent as it is."),
    ],
)
def test_a_way_that_leads_nowhere_is_noticed(text: str, note: str) -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    assert notes_of(text, city="Oslo", rows=[1], prices={}, broken=Broken())[0] == note


@pytest.mark.parametrize(
    "braces",
    ["{city[:3]}", "{len(city)}", "{city.upper()}", "{', '.join(rows)}", "{rows[0] + 1:.2f}"],
)
def test_an_expression_in_braces_is_noticed(braces: str) -> None:
    (note, other) = notes_of(f"See {braces}, and {{city + city}}.", city="Oslo", rows=["a"])
    assert note == (
        f"Give it a name first, since braces take only names, their attributes and single items: "
        f"{braces} was sent as it is."
    )
    assert "{city + city}" in other
    (note,) = notes_of("See { city }, where it snows.", city="Oslo")
    assert note == "Leave out the blanks in the braces: { city } was sent as it is."


def test_names_are_compared_as_python_does() -> None:
    namespace: dict[str, object] = {}
    exec("µ = 3", namespace)
    assert interpolate("{µ} {\u03bc}", namespace) == ["3 3"]


def test_rows_that_are_left_out_of_a_frame_are_said_and_can_be_sent() -> None:
    frame = pd.DataFrame({"n": range(5_000)})
    (note,) = notes_of("{frame}", frame=frame)
    assert "40 of 5,000 rows" in note
    (note,) = notes_of("{frame:200}", frame=frame)
    assert "200 of 5,000 rows" in note
    assert notes_of("{frame:all}", frame=frame) == []
    (text,) = interpolate("{frame:all}", {"frame": frame})
    assert text.count("\n") > 5_000
    assert "only the first" not in text
    (text,) = interpolate("{frame:200}", {"frame": frame})
    assert "\n199,199\n" in text
    assert "\n200,200\n" not in text
