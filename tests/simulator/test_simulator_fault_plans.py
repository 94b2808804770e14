"""Which request gets which fault: from Python, from a model's id, from the command line, by chance."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from gemini_nb.errors import ConfigError
from gemini_nb.simulator import Fault, Simulator, faults, parse_fault, random_faults
from gemini_nb.simulator.requests import Request
from raw_client import TIDES, exchange
from simulator_wire import CHOICES, MODEL, ask


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator(pace=0) as simulator:
        yield simulator


def statuses(sim: Simulator, count: int, **options: Any) -> list[int]:
    return [exchange(sim.base_url, **options).status for _ in range(count)]


# ------------------------------------------------------------------------------------------------- specs


@pytest.mark.parametrize(
    ("spec", "fault", "times"),
    [
        ("503", Fault(status=503), 1),
        ("status=503~times=2", Fault(status=503), 2),
        ("429~retry-after=0.5~times=all", Fault(status=429, retry_after=0.5), None),
        ("cut=3~how=rst", Fault(cut=3, how="rst"), 1),
        ("stall=2~stall-for=forever~tag=x", Fault(stall=2, stall_for=math.inf), 1),
        ("sse=cr,bom", Fault(sse=frozenset({"bom", "cr"})), 1),
        ("429~quota", Fault(status=429, quota=10), 1),
        ("drip~gzip~blocked", Fault(drip=1, gzip=True, blocked="SAFETY"), 1),
        ("finish=safety", Fault(finish="SAFETY"), 1),
        ("none", None, 1),
        ("none~times=3", None, 3),
    ],
)
def test_a_spec_is_read(spec: str, fault: Fault | None, times: int | None) -> None:
    read = parse_fault(spec)
    assert (read.fault, read.times) == (fault, times)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("", "'' is not known"),
        ("boom", "'boom' is not known; there are the statuses (503) and blocked, body, checkpoint"),
        ("retry_after=2", "'retry_after' is not known"),
        ("cut", "cut needs a value"),
        ("cut=x", "cut should be a valid integer, unable to parse string as an integer, not 'x'"),
        ("cut=-1", "cut should be greater than or equal to 0"),
        ("cut=3~cut=4", "cut is there twice"),
        ("503~504", "status is there twice"),
        ("503~retry-after=soon", "retry-after should be a valid number"),
        ("503~retry-after", "retry-after needs a value"),
        ("503~retry-after=forever", "not 'forever'"),
        ("503~times=0", "times is a whole number from 1 on"),
        ("times=2", "it names no fault"),
        ("none~503", "none stands for no fault"),
        ("reset=1", "reset takes no value"),
        ("how=bang", "how should be 'fin', 'rst', 'end' or 'length', not 'bang'"),
        ("sse=morse", "sse should be 'comments', 'lf'"),
        ("sse=cr,lf", "sse=cr and sse=lf exclude each other"),
        ("status=99", "status should be greater than or equal to 200, not '99'"),
        ("reset~503", "reset and status exclude each other"),
        ("503~cut=2", "status leaves no answer for cut"),
        ("inside=json", "inside needs cut"),
        ("retry-info=2", "retry-info needs status or error"),
        ("no-finish~finish=SAFETY", "no-finish and finish exclude each other"),
        ("drip=0", "drip should be greater than or equal to 1"),
    ],
)
def test_a_spec_that_is_wrong_is_refused_by_name(sim: Simulator, spec: str, told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        parse_fault(spec)
    answer = exchange(sim.base_url, model=f"{MODEL}~{spec}")
    assert (answer.status, answer.json["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert told in answer.json["error"]["message"]


def test_python_says_what_is_wrong_with_a_fault_too() -> None:
    for wrong in ({"cut": -1}, {"wait": math.nan}, {"body": "html"}, {"how": "x"}, {"cut": 1, "error": 500}):
        with pytest.raises(ConfigError, match="Not a fault"):
            Fault(**wrong)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Fault().cut = 1  # type: ignore[misc]  # frozen, as this shows


def test_the_table_describes_every_word() -> None:
    table = faults.__doc__ or ""
    for field in dataclasses.fields(Fault):
        assert re.search(rf"^    (503 \()?{field.name.replace('_', '-')}\b", table, re.MULTILINE), field.name
    assert len(CHOICES) == 7
    for words in CHOICES.values():
        for word in words:
            assert re.search(rf"\b{word}\b", table), word


# ------------------------------------------------------------------------------------------------- plans


def test_each_request_in_order_has_its_fault() -> None:
    with Simulator(pace=0, faults=[Fault(status=503), None, "429~times=2", Fault(status=500)]) as sim:
        assert statuses(sim, 7) == [503, 200, 429, 429, 500, 200, 200]


def test_a_plan_may_be_endless_or_by_number_or_called(sim: Simulator) -> None:
    sim.faults = itertools.cycle([Fault(status=503), None])
    assert statuses(sim, 5) == [503, 200, 503, 200, 503]
    sim.faults = {1: Fault(status=500)}
    assert statuses(sim, 3) == [200, 500, 200]
    seen = []

    def plan(number: int, request: Request) -> Fault | None:
        seen.append((number, request.body))
        return Fault(status=504) if "owls" in str(request.body) else None

    sim.faults = plan
    assert sim.faults is plan
    assert [exchange(sim.base_url, ask(text)).status for text in ("owls", "tides")] == [504, 200]
    assert seen == [(0, ask("owls")), (1, ask("tides"))]


def test_a_plan_is_replaced_while_the_simulator_runs(sim: Simulator) -> None:
    sim.faults = ["503~times=all"]
    assert statuses(sim, 2) == [503, 503]
    sim.faults = ["500"]
    assert statuses(sim, 2) == [500, 200]
    sim.faults = None
    assert statuses(sim, 1) == [200]


def test_only_requests_to_the_model_are_counted(sim: Simulator) -> None:
    sim.faults = ["503"]
    assert statuses(sim, 1, method="countTokens") == [200]
    assert statuses(sim, 1, key="") == [403]
    assert statuses(sim, 2, method="generateContent") == [503, 200]


def test_what_is_no_fault_is_refused_at_once(sim: Simulator) -> None:
    for wrong in (Fault(status=503), "503", [3], ["boom"]):
        with pytest.raises(ConfigError):
            sim.faults = wrong  # type: ignore[assignment]  # wrong on purpose
    sim.faults = lambda _number, _request: "503"  # type: ignore[assignment, return-value]  # wrong on purpose
    answer = exchange(sim.base_url)
    assert (answer.status, "'503' is not a fault" in answer.json["error"]["message"]) == (500, True)
    sim.faults = None


def test_faults_by_chance_are_the_same_for_the_same_seed(sim: Simulator) -> None:
    exchange(sim.base_url)
    request = sim.requests[-1]

    def made(seed: int, rate: float) -> list[Fault | None]:
        pick = random_faults(seed, rate)
        return [pick(number, request) for number in range(400)]

    assert made(1, 0.3) == made(1, 0.3) != made(2, 0.3)
    assert 80 < sum(fault is not None for fault in made(1, 0.3)) < 160
    assert len({fault for fault in made(1, 1) if fault}) > 30
    assert set(made(1, 0)) == {None}
    only = random_faults(rate=1, choices=[Fault(reset=True)])
    assert only(5, request) == Fault(reset=True)
    for rate, choices in ((2.0, [Fault(reset=True)]), (0.5, [])):
        with pytest.raises(ConfigError):
            random_faults(rate=rate, choices=choices)


# --------------------------------------------------------------------------------------------- model ids


def test_a_fault_in_the_models_id_strikes_so_often(sim: Simulator) -> None:
    assert statuses(sim, 3, model=f"{MODEL}~503~times=2") == [503, 503, 200]
    assert statuses(sim, 2, model=f"{MODEL}~503~times=2", key="another") == [503, 503]
    assert statuses(sim, 2, model=f"{MODEL}~503~times=2~tag=again") == [503, 503]
    assert statuses(sim, 2, model=f"{MODEL}~500") == [500, 200]
    assert statuses(sim, 3, model=f"{MODEL}~429~times=all") == [429, 429, 429]


def test_the_answer_is_that_of_the_model_itself(sim: Simulator) -> None:
    answer = exchange(sim.base_url, model="gemini-2.5-flash~cut=2~how=rst")
    assert (len(answer.chunks), answer.ending) == (2, "rst")
    assert answer.chunks[0]["modelVersion"] == "gemini-2.5-flash"
    assert exchange(sim.base_url, model="gpt-9~cut=2").status == 404
    assert exchange(sim.base_url, model=f"{MODEL}~503", method="countTokens").json["totalTokens"] == 9


def test_the_id_comes_before_the_plan(sim: Simulator) -> None:
    sim.faults = ["500"]
    assert statuses(sim, 1, model=f"{MODEL}~504~tag=first") == [504]
    assert statuses(sim, 2) == [500, 200]


@pytest.fixture
def client(sim: Simulator) -> Iterator[genai.Client]:
    with genai.Client(api_key="any", http_options=types.HttpOptions(base_url=sim.base_url)) as opened:
        yield opened


def streamed(client: genai.Client, model: str) -> str:
    found = client.models.generate_content_stream(model=model, contents=TIDES["contents"])
    return "".join(chunk.text or "" for chunk in found)


def test_googles_client_meets_an_error(client: genai.Client) -> None:
    with pytest.raises(errors.ServerError) as caught:
        streamed(client, f"{MODEL}~503~tag=genai")
    assert (caught.value.code, caught.value.status) == (503, "UNAVAILABLE")
    with pytest.raises(errors.ClientError, match="limit: 0"):
        streamed(client, f"{MODEL}~429~quota=0~tag=genai")
    assert "ide" in streamed(client, f"{MODEL}~503~tag=genai")


def test_googles_client_gets_a_part_of_a_cut_answer(sim: Simulator, client: genai.Client) -> None:
    whole = streamed(client, MODEL)
    part = streamed(client, f"{MODEL}~cut=4~how=end~tag=genai")
    assert 0 < len(part) < len(whole)
    assert whole.startswith(part)


def test_googles_client_goes_on_by_itself(sim: Simulator, client: genai.Client) -> None:
    whole = streamed(client, MODEL)
    before = sim.request_count
    assert streamed(client, f"{MODEL}~continuation=3~times=2") == whole
    assert streamed(client, f"{MODEL}~checkpoint=3~cut=3~how=rst") == whole
    assert sim.request_count - before == 5
    assert "continuationToken" in sim.requests[-1].body


# -------------------------------------------------------------------------------------- the command line


def test_the_command_line_takes_faults() -> None:
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "gemini_nb.cli",
        "simulator",
        "--port",
        "0",
        "--pace",
        "0",
    ]
    process = subprocess.Popen(
        [*command, "--fault", "503~times=2", "--fault", "none", "--fault", "cut=1"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().split()[-1]
        answers = [exchange(url) for _ in range(5)]
    finally:
        process.kill()
        process.communicate()
    assert [answer.status for answer in answers] == [503, 503, 200, 200, 200]
    assert [answer.ending for answer in answers[2:]] == ["end", "fin", "end"]


def test_the_command_line_describes_faults(capsys: pytest.CaptureFixture[str]) -> None:
    from gemini_nb import cli

    assert cli.main(["simulator", "--list-faults"]) == 0
    assert "cut-bytes=N" in capsys.readouterr().out
    assert cli.main(["simulator", "--port", "0", "--fault", "boom"]) == 1
    assert "'boom' is not known" in capsys.readouterr().err


def test_only_so_many_models_with_a_fault_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "_MOST_MODELS", 3)
    counts, spec = faults.ModelFaults(), parse_fault("503~times=2")
    for number in range(50):
        assert counts.next(spec, f"m{number}", "k") is not None
    assert len(counts._counts) == 3
    assert counts.next(spec, "m49", "k") is not None
    assert counts.next(spec, "m49", "k") is None
