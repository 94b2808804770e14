from __future__ import annotations

import copy
import gc
import json
import pickle
import threading

import pytest

from gemini_nb.redaction import Secret, scrub, seal

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
def test_a_secret_is_not_copied(copied: type[object]) -> None:
    for secret in (Secret(KEY), seal({"api_key": KEY})):
        with pytest.raises(TypeError, match="copied"):
            copied(secret)  # type: ignore[call-arg]  # either function


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
    short = [Secret(""), Secret("a"), Secret("token")]
    assert scrub("a token is a token") == "a token is a token"
    assert len(short) == 3


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


def test_a_bare_string_is_sealed_too() -> None:
    sealed = seal(KEY)
    assert isinstance(sealed, Secret)
    assert KEY not in repr(sealed)


@pytest.mark.parametrize("other", [None, 7, object()])
def test_nothing_else_is_sealed(other: object) -> None:
    assert seal(other) is other
