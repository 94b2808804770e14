"""A service account of nobody's, the server that makes tokens for it, and what asks with them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from calling import endpoint_to
from gemini_nb.api.auth import Authenticator, authenticator
from gemini_nb.api.endpoint import Endpoint
from gemini_nb.config import Auth
from scripted import ScriptedServer
from token_server import TOKEN, TokenServer

__all__ = ["account", "account_file", "bearer", "private_key", "tokens", "vertex", "vertex_endpoint"]


@pytest.fixture(scope="module")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem.decode()


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    with TokenServer() as server:
        yield server


@pytest.fixture
def account(tokens: TokenServer, private_key: str) -> dict[str, str]:
    return {
        "type": "service_account",
        "project_id": "the-project",
        "private_key_id": uuid.uuid4().hex,  # ports come again, and the same account shares its token
        "private_key": private_key,
        "client_email": "robot@the-project.iam.gserviceaccount.com",
        "client_id": "2",
        "token_uri": f"{tokens.url}/token",
    }


@pytest.fixture
def account_file(account: dict[str, str], tmp_path: Path) -> Path:
    path = tmp_path / "account.json"
    path.write_text(json.dumps(account), encoding="utf-8")
    return path


def vertex(credentials: object) -> Authenticator:
    return authenticator(Auth.VERTEX_AI, credentials)


def vertex_endpoint(server: ScriptedServer, credentials: object) -> Endpoint:
    return endpoint_to(server.url, auth="vertex_ai", credentials=credentials)


def bearer(number: int) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKEN}-{number}"}
