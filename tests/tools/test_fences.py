from __future__ import annotations

import json
import time
from typing import Any

import pydantic
import pytest

from answers import always, rig
from gemini_nb.errors import SchemaMismatchError
from gemini_nb.notebook.render.settled import to_markdown
from gemini_nb.tools.fences import read_fenced
from scripted import text


class Person(pydantic.BaseModel):
    name: str
    age: int


ADA = '{"name": "Ada", "age": 36}'
FENCED = [
    f"```json\n{ADA}\n```",
    f"```\n{ADA}\n```\n",
    f"```JSON\r\n{ADA}\r\n```",
    f"~~~json\n{ADA}\n~~~",
    f"````json\n{ADA}\n````",
    f"  ```json\n  {ADA}\n  ```",
    f"Here it is:\n\n```json\n{ADA}\n```\nAnything else?",
    f"```json\n{ADA}",
    f"```json {ADA} ```",
    f"```json\n{ADA}```",
    f"```{ADA}```",
    f"```python\nprint(1)\n```\n\n```json\n{ADA}\n```",
    f'```json\n{{"name": "x"}}\n```\n```json\n{ADA}\n```',
    f"\n\n```json\n\n{json.dumps(json.loads(ADA), indent=2)}\n\n```\n",
]


@pytest.mark.parametrize("answer", FENCED)
@pytest.mark.parametrize("schema", [Person, Person.model_json_schema()])
def test_a_structured_answer_is_taken_out_of_its_fence(answer: str, schema: Any) -> None:
    with rig(always(text(answer[:9]), text(answer[9:], finish="STOP"))) as made:
        stream = made.start(schema=schema).wait(10)
    assert (stream.status, stream.text) == ("completed", answer)
    assert stream.parsed == (Person(name="Ada", age=36) if schema is Person else json.loads(ADA))


def test_json_without_a_schema_is_taken_out_of_its_fence() -> None:
    with rig(always(text(FENCED[0], finish="STOP"))) as made:
        stream = made.start(generation_config={"responseMimeType": "application/json"}).wait(10)
    assert stream.parsed == json.loads(ADA)
    assert "````" not in to_markdown(stream)
    assert f"```json\n{ADA}\n```" in to_markdown(stream)


def test_what_does_not_fit_in_a_fence_says_where() -> None:
    with rig(always(text('```json\n{"name": "Ada", "age": "old"}\n```', finish="STOP"))) as made:
        stream = made.start(schema=Person).wait(10)
    assert isinstance(stream.error, SchemaMismatchError)
    assert "age: Input should be a valid integer" in str(stream.error)


def test_a_fence_within_a_value_stays() -> None:
    value = {"code": "```py\n1\n```", "odd": "a\u2028b"}
    written = json.dumps(value, ensure_ascii=False)
    assert read_fenced(written, json.loads) == value
    assert read_fenced(f"```json\n{written}\n```", json.loads) == value


@pytest.mark.parametrize("unit", ["`", "```\n", "~~~ ", "```x ", "``` ` ", "```x`"])
def test_many_fences_cost_linear_time(unit: str) -> None:
    begun = time.thread_time()
    with pytest.raises(json.JSONDecodeError):
        read_fenced(unit * 50_000, json.loads)
    assert time.thread_time() - begun < 60  # else an hour
