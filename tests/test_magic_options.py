"""Every option of the magic, in a real kernel fed by the embedded simulator."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

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


def ran(shell: Kernel, code: str) -> str:
    """Run a cell that must not fail, and return what it printed."""
    done = shell.run(code)
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


def test_a_file_goes_along(shell: Kernel, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Buy tea.")
    body = body_of(shell, f"%%gemini_stream -o trip --file {tmp_path}/notes.txt\nSum it up.")
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": "notes.txt:\nBuy tea."}, {"text": "Sum it up."}]}
    ]


def test_a_structured_answer_is_read(shell: Kernel) -> None:
    ran(shell, "import dataclasses\n@dataclasses.dataclass\nclass City:\n    name: str\n    people: int")
    ran(shell, "%%gemini_stream -o trip --schema City --wait\nName a city in Peru.")
    assert (
        ran(shell, "print(type(trip.parsed).__name__, isinstance(trip.parsed.people, int))") == "City True\n"
    )


def test_one_question_for_each_item(shell: Kernel) -> None:
    ran(shell, "rows = [{'city': name} for name in ('Oslo', 'Lima', 'Rome')]")
    done = shell.run("%%gemini_stream --each rows --concurrency 2 -o trips --wait\nDescribe {item.city}.")
    assert done.status == "ok", done.error_text
    asked = ran(
        shell, "print([s.request.contents[0]['parts'][0]['text'] for s in trips], len(trips.results))"
    )
    assert asked == "['Describe Oslo.', 'Describe Lima.', 'Describe Rome.'] 3\n"
    (output,) = done.outputs
    text = str(output["text/markdown"])
    assert text.startswith("**3 answers**: 3 completed")
    assert text.count("<details><summary>") == 3
    assert ran(shell, "print(list(trips.to_frame()['city']), set(trips.to_frame()['status']))") == (
        "['Oslo', 'Lima', 'Rome'] {'completed'}\n"
    )


def test_a_thousand_items_draw_one_list(shell: Kernel) -> None:
    ran(shell, "many = list(range(1000))")
    before = set(shell.widgets)
    ran(shell, "%%gemini_stream --each many -o lots --concurrency 50\nWrite {item}.")
    assert len(set(shell.widgets) - before) < 30
    assert ran(shell, "lots.wait(60); print(sum(s.status == 'completed' for s in lots))") == "1000\n"


def test_models_side_by_side(shell: Kernel) -> None:
    done = shell.run("%%gemini_stream -m gemini-2.5-flash -m gemini-2.5-pro -o both --wait\nName a river.")
    assert done.status == "ok", done.error_text
    (output,) = done.outputs
    text = str(output["text/markdown"])
    assert text.index("#### gemini-2.5-flash") < text.index("#### gemini-2.5-pro")
    assert ran(shell, "print([s.model for s in both], both.items)") == (
        "['gemini-2.5-flash', 'gemini-2.5-pro'] None\n"
    )


def test_a_model_that_cannot_be_asked_leaves_no_stream_of_the_others_running(shell: Kernel) -> None:
    wrong = shell.run("%%gemini_stream -m gemini-2.5-flash -m a?b\nWrite 2000 words.")
    assert "is not a model id" in wrong.error_text
    assert ran(shell, "print(gemini_nb.get_manager().list_streams())") == "[]\n"


def test_a_list_leaves_the_layout_that_panes_share_as_it_is(shell: Kernel) -> None:
    ran(shell, "few = ['a', 'b']")
    ran(shell, "%%gemini_stream --each few -o trips --wait\nWrite {item}.")
    shared = "from gemini_nb.notebook.widgetry import shared_layout; print(shared_layout().flex)"
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%%gemini_stream --sch", "--schema"),
        ("%%gemini_stream -m gemini-3", "gemini-3.8-flash"),
        ("%%gemini_stream -t my_to", "my_tool"),
        ("%%gemini_stream -t weather,my_to", "my_tool"),
        ("%%gemini_stream -c my_t", "my_talk"),
        ("%%gemini_stream --auth sim", "simulator"),
        ("%gemini_show my_tr", "my_trip"),
    ],
)
def test_tab_offers_what_fits(shell: Kernel, text: str, expected: str) -> None:
    ran(
        shell,
        "def my_tool(): 'A tool.'\nmy_talk = gemini_nb.Chat()\n"
        "my_trip = gemini_nb.get_manager().start_stream('Name a river.').wait(10)",
    )
    reply = shell.request("complete_request", {"code": text, "cursor_pos": len(text)})
    assert expected in reply["matches"]


def test_help_reads_well(shell: Kernel) -> None:
    reply = shell.request("inspect_request", {"code": "%%gemini_stream", "cursor_pos": 10, "detail_level": 0})
    text = str(reply["data"]["text/plain"])
    assert "Ask Gemini; the answer streams into a pane" in text
    assert "--concurrency" in text


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
    ],
)
def test_what_a_person_types_wrong(shell: Kernel, cell: str, words: str) -> None:
    ran(shell, "word = 'word'; none = []")
    wrong = shell.run(cell)
    assert words in wrong.error_text + wrong.stderr


def test_unloading_takes_everything_away(shell: Kernel) -> None:
    ran(shell, "%unload_ext gemini_nb")
    assert "GeminiNB" not in ran(shell, "%config")
    reply = shell.request("complete_request", {"code": "%%gemini_stream --sch", "cursor_pos": 21})
    assert "--schema" not in reply["matches"]
    assert "not found" in shell.run("%gemini_stream Hello").stderr.lower()
