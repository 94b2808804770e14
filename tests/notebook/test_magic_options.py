"""Every option of the magic, in a real kernel fed by the embedded simulator."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from traitlets import TraitError
from traitlets.config import Config

from gemini_nb.notebook.magics.settings import GeminiNB
from gemini_nb.streams.manager import StreamManager
from kernels import Kernel


@pytest.fixture(scope="module")
def shared(make_shared_kernel: Callable[..., Kernel]) -> Kernel:
    kernel = make_shared_kernel(GEMINI_NB_AUTH="simulator", GEMINI_NB_SIMULATOR_PACE="0")
    kernel.run("import gemini_nb")
    return kernel


@pytest.fixture
def shell(shared: Kernel) -> Kernel:
    loaded = shared.run("%load_ext gemini_nb\n%gemini_stop all")
    assert loaded.status == "ok", loaded.error_text
    return shared


def ran(shell: Kernel, code: str, timeout: float = 30) -> str:
    """Run a cell that must not fail, and return what it printed."""
    done = shell.run(code, timeout)
    assert done.status == "ok", done.error_text
    return done.stdout


BODY = "import json; print(json.dumps({'contents': trip.request.contents, **trip.request.body}))"


def body_of(shell: Kernel, cell: str) -> dict[str, object]:
    ran(shell, cell)
    made: dict[str, object] = json.loads(ran(shell, f"{BODY}; trip.stop()"))
    return made


def test_names_are_replaced_and_raw_leaves_them(shell: Kernel) -> None:
    ran(shell, "city = 'Lisbon'; prices = {'tea': 1.5}")
    cell = "Tea in {city} costs {prices['tea']:.2f}, as in {\"json\": {unknown}}."
    parts = body_of(shell, f"%%gemini_stream -o trip\n{cell}")["contents"]
    assert parts == [
        {"role": "user", "parts": [{"text": 'Tea in Lisbon costs 1.50, as in {"json": {unknown}}.'}]}
    ]
    parts = body_of(shell, f"%%gemini_stream -o trip --raw\n{cell}")["contents"]
    assert parts == [{"role": "user", "parts": [{"text": cell}]}]


def test_names_may_be_the_letters_of_options(shell: Kernel) -> None:
    ran(shell, "m = [*'abc']\ndef t() -> str:\n    'Tell.'\n    return 'told'")
    ran(shell, "%%gemini_stream -o s -c c -t t -s o\nName a river.")
    ran(shell, "%gemini_stream --each m -o t Name {item}.")
    assert ran(shell, "print(type(s).__name__, type(c).__name__, len(t))") == "Stream Chat 3\n"


def test_only_what_was_asked_for_is_sent(shell: Kernel) -> None:
    assert set(body_of(shell, "%%gemini_stream -o trip\nHello.")) == {"contents"}
    body = body_of(
        shell,
        "%%gemini_stream -o trip -s 'Be brief.' --temperature 0.5 --max-tokens 99 --thinking low --search "
        "--code\nHello.",
    )
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    assert body["generationConfig"] == {
        "temperature": 0.5,
        "maxOutputTokens": 99,
        "thinkingConfig": {"includeThoughts": True, "thinkingLevel": "LOW"},
    }
    assert body["tools"] == [{"googleSearch": {}}, {"codeExecution": {}}]


def test_the_system_instruction_sees_the_notebook_too(shell: Kernel) -> None:
    ran(shell, "tone = 'rude'")
    for raw, said in (("", "Be rude, not {polite}."), (" --raw", "Be {tone}, not {polite}.")):
        body = body_of(shell, f"%%gemini_stream -o trip{raw} -s 'Be {{tone}}, not {{polite}}.'\nHello.")
        assert body["systemInstruction"] == {"parts": [{"text": said}]}


def test_a_file_goes_along(shell: Kernel, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Buy tea.")
    body = body_of(shell, f"%%gemini_stream -o trip --file {tmp_path}/notes.txt\nSum it up.")
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": "notes.txt:\nBuy tea."}, {"text": "Sum it up."}]}
    ]


def test_the_values_of_options_may_be_in_variables(shell: Kernel) -> None:
    ran(shell, "models = {'small': 'gemini-2.5-flash'}; heat = 0.25; names = ['a', 'b']")
    ask = (
        "%gemini_stream -m {models['small']} --temperature={heat} -o {name}_{heat:.0f} -s {{heat}} On {name}."
    )
    ran(shell, f"for name in names:\n    {ask}")
    show = (
        "[(s.model, s.request.body['generationConfig'], s.request.contents[0]['parts']) for s in (a_0, b_0)]"
    )
    expected = [("gemini-2.5-flash", {"temperature": 0.25}, [{"text": f"On {name}."}]) for name in ("a", "b")]
    assert ran(shell, f"print({show})") == f"{expected}\n"
    body = body_of(shell, "def ask(name):\n    %gemini_stream -o trip -m {name}-1 Hello.\nask('gemini')")
    assert ran(shell, "print(trip.model)") == "gemini-1\n"
    assert body["contents"] == [{"role": "user", "parts": [{"text": "Hello."}]}]


def test_a_value_in_a_variable_is_read_as_argparse_reads_it(shell: Kernel) -> None:
    ran(shell, "model = 'gemini-1'; level = 'high'; top = 9; import pathlib")
    ran(shell, "quoted = '\"notes\".txt'; pathlib.Path(quoted).write_text('Buy tea.')")
    body = body_of(shell, "%gemini_stream --thinking {level} -o trip --max-tok {top} --file {quoted} Why?")
    assert body["generationConfig"] == {
        "maxOutputTokens": 9,
        "thinkingConfig": {"includeThoughts": True, "thinkingLevel": "HIGH"},
    }
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": '"notes".txt:\nBuy tea.'}, {"text": "Why?"}]}
    ]
    body_of(shell, "%%gemini_stream -o trip -m{model}\nHello.")
    assert ran(shell, "print(trip.model)") == "gemini-1\n"
    body = body_of(shell, "%gemini_stream -o trip --ra --thinking {level} is not {{level}}")
    assert body["contents"] == [{"role": "user", "parts": [{"text": "{level} is not {{level}}"}]}]


@pytest.mark.parametrize(
    ("line", "file", "prompt"),
    [
        ("--keep mine.jsonl Why is it blue?", "mine.jsonl", "Why is it blue?"),
        ("--keep 'my answers.jsonl' Why?", "my answers.jsonl", "Why?"),
        ("--keep answers/ Why?", "answers/", "Why?"),
        ("--keep Why and/or how?", "answers.jsonl", "Why and/or how?"),
        ("--keep -- mine.jsonl is what?", "answers.jsonl", "mine.jsonl is what?"),
        ("--keep {kept} -- Why?", "its own.jsonl", "Why?"),
        ("--keep {kept}", "answers.jsonl", "its own.jsonl"),
        ("--keep https://example.com/ is what?", "answers.jsonl", "https://example.com/ is what?"),
    ],
)
def test_a_line_names_the_file_of_kept_answers(shell: Kernel, line: str, file: str, prompt: str) -> None:
    ran(shell, f"import pathlib, shutil\nfile = pathlib.Path({file!r}); kept = 'its own.jsonl'")
    ran(shell, "shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)")  # of another line
    ran(shell, f"%gemini_stream --wait --fresh -o trip {line}")
    assert ran(shell, "print(trip.request.contents[0]['parts'][0]['text'], trip.error)") == f"{prompt} None\n"
    ran(shell, "assert file.exists(), list(pathlib.Path().iterdir())")


def test_a_structured_answer_is_read(shell: Kernel) -> None:
    ran(shell, "import dataclasses\n@dataclasses.dataclass\nclass City:\n    name: str\n    people: int")
    ran(shell, "%%gemini_stream -o trip --schema City --wait\nName a city in Peru.")
    assert (
        ran(shell, "print(type(trip.parsed).__name__, isinstance(trip.parsed.people, int))") == "City True\n"
    )


def test_one_question_for_each_item(shell: Kernel) -> None:
    ran(shell, "import pandas\nrows = pandas.DataFrame({'city': ['Oslo', 'Lima', 'Rome']}, index=[7, 5, 9])")
    done = shell.run("%%gemini_stream --each rows --concurrency 2 -o trips --wait\nDescribe {item.city}.")
    assert done.status == "ok", done.error_text
    asked = ran(
        shell, "print([s.request.contents[0]['parts'][0]['text'] for s in trips.streams], len(trips.results))"
    )
    assert asked == "['Describe Oslo.', 'Describe Lima.', 'Describe Rome.'] 3\n"
    (output,) = done.outputs
    text = str(output["text/markdown"])
    assert text.startswith("**3 answers**: 3 completed")
    assert text.count("<details><summary>") == 3
    assert ran(shell, "print(list(trips.to_frame()['city']), set(trips.to_frame()['status']))") == (
        "['Oslo', 'Lima', 'Rome'] {'completed'}\n"
    )
    assert ran(shell, "print(list(trips.to_frame().index))") == "[7, 5, 9]\n"


def test_one_item_is_one_answer_and_its_address_is_nobodys_concern(shell: Kernel) -> None:
    ran(shell, "class Thing:\n    city = 'Oslo'\nonly = [Thing()]")
    done = shell.run("%%gemini_stream --each only -o trips --wait\nDescribe {item.city}.")
    text = str(done.outputs[0]["text/markdown"])
    assert text.startswith("**1 answer**: 1 completed")
    assert " at 0x" not in text


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_thousand_items_draw_one_list(shell: Kernel) -> None:
    ran(shell, "many = list(range(1000))")
    before = set(shell.widgets)
    ran(shell, "%%gemini_stream --each many -o lots --concurrency 50\nWrite {item}.")
    assert len(set(shell.widgets) - before) < 30
    count = "lots.wait(240); print(sum(s.status == 'completed' for s in lots.streams))"
    assert ran(shell, count, timeout=250) == "1000\n"


def test_each_over_a_group_that_still_takes_its_items_asks_about_all_of_them(shell: Kernel) -> None:
    ran(
        shell,
        "import threading\n"
        "more = threading.Event()\n"
        "def names():\n"
        "    yield 'tea'\n"
        "    assert more.wait(20)\n"
        "    yield from ('rice', 'salt')\n"
        "made = names()",
    )
    ran(shell, "%gemini_stream --each made --concurrency 1 -o first Name {item}.")
    ran(shell, "%gemini_stream --each first -o second Shorten {item}.")
    assert (
        ran(shell, "more.set(); second.wait(20); print(len(second), second.errors)")
        == "3 [None, None, None]\n"
    )


def test_models_side_by_side(shell: Kernel) -> None:
    done = shell.run("%%gemini_stream -m gemini-2.5-flash,gemini-2.5-pro -o both --wait\nName a river.")
    assert done.status == "ok", done.error_text
    (output,) = done.outputs
    text = str(output["text/markdown"])
    assert text.index("**gemini-2.5-flash") < text.index("**gemini-2.5-pro")
    assert ran(shell, "print([s.model for s in both.streams], both.items)") == (
        "['gemini-2.5-flash', 'gemini-2.5-pro'] None\n"
    )


def test_several_models_for_each_item_are_told_apart(shell: Kernel) -> None:
    ran(shell, "few = ['tea', 'rice']")
    done = shell.run("%%gemini_stream --each few -m gemini-2.5-flash -m gemini-2.5-pro --wait\nOn {item}.")
    text = str(done.outputs[0]["text/markdown"])
    for words in (
        "tea · gemini-2.5-flash",
        "rice · gemini-2.5-flash",
        "tea · gemini-2.5-pro",
        "rice · gemini-2.5-pro",
    ):
        assert text.count(f"<summary>{words}</summary>") == 1
    models = "-m gemini-2.5-flash -m gemini-2.5-pro"
    ran(shell, f"spent = iter(())\n%gemini_stream --each spent {models} -o none --wait On {{item}}.")
    shown = shell.run("print('model' in none.to_frame(), *none.to_frame(wide=True))")
    assert shown.stdout == "True gemini-2.5-flash gemini-2.5-pro\n"


def test_a_model_that_cannot_be_asked_leaves_no_stream_of_the_others_running(shell: Kernel) -> None:
    wrong = shell.run("%%gemini_stream -m gemini-2.5-flash -m a?b\nWrite 2000 words.")
    assert "is not a model id" in wrong.error_text
    assert ran(shell, "print(gemini_nb.get_manager().list_streams())") == "[]\n"


def test_a_list_leaves_the_layout_that_panes_share_as_it_is(shell: Kernel) -> None:
    ran(shell, "few = ['a', 'b']")
    ran(shell, "%%gemini_stream --each few -o trips --wait\nWrite {item}.")
    shared = "from gemini_nb.notebook.pane.widgetry import shared_layout; print(shared_layout().flex)"
    assert ran(shell, shared) == "None\n"


def test_a_cell_that_runs_again_leaves_no_list_of_its_last_run(shell: Kernel) -> None:
    ran(shell, "few = ['a', 'b']")
    for _ in range(2):
        done = shell.run("%%gemini_stream --each few -o trips --wait\nWrite {item}.", cell_id="same")
        assert done.status == "ok", done.error_text


def test_the_line_magic_takes_options_and_the_rest_as_the_prompt(shell: Kernel) -> None:
    done = shell.run("%gemini_stream -o trip --thinking What's the tallest lighthouse?\ntrip.wait(10)\nNone")
    assert done.status == "ok", done.error_text
    assert ran(shell, "print(trip.request.contents[0]['parts'][0]['text'])") == (
        "What's the tallest lighthouse?\n"
    )
    wrong = shell.run("%gemini_stream -o trip")
    assert "Ask something" in wrong.error_text + wrong.stderr


@pytest.mark.parametrize(
    ("line", "prompt"),
    [
        ('"Why is the sky blue?"', "Why is the sky blue?"),
        ("'Why' and 'how'", "'Why' and 'how'"),
        ("-- --colour red", "--colour red"),
        ("--temp 0.5 -5 and 3", "-5 and 3"),
        ("don't you know?", "don't you know?"),
    ],
)
def test_where_the_prompt_of_a_line_begins(shell: Kernel, line: str, prompt: str) -> None:
    ran(shell, f"%gemini_stream -o trip {line}")
    assert ran(shell, "print(trip.request.contents[0]['parts'][0]['text']); trip.stop()") == f"{prompt}\n"


def test_tools_are_named_in_any_way_a_list_of_them_can_be(shell: Kernel) -> None:
    ran(
        shell,
        "def one(): 'One.'\ndef two(): 'Two.'\nboth = [one, two]\nclass Desk:\n    two = staticmethod(two)",
    )
    for options in ("-t one,two", "-t one -t two", "-t both", "-t 'one, both'", "-t one --tools=Desk.two"):
        ran(shell, f"%%gemini_stream -o trip {options}\nHello.")
        assert ran(shell, "print(trip.request.tools.names); trip.stop()") == "['one', 'two']\n"


@pytest.mark.parametrize(("schema", "kind"), [("list[City]", "list"), ("int", "int"), ("dict", "dict")])
def test_schemas_of_pythons_own(shell: Kernel, schema: str, kind: str) -> None:
    ran(shell, "import dataclasses\n@dataclasses.dataclass\nclass City:\n    name: str")
    ran(shell, f"%%gemini_stream -o trip --schema {schema} --wait\nName cities in Peru.")
    assert ran(shell, "print(type(trip.parsed).__name__)") == f"{kind}\n"


def test_two_lines_of_one_cell_do_not_stop_each_other(shell: Kernel) -> None:
    code = (
        "%gemini_stream -o one Name a river.\n%gemini_stream -o two Name a lake.\n%gemini_wait one two\nNone"
    )
    done = shell.run(code, cell_id="two-lines")
    assert done.status == "ok", done.error_text
    assert ran(shell, "print(one.status, two.status)") == "completed completed\n"


def test_config_sets_defaults_and_refuses_nonsense(shell: Kernel) -> None:
    try:
        ran(shell, "%config GeminiNB.model = 'gemini-2.5-pro'\n%config GeminiNB.wait = True")
        ran(shell, "%%gemini_stream -o trip\nName a river.")
        assert ran(shell, "print(trip.model, trip.status)") == "gemini-2.5-pro completed\n"
        ran(shell, "%%gemini_stream -o trip -m gemini-2.5-flash\nName a river.")
        assert ran(shell, "print(trip.model)") == "gemini-2.5-flash\n"
        wrong = shell.run("%config GeminiNB.on_cut = 'perhaps'")
        assert "'restart'" in wrong.error_text + wrong.stderr
        ran(shell, "%config GeminiNB.max_concurrent = 3")
        assert ran(shell, "print(gemini_nb.get_manager().max_concurrent)") == "3\n"
        assert "GeminiNB" in ran(shell, "%config")
        ran(shell, "%reload_ext gemini_nb")
        assert ran(shell, "print(get_ipython().gemini_nb_settings.model)") == "gemini-2.5-pro\n"
    finally:
        for reset in ("model = None", "wait = False", "max_concurrent = None"):
            ran(shell, f"%config GeminiNB.{reset}")


def test_config_changes_one_setting_and_no_other(shell: Kernel) -> None:
    show = (
        "m = gemini_nb.get_manager(); s = m.runtime.settings\n"
        "print(m.max_concurrent, m.history, s.model, s.on_cut, s.allow_http)"
    )
    try:
        ran(
            shell,
            "import dataclasses\nm = gemini_nb.get_manager()\nm.max_concurrent, m.history = 2, 50\n"
            "m.runtime.settings = dataclasses.replace("
            "m.runtime.settings, model='gemini-x', on_cut='keep', allow_http=True)",
        )
        ran(shell, "%config GeminiNB.paints_per_second = 10.0")
        assert ran(shell, show) == "2 50 gemini-x keep True\n"
        ran(shell, "%config GeminiNB.model = 'gemini-y'")
        assert ran(shell, show) == "2 50 gemini-y keep True\n"
        ran(shell, "%config GeminiNB.history = 60")
        assert ran(shell, show) == "2 60 gemini-y keep True\n"
        ran(shell, "%load_ext gemini_nb\n%reload_ext gemini_nb")
        assert ran(shell, show) == "2 60 gemini-y keep True\n"
        ran(shell, "%config GeminiNB.max_concurrent = None")  # as it was here, though not in the manager
        assert ran(shell, show) == "None 60 gemini-y keep True\n"
    finally:
        for reset in (
            "model = None",
            "history = 200",
            "max_concurrent = None",
            "on_cut = 'restart'",
            "paints_per_second = 20.0",
        ):
            ran(shell, f"%config GeminiNB.{reset}")
        ran(
            shell,
            "m = gemini_nb.get_manager()\n"
            "m.runtime.settings = dataclasses.replace(m.runtime.settings, allow_http=False)",
        )


@pytest.mark.parametrize("name", ["replay_pace", "paints_per_second", "history", "max_concurrent"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32("nan"), True, "4", [4]])
def test_a_setting_takes_a_number(name: str, value: object) -> None:
    settings = GeminiNB(StreamManager())
    with pytest.raises(TraitError):
        setattr(settings, name, value)
    setattr(settings, name, np.int64(4))
    assert getattr(settings, name) == 4


def test_a_configuration_file_sets_what_it_names_and_the_next_manager_gets_it() -> None:
    settings = GeminiNB(first := StreamManager(), config=Config({"GeminiNB": {"history": 7, "model": "m"}}))
    assert (first.history, first.runtime.settings.model, first.max_concurrent) == (7, "m", None)
    settings.serve(second := StreamManager(max_concurrent=3))
    assert (second.history, second.runtime.settings.model, second.max_concurrent) == (7, "m", 3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%%gemini_stream --sch", "--schema"),
        ("%%gemini_stream -m gemini-3", "gemini-3.8-flash"),
        ("%%gemini_stream -t my_to", "my_tool"),
        ("%%gemini_stream -t weather,my_to", "my_tool"),
        ("%%gemini_stream -c my_t", "my_talk"),
        ("%%gemini_stream --auth sim", "simulator"),
        ("%%gemini_stream --model=gemini-3", "gemini-3.8-flash"),
        ("%%gemini_stream --tools=my_tool,my_to", "my_tool"),
        ("%%gemini_stream --auth=v", "vertex_ai"),
        ("%%gemini_stream --thinking h", "high"),
        ("%%gemini_stream --each my_r", "my_rows"),
        ("%%gemini_stream --schema My_", "My_model"),
        ("%%gemini_stream --file my_no", "my_notes.txt"),
        ("%%gemini_stream --file my_folder/in", "my_folder/inner/"),
        ("%gemini_show my_tr", "my_trip"),
        ("%gemini_stream -o x --ea", "--each"),
        ("%gemini_stream --keep my_an", "my_answers.jsonl"),
        ("%gemini_stream --thinking hi", "high"),
        ("%%gemini_stream -m {my_mo", "my_mood"),
        ("%gemini_stream --model={my_mo", "my_mood"),
        ("%gemini_stream --thinking {my_mo", "my_mood"),
        ("x = 1\n%gemini_stop my_tr", "my_trip"),
    ],
)
def test_tab_offers_what_fits_and_nothing_else(shell: Kernel, text: str, expected: str) -> None:
    ran(
        shell,
        "def my_tool(): 'A tool.'\nclass My_model: pass\nmy_rows = [1]\nmy_talk = gemini_nb.Chat()\n"
        "my_trip = gemini_nb.get_manager().start_stream('Name a river.').wait(10)\n"
        "import pathlib\npathlib.Path('my_folder/inner').mkdir(parents=True, exist_ok=True)\n"
        "for file in ('notes.txt', 'answers.jsonl', 'answers.csv'): pathlib.Path(f'my_{file}').touch()\n"
        "my_mood = 'good'",
    )
    reply = shell.request("complete_request", {"code": text, "cursor_pos": len(text)})
    assert reply["matches"] == [expected]
    whole = text[: reply["cursor_start"]] + expected
    assert whole.startswith(text.rpartition(" ")[0])


def test_tab_offers_the_options_alone_and_names_of_the_notebook_in_a_prompt(shell: Kernel) -> None:
    def offered(text: str) -> list[str]:
        matches: list[str] = shell.request("complete_request", {"code": text, "cursor_pos": len(text)})[
            "matches"
        ]
        return matches

    ran(shell, "my_number = 3")
    assert all(match.startswith("--") for match in offered("%%gemini_stream --"))
    assert offered("%%gemini_stream -t my_tool\nHalf of {my_num") == ["my_number"]
    assert offered("%gemini_stream What is half of {my_num") == ["my_number"]
    assert offered("%%gemini_stre") == ["%%gemini_stream"]


SCENE = """
import enum, pydantic
from dataclasses import dataclass
from pathlib import Path
from gemini_nb import Chat, get_manager, map as ask_many, tool
class Trip(pydantic.BaseModel): city: str
@dataclass
class Place: name: str
def weather(city: str) -> str: 'Tell the weather.'
@tool
def forecast(city: str) -> str: 'Tell the weather of tomorrow.'
both = [weather, forecast]
talk, rows, form = Chat(), ['a', 'b'], {'type': 'object'}
manager = get_manager()
poem = manager.start_stream('Name a river.').wait(10)
"""


def test_what_tab_offers_has_a_type_and_is_nothing_of_ours_or_the_shells(shell: Kernel) -> None:
    ran(shell, SCENE)

    def offered(code: str) -> dict[str, str]:
        reply = shell.request("complete_request", {"code": code, "cursor_pos": len(code)})
        return {one["text"]: one["type"] for one in reply["metadata"]["_jupyter_types_experimental"]}

    assert set(offered("%%gemini_stream --").values()) == {"option"}
    assert offered("%%gemini_stream -m ")["gemini-3.8-flash"] == "model"
    tools = offered("%%gemini_stream -t ")
    assert {"weather", "forecast"} <= {name for name, kind in tools.items() if kind == "function"}
    assert tools["both"] == "instance"
    assert not {"tool", "get_manager", "ask_many", "get_ipython", "exit", "quit", "open"} & tools.keys()
    schemas = offered("%%gemini_stream --schema ")
    assert schemas.keys() >= {"Trip", "Place", "form"}
    assert not {"Chat", "Path", "dataclass"} & schemas.keys()
    assert offered("%%gemini_stream --auth ")["simulator"] == "value"
    assert offered("%%gemini_stream -c ")["talk"] == "chat"
    assert offered("%%gemini_stream --each ")["rows"] == "instance"
    assert offered("%gemini_show po") == {"poem": "stream"}
    for nothing in (
        "%%gemini_stream -o ",
        "%%gemini_stream -s ",
        "%gemini_stop zzz",
        "%%gemini_stream --auth zz",
    ):
        assert offered(nothing) == {}


def test_tab_in_a_prompt_offers_what_its_braces_can_show(shell: Kernel) -> None:
    ran(shell, SCENE)

    def offered(code: str) -> dict[str, str]:
        reply = shell.request("complete_request", {"code": code, "cursor_pos": len(code)})
        return {one["text"]: one["type"] for one in reply["metadata"]["_jupyter_types_experimental"]}

    for begun in ("%%gemini_stream -t weather\nAs {city} said,\nsum up {", "%gemini_stream Sum up {"):
        names = offered(begun)
        assert names["poem"] == "stream"
        assert names["rows"] == "instance"
        assert not {"weather", "Trip", "enum", "abs", "exit", "In"} & names.keys()
    fields = offered("%%gemini_stream\nSum up {poem.")
    assert fields.keys() >= {"text", "answer", "usage", "tool_calls"}
    assert set(fields.values()) == {"property"}
    assert not {"record", "runtime", "request", "wait", "stop"} & fields.keys()
    assert "total_token_count" in offered("%%gemini_stream\nOf {poem.usage.")
    ran(shell, "prices = {'tea': 1}")
    assert "tea" in "".join(offered("%%gemini_stream\nTea is {prices['"))
    for prose in ("Tell me a", "Tell {poem} a", "", "A { wea", "{nothing."):
        assert offered(f"%%gemini_stream\n{prose}") == {}


def test_tab_in_python_offers_of_our_objects_what_users_need(shell: Kernel) -> None:
    ran(shell, SCENE)
    ran(shell, "call = gemini_nb.ToolCall(id=None, name='weather', args={})")
    for name, known, internal in (
        ("poem", {"text", "result", "waiting_for"}, {"record", "runtime", "request", "wait_only", "ending"}),
        ("talk", {"send", "history", "restore"}, {"adopt", "attach", "queue", "send_from"}),
        ("manager", {"start_stream", "statistics"}, {"on_start", "runtime"}),
        ("call", {"approve", "result", "output"}, {"work", "note", "advance", "snapshot"}),
    ):
        code = f"{name}."
        matches = set(shell.request("complete_request", {"code": code, "cursor_pos": len(code)})["matches"])
        offered = {match.removeprefix(code) for match in matches}
        assert known <= offered
        assert not internal & offered


def test_help_reads_well(shell: Kernel) -> None:
    reply = shell.request("inspect_request", {"code": "%%gemini_stream", "cursor_pos": 10, "detail_level": 0})
    text = str(reply["data"]["text/plain"])
    assert "Ask Gemini; the answer streams into a pane" in text
    listed = text.partition("options:")[2]
    assert listed.index("--model") < listed.index("--schema") < listed.index("--no-wait")
    assert "--concurrency" in text
    said = " ".join(text.split())
    assert "Gemini 3 is best left at 1.0, Gemini 4 ignores it (and topP and topK)" in said


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("%%gemini_stream --schema Nothing\nHello", "--schema: there is no 'Nothing'"),
        ("%%gemini_stream --each nothing\nHello", "--each: there is no 'nothing'"),
        ("%%gemini_stream --each word\nHello", "--each takes a list or a frame"),
        ("%%gemini_stream --each none\nHello", "is empty"),
        ("%%gemini_stream --each none --concurrency 0\nHello", "--concurrency is at least 1"),
        ("%%gemini_stream --each none -c talk\nHello", "--each asks many questions at once"),
        ("%%gemini_stream -m a -m b -c talk\nHello", "A chat has one answer"),
        ("%%gemini_stream --thinking deep\nHello", "--thinking takes minimal, low"),
        ("%%gemini_stream --file nowhere.png\nHello", "nowhere.png cannot be read"),
        ("%%gemini_stream --concurrency 3\nHello", "--concurrency goes with --each"),
        ("%%gemini_stream --temperature nan\nHello", "--temperature is a number from 0 to 2"),
        ("%%gemini_stream --max-tokens 0\nHello", "--max-tokens is at least 1"),
        ("%%gemini_stream -o class\nHello", "'class' is not a name"),
        ("%%gemini_stream -c talk -o talk\nHello", "'talk' cannot be both the chat and its answer"),
        ("%%gemini_stream -m {mdoel}\nHello", "'{mdoel}' is not a model id"),
        ("%%gemini_stream -o {words}\nHello", "'{words}' is not a name"),
        ("%%gemini_stream -o {dash}\nHello", "'--fresh' is not a name"),
        ("%%gemini_stream --each empty\nHello {item}", "--each: 'empty' is None."),
        ("%%gemini_stream -t word\nHello", "'word' is of type str, not a function"),
        ("%%gemini_stream -t words\nHello", "'words' is of type list that holds something else"),
        ("%%gemini_stream -c word\nHello", "'word' is of type str, not a Chat"),
        ("%%gemini_stream -s Be brief\nHello", "values with spaces need quotes"),
        ("%%gemini_stream --help\nHello", "%%gemini_stream? lists the options"),
        ("%%gemini_stream --schema print\nHello", "there is no 'print'"),
        ("%%gemini_stream --schema ran\nHello", "ran is a function, not a type"),
        ("%%gemini_stream --schema list[Nothing]\nHello", "there is no 'Nothing'"),
        (
            "%%gemini_stream --each words\nSum up {item.txet}",
            "{item.txet} cannot be taken from 'word'",
        ),
        (
            "%%gemini_stream --each towns\nWhere is {ward}?",
            "{ward} is a column, which the prompt names {item.ward}.",
        ),
        ("%%gemini_stream -o trip", "%%gemini_stream is a cell magic, but the cell body is empty"),
        ("%%gemini_stream\nWhat is this? {noise}", "bytes of an unknown kind"),
        ("%%gemini_stream --each words[:1]\nHello {item}", "--each takes a name, not 'words[:1]'"),
        ("%%gemini_stream --each lazy -m gemini-99 --budget 1\n{item}", "no price is known"),
        (
            "%%gemini_stream --each lazy -m gemini-3.8-flash -m gemini-99 --budget 1\n{item}",
            "for gemini-99, since no price is known",
        ),
        ("%%gemini_stream --each lazy -m A -m B --schema word\n{item}", "'word' is no schema"),
        ("%%gemini_stream --each lazy --schema word\n{item}", "'word' is no schema"),
        ("%%gemini_stream -o one --out two\nHello", "--out is there twice"),
        ("%%gemini_stream \u2013o trip\nHello", "Did you mean -o, with a plain hyphen?"),
        ("%%gemini_stream \u2014system Brief\nHello", "Did you mean --system, with a plain hyphen?"),
        ("%gemini_stream \u2013o trip Hello", "Did you mean -o, with a plain hyphen?"),
        ("%gemini_stream -o trip ''", "Ask something"),
        ("%%gemini_stream -o get_ipython\nHello", "'get_ipython' is a name that IPython needs"),
        ("%gemini_stream --colour red", "There is no option --colour"),
        ("%gemini_stream --thinking {word} Why?", "Write --thinking={word}, or -- before the prompt."),
        ("%gemini_stream -m{word} Why?", "There is no option -m{word}."),
        ("%%gemini_stream --each {blank}\n{item}", "--each needs a value, and {blank} is empty."),
        ("%%gemini_stream --each ''\n{item}", "--each needs a value, and '' is empty."),
        ("%%gemini_stream --keep {blank}\nHello", "--keep needs a value, and {blank} is empty."),
        ("%%gemini_stream --temperature {below}\nHello", "is a number from 0 to 2, not -1.0"),
    ],
)
def test_what_a_person_types_wrong(shell: Kernel, cell: str, words: str) -> None:
    ran(shell, "word = 'word'; none = []; words = [word]; lazy = iter(words); noise = b'\\xff\\x00'")
    ran(shell, "towns = [{'ward': 'Oslo'}]; empty = None; dash = '--fresh'; blank = ''; below = -1")
    ran(shell, "def ran(): 'Ran.'")
    wrong = shell.run(cell)
    assert wrong.status == "error"
    assert words in wrong.error_text + wrong.stderr
    assert "Traceback" not in wrong.error_text


@pytest.mark.slow
def test_unloading_takes_everything_away(shell: Kernel) -> None:
    ran(shell, "%unload_ext gemini_nb")
    assert "GeminiNB" not in ran(shell, "%config")
    code = "%%gemini_stream --sch"  # without the extension Jedi is asked, which takes its time
    reply = shell.request("complete_request", {"code": code, "cursor_pos": len(code)}, timeout=90)
    assert "--schema" not in reply["matches"]
    assert "not found" in shell.run("%gemini_stream Hello").stderr.lower()


def test_a_cache_is_named(shell: Kernel) -> None:
    ran(shell, "book = gemini_nb.cache('A lighthouse shows ships the way. ' * 200)")
    body = body_of(shell, "%%gemini_stream -o trip --cached book\nHello.")
    assert str(body["cachedContent"]).startswith("cachedContents/")
    for line, says in (
        ("book -s 'Be brief.'", "cannot be set beside a cache"),
        ("gemini_nb", "not what gemini_nb"),
    ):
        done = shell.run(f"%%gemini_stream --cached {line}\nHello.")
        assert done.status == "error"
        assert says in done.error_text + done.stderr
    ran(shell, "book.delete()")
