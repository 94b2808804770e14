"""What a user's own cells give away is not sent."""

from __future__ import annotations

import pytest

from gemini_nb.notebook.magics.own_secrets import hide_secrets

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
        "if password == '{}': pass",
        "api_key = pydantic.SecretStr('{}')",
        r"run_cell_magic('time', '', 'pwd = \'{}\'\n')",
        "%env MY_TOKEN={}",
        "%set_env MY_TOKEN {}",
        "!export MY_TOKEN={}",
        "postgresql+psycopg://bob:{}@db.example/x",
        "curl -H 'X-Auth: Bearer {}'",
        "client('sk-proj-{}')",
        "x = 'ghp_{}'",
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
    ],
)
def test_ordinary_code_stays(text: str) -> None:
    assert hide_secrets(text) == text
