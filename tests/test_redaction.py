from __future__ import annotations

import base64
import copy
import gc
import json
import pickle
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from gemini_nb.errors import ConfigError
from gemini_nb.redaction import (
    Secret,
    Veil,
    excerpt,
    looking_once,
    scrub,
    scrub_bytes,
    scrub_json,
    scrub_parts,
    watch,
)
from gemini_nb.sealing import carry, seal, sealed

KEY = "AIzaSy-made-up-for-tests-0123456789abcd"


def test_a_secret_shows_nothing() -> None:
    secret = Secret(f" {KEY}\n")
    assert secret.reveal() == KEY
    for text in (
        repr(secret),
        str(secret),
        f"{secret!r:>40}",
        f"{secret}",
        repr([secret]),
        repr({"a": secret}),
    ):
        assert KEY not in text
        assert "********" in text
    with pytest.raises(TypeError):
        vars(secret)
    with pytest.raises(TypeError):
        json.dumps(secret)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_is_not_pickled(protocol: int) -> None:
    for secret in (Secret(KEY), seal({"api_key": KEY})):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(secret, protocol)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_secret_is_not_copied(copied: Callable[[object], object]) -> None:
    for secret in (Secret(KEY), seal({"api_key": KEY})):
        with pytest.raises(TypeError, match="copied"):
            copied(secret)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgres://user:pw@host/db is down", "postgres://user:[secret]@host/db is down"),
        ("'redis://:p@ss/w#rd@10.0.0.1:6379/0'", "'redis://:[secret]@10.0.0.1:6379/0'"),
        ("(mysql+pymysql://a:b@c) https://x:1@y", "(mysql+pymysql://a:[secret]@c) https://x:[secret]@y"),
        ("http://host:8080/a?mail=x@y.z", None),
        ("ssh://git@host/x, http://a:80 and mail a:b@c.d", None),
        ("http://host/a:b@c", None),
        ("postgresql://{user}:{password}@{host}/db, http://%s:%s@h, http://u:$PW@h, http://u:${PW}@h", None),
        ("http://localhost:8080;me@x.org http://[::1]:80/a@b [a](http://h:8080),me@x.org", None),
        ("https://h:8080)@x http://localhost:5000\\n@app.route", None),
        (f"pip https://bob:{'x1' * 1_000}@host/simple", "pip https://bob:[secret]@host/simple"),
        ("put http://name:password@proxy:port into HTTP_PROXY", None),
    ],
)
def test_the_password_of_a_url_is_scrubbed(text: str, expected: str | None) -> None:
    assert scrub(text) == excerpt(text) == str(ConfigError(text)) == (expected or text)
    assert scrub(scrub(text)) == scrub(text)


@pytest.mark.parametrize("piece", ["://a:", "://a:b@", "a:", "://", "://:", "@", "1", "{", "://a:{"])
def test_a_long_text_is_scrubbed_at_all(piece: str) -> None:
    """Where two repetitions could share what they match, it would take minutes, and this would be cut off."""
    assert scrub("x://a:" + piece * (200_000 // len(piece)) + "\n@").endswith("\n@")


def test_an_empty_secret_is_none() -> None:
    assert not Secret(" \n")
    assert Secret("x")


def test_every_living_secret_is_scrubbed() -> None:
    first, longer = Secret("key-number-one"), Secret("key-number-one-and-a-half")
    text = "a key-number-one-and-a-half, key-number-one; key-number-one"
    assert scrub(text) == "a [secret], [secret]; [secret]"
    assert (first.reveal(), longer.reveal()) == ("key-number-one", "key-number-one-and-a-half")
    del longer
    gc.collect()
    assert scrub(text) == "a [secret]-and-a-half, [secret]; [secret]"


def test_short_secrets_do_not_mangle_a_text() -> None:
    short = [Secret(""), Secret("a"), Secret("token"), Secret("9-to-5")]
    assert scrub("a token is a token from 9-to-5") == "a token is a token from 9-to-5"
    assert len(short) == 4


def test_secrets_come_and_go_while_others_scrub() -> None:
    failures: list[BaseException] = []

    def make() -> None:
        try:
            for number in range(300):
                Secret(f"secret-number-{number}")
                scrub("a text")
        except BaseException as error:  # noqa: BLE001 - it is shown below
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_sealed_credentials_are_read_but_not_shown() -> None:
    given = {"service_account": {"private_key": KEY}, "api_key": KEY, 7: KEY}
    sealed = seal(given)
    assert sealed == given
    assert repr(sealed) == "<credentials: 7, api_key, service_account>"
    assert KEY not in repr(dict(sealed)["service_account"])
    assert seal(sealed) is sealed


def test_credentials_for_other_processes_are_pickled_but_not_shown() -> None:
    given = {"service_account": {"private_key": KEY}, "api_key": KEY}
    carried = carry(given)
    assert pickle.loads(pickle.dumps(carried)) == carried == given
    assert repr(carried) == "<credentials: api_key, service_account>"
    assert KEY not in repr(dict(carried)["service_account"])
    assert seal(carried) is carried


def test_a_bare_string_is_sealed_too() -> None:
    sealed = seal(KEY)
    assert isinstance(sealed, Secret)
    assert KEY not in repr(sealed)


def test_headers_are_sealed_for_other_processes_too() -> None:
    options = sealed({"headers": {"X-Gateway": KEY}, "modell": KEY, "timeout": 3})
    assert KEY not in repr(options)
    assert pickle.loads(pickle.dumps(carry(options["headers"]))) == {"X-Gateway": KEY}
    assert sealed(options)["headers"] is options["headers"]


@pytest.mark.parametrize("other", [None, 7, object()])
def test_nothing_else_is_sealed(other: object) -> None:
    assert seal(other) is other


@pytest.mark.parametrize("name", ["GEMINI_API_KEY", "GOOGLE_API_KEY"])
def test_every_key_of_the_environment_is_scrubbed_at_that_moment(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert scrub(f"it is {KEY}") == f"it is {KEY}"
    monkeypatch.setenv(name, KEY)
    assert scrub(f"it is {KEY}") == "it is [secret]"


def test_a_proxys_password_is_scrubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://ann:open-sesame@proxy:3128")
    assert scrub(str({"HTTPS_PROXY": "http://ann:open-sesame@proxy:3128"})).count("sesame") == 0
    assert scrub("The word is open-sesame.") == "The word is [secret]."
    monkeypatch.setenv("HTTPS_PROXY", "http://ann:open%40sesame@proxy:3128")
    assert scrub("It is open@sesame, or open%40sesame.") == "It is [secret], or [secret]."
    monkeypatch.setenv("HTTPS_PROXY", "http://ann:sesame@proxy:3128")  # a word: it would mangle other texts
    assert scrub("http://ann:sesame@proxy gives sesame") == "http://[secret]@proxy gives sesame"


def test_a_secret_that_lies_across_the_parts_of_an_answer_is_scrubbed() -> None:
    secret = Secret("key-that-must-not-be-seen")
    whole = f"It is {secret.reveal()}."
    parts: list[dict[str, Any]] = [
        {"text": whole[:12], "thoughtSignature": "c2ln"},
        {"inlineData": {"data": "AAAA"}},
        {"text": whole[12:20]},
        {"text": "A thought.", "thought": True},
        {"text": whole[20:], "thoughtSignature": "c2ln"},
    ]
    cleaned = scrub_parts(parts)
    assert "".join(part.get("text", "") for part in cleaned if "thought" not in part).endswith("[secret].")
    assert "key-that" not in str(cleaned)
    assert "must" not in str(cleaned)
    assert "must" in str(parts)
    assert [part.keys() for part in cleaned] == [part.keys() for part in parts]
    assert scrub_parts(parts[3:4]) == parts[3:4]


@pytest.mark.parametrize("ahead", ["", "a", "ab", "abc"])
def test_a_secret_is_found_in_the_forms_that_programs_write(ahead: str) -> None:
    secret = Secret('a "key"\\ with+signs/and=ü????>>>>-0123456789')
    raw = secret.reveal()
    for text in (
        json.dumps({raw: raw}),
        json.dumps(raw, ensure_ascii=False),
        repr([raw]),
        quote(raw, safe=""),
        quote_plus(raw),
        base64.b64encode(f"{ahead}{raw}{ahead}".encode()).decode(),
        base64.urlsafe_b64encode(f"{ahead}{raw}{ahead}".encode()).decode(),
    ):
        assert "[secret]" in scrub(text), text


@pytest.mark.parametrize("name", ["GOOGLE_OAUTH_ACCESS_TOKEN", "CLOUDSDK_AUTH_ACCESS_TOKEN"])
def test_tokens_of_the_environment_are_scrubbed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "ya29.of-the-environment")
    assert scrub("it is ya29.of-the-environment") == "it is [secret]"


def test_json_that_holds_itself_or_has_no_end_is_scrubbed_too() -> None:
    secret = Secret(KEY)
    circle: dict[Any, Any] = {"key": KEY, ("a", 1): KEY}
    circle["list"] = [circle, circle]
    assert scrub_json(circle) == {"key": "[secret]", ("a", 1): "[secret]", "list": ["[secret]"] * 2}
    deep: list[Any] = [KEY]
    for _ in range(5_000):
        deep = [deep]
    assert KEY not in repr(scrub_json(deep))
    wide: list[Any] = [KEY]
    for _ in range(100):
        wide = [wide, wide]
    clean = scrub_json(wide)  # each list once, not 2 to the power of 100 times
    for _ in range(100):
        clean = clean[1]
    assert clean == ["[secret]"]
    assert secret


def test_values_that_a_mapping_makes_anew_are_not_mixed_up() -> None:
    class Made(Mapping[str, list[str]]):
        def __getitem__(self, name: str) -> list[str]:
            return [name, KEY] if int(name) % 2 else [name]

        def __iter__(self) -> Iterator[str]:
            return map(str, range(1000))

        def __len__(self) -> int:
            return 1000

    secret = Secret(KEY)
    assert [value[0] for value in scrub_json(Made()).values()] == list(map(str, range(1000)))
    assert secret


def test_json_and_bytes_are_scrubbed_too() -> None:
    secret = Secret(KEY)
    value = {"a": [KEY, {f"x{KEY}": 1}], "b": KEY.encode()}
    assert scrub_json(value) == {"a": ["[secret]", {"x[secret]": 1}], "b": b"*" * len(KEY)}
    assert scrub_bytes(b"\0" + KEY.encode() + b"\xff") == b"\0" + b"*" * len(KEY) + b"\xff"
    clean = {"a": ["b", {"c": None}]}
    assert scrub_json(clean) is clean
    assert secret


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 38, 100])
def test_a_veil_hides_a_secret_that_comes_in_pieces(size: int) -> None:
    secret = Secret(KEY)
    text = f"x {KEY} y AIz {KEY} {KEY[:20]}"
    veil = Veil()
    shown = "".join(veil.feed(text[at : at + size]) for at in range(0, len(text), size)) + veil.flush()
    assert secret
    assert KEY not in shown
    assert shown.count("[secret]") == 2
    assert shown.endswith(KEY[:20])


def test_a_veil_holds_no_ordinary_word_back() -> None:
    secret = Secret(KEY)
    veil = Veil()
    assert secret
    assert [veil.feed(word) for word in ("A", "I", "z", " and")] == ["A", "I", "z", " and"]


def test_a_veil_hides_a_secret_that_has_just_arrived() -> None:
    veil = Veil()
    assert veil.feed("Once upon a time") == "Once upon a time"
    secret = Secret(KEY)
    assert veil.feed(f" there was {KEY}.") == " there was [secret]."
    assert secret


def test_many_values_are_scrubbed_after_one_look() -> None:
    class Tokens:
        looks = 0

        def secrets(self) -> list[str]:
            self.looks += 1
            return ["ya29.first-token"]

    tokens = Tokens()
    watch(tokens)
    with looking_once():
        for _ in range(3):
            assert scrub_json({"a": ["ya29.first-token"]}) == {"a": ["[secret]"]}
            assert scrub("ya29.first-token") == "[secret]"
    assert tokens.looks == 1
    assert scrub("ya29.first-token") == "[secret]"
    assert tokens.looks == 2


def test_an_object_may_be_asked_for_its_secrets() -> None:
    class Tokens:
        token = "ya29.first-token"

        def secrets(self) -> list[str]:
            return [self.token]

    tokens = Tokens()
    watch(tokens)
    assert scrub("ya29.first-token, ya29.next-token") == "[secret], ya29.next-token"
    tokens.token = "ya29.next-token"
    assert scrub("ya29.next-token") == "[secret]"


def test_an_error_shows_no_key_whoever_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    error = ConfigError(f"{KEY!r} is not a model id.", hint=f"Not {KEY}.")
    assert KEY not in f"{error} {error.args} {vars(error)}"
