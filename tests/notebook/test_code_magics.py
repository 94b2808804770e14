"""From answers to code and from errors to answers, in a real kernel, against a scripted server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kernels import Kernel, Result
from scripted import Request, ScriptedServer, Step, Wait, answer, sse_answer, text

KEY = "key-of-the-code-magics-0123456789"
FIXED = "The name was misspelt.\n\n```python\nprint('fixed')\n```\n"
CHAIN = """e = None
for i in range(2000):
    n = OSError(i)
    n.__cause__, e = e, n
raise e"""
TWO = "```python\nx = 1\n```\nthen\n```bash\nls\n```\nand\n```py\ny = x + 1\n```\n"
SESSION = "```pycon\n>>> x = 1\n>>> if x:\n...     print(x)\n1\n```\n"
CELLS = "```python\nx = 1\n```\nand\n```text\nhm\n```\nand\n```python\n%%time\nx\n```\n"
SHELLS = "```bash\n%%bash\nls\n```\n```sh\n!pip list\n```\n```JS\nlet a\n```\n```bash\n```\n"
TWINS = "```python\n%%time\nx\n```\n" * 2
COMMENTS = "```latex\n% A sum\n$1$\n```\n```latex\n%% A sum\n```\n```bash\n! grep x y\n```\n"


class Service:
    """Answers with the text that stands for the prompt's first word, and keeps what was asked."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.asked: list[dict[str, Any]] = []
        self.models: list[dict[str, Any]] = []

    def __call__(self, request: Request) -> list[Step]:
        if request.method == "GET":
            return answer(body=json.dumps({"models": self.models}).encode())
        self.asked.append(request.json)
        first = request.json["contents"][-1]["parts"][-1]["text"].split()[0]
        answers = {"two": TWO, "none": "No code here.", "bash": "```bash\nls\n```", "late": TWO}
        answers |= {
            "session": SESSION,
            "cells": CELLS,
            "shells": SHELLS,
            "twins": TWINS,
            "comments": COMMENTS,
            "[secret]": "```python\nkey = '[secret]'\n```",
        }
        answers |= {"script": "```bash\nexit 0\n```", "cut": "```python\nif x:"}
        steps = sse_answer(text(answers.get(first, FIXED), finish="MAX_TOKENS" if first == "cut" else "STOP"))
        return [Wait(self.gate), *steps] if first == "late" else list(steps)

    @property
    def prompt(self) -> str:
        return "\n".join(part["text"] for part in self.asked[-1]["contents"][-1]["parts"])

    @property
    def system(self) -> str:
        found: str = self.asked[-1]["systemInstruction"]["parts"][0]["text"]
        return found


@pytest.fixture(scope="module")
def made(make_shared_kernel: Callable[..., Kernel]) -> Iterator[tuple[Kernel, Service]]:
    service = Service()
    with ScriptedServer(service) as server:
        kernel = make_shared_kernel(
            GEMINI_NB_AUTH="gemini", GEMINI_API_KEY=KEY, GOOGLE_GEMINI_BASE_URL=server.url
        )
        kernel.run("%load_ext gemini_nb")
        yield kernel, service


@pytest.fixture
def kernel(made: tuple[Kernel, Service]) -> Kernel:
    return made[0]


@pytest.fixture
def service(made: tuple[Kernel, Service]) -> Service:
    made[1].gate = threading.Event()
    return made[1]


def asked(kernel: Kernel, prompt: str, name: str = "trip") -> None:
    assert kernel.run(f"%%gemini_stream --wait -o {name}\n{prompt}").status == "ok"


def inputs(result: Result) -> list[tuple[str, bool]]:
    return [(one["text"], one["replace"]) for one in result.payload if one["source"] == "set_next_input"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("trip", "x = 1\n\ny = x + 1"),
        ("", "x = 1\n\ny = x + 1"),
        ("trip 1", "x = 1"),
        ("trip 2", "%%bash\nls"),
        ("trip 3", "y = x + 1"),
    ],
)
def test_code_takes_the_place_of_its_cell(kernel: Kernel, service: Service, line: str, code: str) -> None:
    asked(kernel, "two")
    done = kernel.run(f"%gemini_code {line}")
    assert done.status == "ok", done.error_text
    assert inputs(done) == [(code, True)]
    assert "y" not in kernel.run("print([name for name in ('y',) if name in globals()])").stdout


@pytest.mark.parametrize(
    ("prompt", "line", "code"),
    [
        ("session", "trip", "x = 1\nif x:\n    print(x)"),
        ("shells", "trip 1", "%%bash\nls"),
        ("shells", "trip 2", "!pip list"),
        ("shells", "trip 3", "%%javascript\nlet a"),
        ("cells", "trip 3", "%%time\nx"),
        ("comments", "trip 1", "%%latex\n% A sum\n$1$"),
        ("comments", "trip 2", "%%latex\n%% A sum"),
        ("comments", "trip 3", "%%bash\n! grep x y"),
    ],
)
def test_code_is_ready_to_run(kernel: Kernel, service: Service, prompt: str, line: str, code: str) -> None:
    asked(kernel, prompt)
    assert inputs(kernel.run(f"%gemini_code {line}")) == [(code, True)]


def test_a_chat_stands_for_its_last_answer(kernel: Kernel, service: Service) -> None:
    kernel.run("%gemini_stream -c talk --wait two")
    kernel.run("%gemini_stream -c talk --wait session")
    assert inputs(kernel.run("%gemini_code talk 1"))[0][0].startswith("x = 1\nif x:")
    done = kernel.run("import gemini_nb\nquiet = gemini_nb.Chat()\n%gemini_code quiet")
    assert "The chat quiet has no answer of this kernel." in done.stderr


def test_one_of_several_is_called_as_its_pane_calls_it(kernel: Kernel, service: Service) -> None:
    kernel.run("both = ['two', 'session']\n%gemini_stream --each both -o pair --wait {item}")
    assert "%gemini_code pair[0]." in kernel.run("%gemini_code pair 1").stderr
    assert inputs(kernel.run("%gemini_code pair[1] 1"))[0][0].startswith("x = 1\nif x:")
    assert "pair[1] · s" in kernel.run("%gemini_streams pair[1]").stdout
    assert "There is no stream 'pair[2]'." in kernel.run("%gemini_show pair[2]").stderr
    assert "mean all" not in kernel.run("%gemini_show all").stderr


@pytest.mark.parametrize(
    ("prompt", "line", "said"),
    [
        ("cells", "trip", "for example %gemini_code trip 1; their numbers are 1, 3."),
        ("twins", "trip", "for example %gemini_code trip 1; their numbers are 1, 2."),
        ("shells", "trip 4", "Code block 4 of trip is empty."),
        ("none", "trip", "There is no code in the answer of trip."),
        ("two", "trip 7", "trip has 3 code blocks, numbered from 1; there is no number 7."),
        ("bash", "trip", "trip has no Python code. Its code blocks: 1 (bash). %gemini_code trip 1 takes"),
        ("two", "trip 1 2", "takes one stream and one number"),
        ("two", "nobody", "There is no stream 'nobody'."),
    ],
)
def test_what_cannot_be_taken_is_said(
    kernel: Kernel, service: Service, prompt: str, line: str, said: str
) -> None:
    asked(kernel, prompt)
    done = kernel.run(f"%gemini_code {line}")
    assert said in done.error_text + done.stderr
    assert inputs(done) == []


def test_code_waits_for_a_stream_that_still_runs(kernel: Kernel, service: Service) -> None:
    kernel.run("%%gemini_stream -o slow\nlate")
    taking = kernel.start("%gemini_code slow 1")
    kernel.wait_until(lambda: any(one["msg_type"] == "execute_input" for one in taking.messages))
    service.gate.set()
    assert inputs(kernel.finish(taking)) == [("x = 1", True)]


def test_where_no_cell_can_be_filled_the_code_is_printed(kernel: Kernel, service: Service) -> None:
    asked(kernel, "two")
    done = kernel.run("%gemini_code trip 1", allow_stdin=False)
    assert done.stdout == "x = 1\n"


def test_an_error_is_explained_with_the_cell_and_its_names(kernel: Kernel, service: Service) -> None:
    kernel.run(
        "import json\nprices, my_token = {'tea': 3.5}, 'swordfish'\ndef cost(name): return prices[name]"
    )
    failed = kernel.run("total = cost('coffee') + len(my_token)\njson.dumps(total)")
    assert failed.status == "error"
    done = kernel.run("%gemini_explain Why here?")
    assert done.status == "ok", done.error_text
    kernel.run("%gemini_wait all")
    assert service.prompt.startswith("Why here?")
    assert "total = cost('coffee')" in service.prompt
    assert "KeyError: 'coffee'" in service.prompt
    assert "`prices`" in service.prompt or "`cost`: function cost(name)" in service.prompt
    assert "in cost: `name`: str, 'coffee'" in service.prompt
    assert "swordfish" not in service.prompt
    assert "site-packages" not in service.prompt
    assert "Explain in plain words" in service.system


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("x = (1,", "SyntaxError"),
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("%%timeit -n1 -r1\n1 / 0", "ZeroDivisionError"),
        ("%no_such_magic", "UsageError"),
        ("import json\njson.loads('{')", "raised in json/decoder.py, in raw_decode"),
        (
            "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError('no') from e",
            "which led to:",
        ),
        ("raise KeyboardInterrupt('by me')", "KeyboardInterrupt: by me"),
        (
            "try:\n    1 / 0\nexcept Exception as e:\n    raise ExceptionGroup('g', [e])",
            "ZeroDivisionError: ",
        ),
        (
            "a = OSError('a'); a.__cause__ = b = OSError('b'); b.__cause__ = a\nraise a",
            "OSError: b\n\nwhich led",
        ),
        (CHAIN, "OSError: 0\n\nwhich led to:\n\nOSError: 1\n"),
        (CHAIN, "[… 1,990 errors left out …]"),
        ("def f(n): return f(n - 1) if n else [][1]\nf(50)", "cell, line 2: f(50)\ncell, line 1, in f: def"),
        ("def f(n): return f(n - 1) if n else [][1]\nf(50)", "[… 37 frames left out …]"),
        ("eval('1 +')", "cell, line 1: eval('1 +')\n<string>, line 1\n    1 +"),
        (
            "with open('bad.py', 'w') as file: file.write('[][1]')\n%run bad.py",
            "bad.py, line 1: [][1]\nIndexError",
        ),
        ("import pandas\npandas.DataFrame()['a']", "cell, line 2: pandas.DataFrame()['a']\nraised in "),
        ("[1 / z for z in [0]] + [float, E]\nclass E(Exception): ...", "ZeroDivisionError"),
        ("token = 'in-the-cell-1'\nraise ValueError(f'no {token}')", "token = '[secret]'"),
        ("token = 'in-the-cell-1'\nraise ValueError(f'no {token}')", "ValueError: no [secret]"),
    ],
)
def test_every_kind_of_failure_counts(kernel: Kernel, service: Service, cell: str, words: str) -> None:
    kernel.run(cell)
    shown = kernel.run("%gemini_explain --show")
    before = len(service.asked)
    assert words in shown.stdout
    assert cell.splitlines()[0].replace("in-the-cell-1", "[secret]") in shown.stdout
    assert ".pyx" not in shown.stdout.partition("raised in")[0]
    assert "`.0`" not in shown.stdout
    assert len(service.asked) == before


def test_a_fix_becomes_the_next_input(kernel: Kernel, service: Service) -> None:
    kernel.run("pritn('x')")
    done = kernel.run("%gemini_fix")
    assert done.status == "ok", done.error_text
    assert inputs(done) == [("print('fixed')", False)]
    assert any("misspelt" in bundle.get("text/markdown", "") for bundle in done.outputs)
    assert "whole corrected cell" in service.system
    # A second one is about the same failure, not about itself.
    kernel.run("%gemini_fix")
    assert "pritn('x')" in service.prompt


@pytest.mark.parametrize(
    ("cell", "word", "code", "said"),
    [
        ("%%bash\nexit 3", "script", "%%bash\nexit 0", ""),
        ("1 / 0", "script", "", "The answer holds no corrected cell."),
        ("1 / 0", "none", "", "The answer holds no corrected cell."),
        ("1 / 0", "cut", "if x:", "The answer is not whole, so its code may break off."),
        ("key = 1 / 0", "[secret]", "key = '[secret]'", "[secret] stands for a key or password"),
        ("1 / 0", "session", "x = 1\nif x:\n    print(x)", ""),
    ],
)
def test_a_fix_says_what_it_cannot_give(
    made: tuple[Kernel, Service], cell: str, word: str, code: str, said: str
) -> None:
    kernel, _ = made
    kernel.run(cell)
    done = kernel.run(f"%gemini_fix {word}")
    assert inputs(done) == ([(code, False)] if code else [])
    assert said in done.stdout
    assert bool(said) == bool(done.stdout)


def test_a_hint_gives_no_solution(kernel: Kernel, service: Service) -> None:
    kernel.run("pritn('x')")
    done = kernel.run("%gemini_fix --hint")
    assert inputs(done) == []
    assert "no solution" in service.system
    kernel.run("%gemini_explain --hint --wait")
    assert "no solution" in service.system


def test_the_user_has_the_last_word_on_options(kernel: Kernel, service: Service) -> None:
    kernel.run("pritn('x')")
    kernel.run('%gemini_explain -s "Be brief"')
    kernel.run("%gemini_wait all")
    assert service.asked[-1]["systemInstruction"]["parts"] == [{"text": "Be brief"}]
    assert "Leave --no-wait out" in kernel.run("%gemini_fix --no-wait").stderr


def test_options_see_the_notebook_where_the_failed_cell_is_sent_as_it_is(
    kernel: Kernel, service: Service
) -> None:
    kernel.run("heat = 0.25\ndef why(top):\n    %gemini_explain --max-tokens {top} -o trip Why?")
    kernel.run("pritn(f'{heat}')")
    kernel.run("why(77)\ntrip.wait(20)")
    assert service.asked[-1]["generationConfig"] == {"maxOutputTokens": 77}
    done = kernel.run("%gemini_fix --temperature {heat} Why {heat}?")
    assert done.status == "ok", done.error_text
    assert service.asked[-1]["generationConfig"] == {"temperature": 0.25}
    assert service.prompt.startswith("Why {heat}?")
    assert "pritn(f'{heat}')" in service.prompt


def test_a_fix_leaves_the_kernels_loop_free_and_can_be_interrupted(kernel: Kernel, service: Service) -> None:
    kernel.run("late = 1 / 0")
    kernel.run(
        "import asyncio\nticks = []\n"
        "async def tick():\n"
        "    while len(ticks) < 500:\n"
        "        ticks.append(1)\n"
        "        await asyncio.sleep(0.01)\n"
        "    print('ticked')\n"
        "task = asyncio.ensure_future(tick())"
    )
    before = len(service.asked)
    fixing = kernel.start("%gemini_fix late")
    kernel.wait_until(lambda: len(service.asked) > before)
    kernel.interrupt()
    done = kernel.finish(fixing)
    assert done.status == "error"
    assert "was stopped" in done.error_text
    assert inputs(done) == []
    assert kernel.run("print(len(ticks) > 1)").stdout == "True\n"


def test_a_prompt_sees_the_last_error(kernel: Kernel, service: Service) -> None:
    kernel.run("[][3]")
    asked(kernel, "Look at {error} please")
    assert "IndexError: list index out of range" in service.prompt
    assert service.prompt.endswith("please")
    kernel.run("error = 'mine'")
    asked(kernel, "Look at {error} please")
    assert service.prompt == "Look at mine please"
    kernel.run("del error")


def test_the_cells_above_go_along(kernel: Kernel, service: Service) -> None:
    kernel.run("print('one', 'printed')")
    kernel.run("40 + 2")
    done = kernel.run("%%gemini_stream --above 2 --wait\nWhat did I do?")
    assert done.status == "ok", done.error_text
    sent = service.asked[-1]["contents"][-1]["parts"][0]["text"]
    assert f"Sent along: 2 cells above, {len(sent)} characters." in done.stdout
    assert "print('one', 'printed')" in service.prompt
    assert "40 + 2" in service.prompt
    assert "\n42\n" in service.prompt
    assert "one printed" in service.prompt
    assert service.prompt.endswith("What did I do?")
    # What a cell above was answered is what it put out.
    kernel.run("%gemini_stream --above 1 --wait And now?")
    assert "The name was misspelt." in service.prompt


def test_cells_above_that_cannot_be_shown_go_along(kernel: Kernel, service: Service) -> None:
    kernel.run("class Bad:\n    def __repr__(self): raise OSError('no repr')\nBad()")
    kernel.run("import pandas\npandas.DataFrame({'a': [1]})")
    kernel.run("db_password = 'in-the-cell-1'\nprint('with', db_password)")
    done = kernel.run("%gemini_stream --above 3 --wait Hi")
    assert (done.status, done.error_text) == ("ok", "")
    assert "```\nBad\nOSError: no repr\n```" in service.prompt
    assert "```\n   a\n0  1\n```" in service.prompt
    assert "with [secret]" in service.prompt
    assert "in-the-cell-1" not in service.prompt


def test_the_cells_above_show_values_as_the_shell_does(kernel: Kernel, service: Service) -> None:
    kernel.run("%precision 3")
    kernel.run("2 / 3")
    kernel.run("%gemini_stream --above 1 --wait Hi")
    kernel.run("%precision")
    assert "\n0.667\n" in service.prompt


def test_an_error_between_two_cells_is_that_of_neither(kernel: Kernel, service: Service) -> None:
    """As that of a widget's callback, which ipywidgets shows."""
    kernel.run("""def click(_):
    ip.events.unregister('post_run_cell', click)
    try:
        [][7]
    except IndexError:
        ip.showtraceback()
ip = get_ipython()
ip.events.register('post_run_cell', click)""")
    kernel.run("fine = 1")
    kernel.run("%gemini_stream --above 1 --wait Hi")
    assert "fine = 1" in service.prompt
    assert "list index" not in service.prompt
    assert "list index out of range" in kernel.run("%gemini_explain --show").stdout


def test_the_cells_above_go_along_with_the_answers_that_are_still_to_come(
    kernel: Kernel, service: Service
) -> None:
    rows = "rows = (f'late {word}' for word in ['one', 'two'])"
    cells = ["%gemini_stream -o first late first", "first", rows, "%gemini_stream --each rows {item}"]
    for cell in [*cells, "%gemini_stream -o last --above 4 And {first.text:.6} now?"]:
        assert kernel.run(cell).status == "ok"
    assert kernel.run("print(last.is_done, bool(last.waiting_for))").stdout == "False True\n"
    service.gate.set()
    kernel.run("%gemini_wait last")
    assert service.prompt.count(TWO.strip()) == 4
    assert service.prompt.endswith(f"And {TWO[:6]} now?")


def test_a_key_is_never_sent(kernel: Kernel, service: Service) -> None:
    kernel.run(f"x = '{KEY}'\nraise ValueError('with ' + x)")
    kernel.run("%gemini_explain")
    kernel.run("%gemini_wait all")
    assert KEY not in service.prompt
    kernel.run("%gemini_stream --above 1 --wait Hi")
    assert KEY not in service.prompt


def test_the_models_are_listed_as_lines_whatever_the_service_calls_them(
    kernel: Kernel, service: Service
) -> None:
    assert "The service lists no models." in kernel.run("%gemini_models --fresh").stderr
    service.models = [{"name": "models/a", "displayName": "\x1b[31mA\x1b[0m\nb  9  9", "inputTokenLimit": 10}]
    listed = kernel.run("%gemini_models --fresh").stdout.splitlines()
    assert [line.split() for line in listed[1:]] == [["a", "10", "A", "b", "9", "9"]]


def test_nothing_failed_yet(make_kernel: Callable[..., Kernel]) -> None:
    fresh = make_kernel(GEMINI_NB_AUTH="simulator", GEMINI_NB_SIMULATOR_PACE="0")
    fresh.run("%load_ext gemini_nb")
    for _ in range(2):  # its own error is none
        assert "No cell has failed yet" in (done := fresh.run("%gemini_explain")).stderr + done.error_text


def test_a_failure_from_before_the_extension_was_loaded_counts(make_kernel: Callable[..., Kernel]) -> None:
    fresh = make_kernel(GEMINI_NB_AUTH="simulator", GEMINI_NB_SIMULATOR_PACE="0")
    fresh.run("before = 'it'\n1 / 0")
    fresh.run("%load_ext gemini_nb")
    shown = fresh.run("%gemini_explain --show").stdout
    assert "ZeroDivisionError" in shown
    assert "before = 'it'" in shown


def test_unloading_takes_the_magics_away(make_kernel: Callable[..., Kernel]) -> None:
    fresh = make_kernel(GEMINI_NB_AUTH="simulator", GEMINI_NB_SIMULATOR_PACE="0")
    fresh.run("%load_ext gemini_nb")
    fresh.run("%unload_ext gemini_nb")
    done = fresh.run("%gemini_fix")
    assert "not found" in done.stderr + done.error_text
