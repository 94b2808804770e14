"""What a user's own cells give away is not sent."""

from __future__ import annotations

import pytest

from gemini_nb.notebook.magics.context.own_secrets import MASK, hide_secrets

OURS = "abc-DEF-0123456789"


@pytest.mark.parametrize(
    "text",
    [
        "api_key = '{}'",
        'OPENAI_API_KEY="{}"',
        "db_password: str = '{}'",
        "connect(url, token='{}')",
        "config = {{'client_secret': \"{}\", 'user': 'bob'}}",
        'headers = {{"Authorization": "Token {}"}}',
        "os.environ['HF_TOKEN'] = '{}'",
        "os.getenv('HF_TOKEN', '{}')",
        'secret = """{}"""',
        "password = b'{}'",
        "api_key = pydantic.SecretStr('{}')",
        r"run_cell_magic('time', '', 'pwd = \'{}\'\n')",
        "%env MY_TOKEN={}",
        "%set_env MY_TOKEN {}",
        "!export MY_TOKEN={}",
        "postgresql+psycopg://bob:{}@db.example/x",
        "curl -H 'X-Auth: Bearer {}'",
        "client('sk-proj-{}')",
        "x = 'glpat-{}'",
        "x = 'AIzaSy{}{}'",
        "x = 'eyJhbGciOiJI.eyJzdWIiOiIx.{}'",
        "x = '''-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----'''",
        "k: str, '-----BEGIN PRIVATE KEY-----\\n{}...'",
    ],
)
def test_what_is_called_a_secret_or_looks_like_one_is_hidden(text: str) -> None:
    shown = hide_secrets(text.format(OURS, OURS))
    assert OURS not in shown
    assert "[secret]" in shown
    assert shown.count("'") == text.count("'")


def test_a_secret_is_hidden_wherever_it_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_DB_PASSWORD", "of-the-environment")
    text = f"password = '{OURS}'\nValueError: {OURS} of-the-environment of-a-variable"
    shown = hide_secrets(text, {"api_token": "of-a-variable", "n": 3})
    assert shown == "password = '[secret]'\nValueError: [secret] [secret] [secret]"


@pytest.mark.parametrize(
    "text",
    [
        "prices['coffee']\nKeyError: 'coffee'",
        "key = 'coffee'",
        "tokens = ['the', 'cat']",
        "df[['password', 'email']]",
        "password = ''\nprint('hello')",
        "token = f'{name}'",
        "api_key = os.environ['OPENAI_API_KEY']",
        "token = getpass('Your token: ')",
        "secret_name = 'prod/db'",
        "max_tokens = 300",
        "https://example.com:8080/path?x=1@2",
        "sk_learn_like_long_name",
        "def login(user, password): ...",
        "{'author': 'Ann', 'monkey': 'Coco'}",
        "if token == 'the': pass\nelif token == 'function': pass\ndef function(): ...",
        "if password == 'hunter2xyz9' or token != 'abc-DEF-0123': pass",
        "eos_token = '</s>'; pad_token='[PAD]'; bos_token = '<|startoftext|>'; token = '--------'",
        "data['secret'] = '%s'; token = '{name}-{number}'; api_key = '<your key>'; pwd = 'C:/Users/bob'",
        "token = 'function'\ndef function(): ...",
        "token = 'word_piece_2' + 'getToken' + 'word_piece_2'",
        "token = '3.14159265'; token = 'v1.0.0'; secret = 'v1.10.0-rc1'",
        "credentials = 'service-account1.json'; token = 'https://a.org/b1'; token = 'Once upon a time, 2'",
        "if token: name = 'abc-DEF-0123456789'",
        "rk_integration_step_4 = hf_tokenizer_v2_pretrained = 'sk-estimator-doc-link-toggle-2'",
        "use Basic authentication or Bearer authentication",
        "f'postgresql://{user}:{password}@{host}/db'",
    ],
)
def test_ordinary_code_stays(text: str) -> None:
    assert hide_secrets(text) == text


def test_a_variable_that_is_a_word_mangles_nothing() -> None:
    text = "for function in functions: function(2)"
    assert hide_secrets(text, {"token": "function", "eos_token": "functions:", "secret": "functions"}) == text


def test_a_short_password_is_hidden_only_where_it_is_given() -> None:
    text = "password = 'function'\nsecret: str = 'ab-cd1'\ndef function(): 'ab-cd1'"
    shown = "password = '[secret]'\nsecret: str = '[secret]'\ndef function(): 'ab-cd1'"
    assert hide_secrets(text) == shown


def test_the_password_of_a_url_is_hidden_where_it_is_repeated() -> None:
    text = "postgres://bob:hunter2xyz9@db/x?mail=a@b\nFATAL: password hunter2xyz9 is wrong"
    shown = hide_secrets(text)
    assert "hunter2xyz9" not in shown
    assert shown.endswith("FATAL: password [secret] is wrong")


@pytest.mark.parametrize(
    "text", ["ghp_{0}{0}", "hf_{0}{0}", "gsk_{0}{0}{0}", "sk_live_{0}", "rk_test_{0}", "sk-{0}{0}"]
)
def test_keys_of_well_known_services_are_hidden(text: str) -> None:
    assert hide_secrets(f"x = '{text.format('0a1b2c3d4e5f6g7h8')}'") == "x = '[secret]'"


ESCAPED = "token=\\\\\\\\'"


BEGINNINGS = ("", "token:", "export token", ESCAPED)
PIECES = (
    *(" ", "\n", "'", '"', "\\", "a", "1", "1.", "a:", "://a:", "x://a:", "token", "token:", "token='"),
    *("get('", "token: a", "export token ", "-eyJaaaaaa", "sk-"),
    *("-----BEGIN PRIVATE KEY-----", "-----END ", "{"),
)
QUICK = {("token:", " "), ("export token", " "), (ESCAPED, "\\")}
"""One for each beginning: with each piece after each it takes a processor fifteen seconds."""


@pytest.mark.parametrize(
    ("before", "piece"),
    [
        pytest.param(
            before, piece, marks=[] if before == "" or (before, piece) in QUICK else [pytest.mark.slow]
        )
        for before in BEGINNINGS
        for piece in PIECES
    ],
)
def test_a_long_text_is_looked_through_at_all(before: str, piece: str) -> None:
    """Where two repetitions could share what they match, it would take minutes, and this would be cut off."""
    shown = hide_secrets(before + piece * (100_000 // len(piece)) + "\n.")
    assert shown.endswith(("\n.", MASK))  # of a private key the rest, where it has no end
