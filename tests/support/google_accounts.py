"""Fixtures: a service account of nobody's, and the server that makes tokens for it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from token_server import TokenServer

__all__ = ["account", "account_file", "private_key", "tokens"]


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
