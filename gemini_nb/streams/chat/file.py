"""A chat as a file, which may come from a stranger.

A file decides what is said and how the model answers. It never decides where a request goes, or with which
key: a host in it would be sent the reader's key. Nor does it decide what may run, how often, or what is let
through: tools stand in it by their names alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gemini_nb.api.contents.content import encode_body
from gemini_nb.api.contents.generation import SCHEMAS, split_config
from gemini_nb.api.wire import Content
from gemini_nb.config import Settings, choose_model
from gemini_nb.errors import ArgumentError, ConfigError
from gemini_nb.redaction import scrub_json
from gemini_nb.tools.schemas.schema import OutputSchema
from gemini_nb.tools.tool import ToolSet, as_tools

_FORMAT = "gemini_nb.Chat"
_VERSION = 1


def write_chat(path: str | os.PathLike[str], history: list[Content], options: Mapping[str, Any]) -> None:
    """Write a chat as JSON, without keys; an older file is replaced only when the new one is whole.

    Raises:
        ArgumentError: a value in it is not JSON.
    """
    given = {name: options[name] for name in _CHECKS if options.get(name) is not None}
    config, beside = split_config(given.get("generation_config", {}))
    for name in [name for name in SCHEMAS if not isinstance(config.get(name, {}), Mapping)]:
        config |= OutputSchema(config.pop(name)).generation_config  # a type has no other form in a file
    settings = {"system_instruction": beside.get("systemInstruction"), **given, "generation_config": config}
    tools = [*as_tools(options.get("tools")), *as_tools(beside.get("tools"))]
    content = encode_body(
        {
            "format": _FORMAT,
            "version": _VERSION,
            "settings": {name: value for name, value in settings.items() if value not in (None, {})},
            "tools": ToolSet(tools).names,
            "history": history,
        }
    )
    target = Path(path).expanduser()
    half = target.with_name(f".{target.name}.part")
    half.write_bytes(encode_body(scrub_json(json.loads(content))))
    half.replace(target)


def read_chat(
    path: str | os.PathLike[str], options: Mapping[str, Any]
) -> tuple[list[Content], dict[str, Any]]:
    """Return the history and the settings of a file; what the caller says in `options` goes before them.

    Raises:
        ConfigError: the file holds no chat, or one of a newer format, or a value that cannot be.
    """
    value = _read(path)
    history, settings, tools = value.get("history"), value.get("settings"), value.get("tools", [])
    if not isinstance(history, list) or not isinstance(settings, dict):
        raise _no_chat(path)
    if not all(map(_is_turn, history)):
        raise ConfigError(f"{path}: its history holds an entry that is not a turn.", hint=_TURN)
    kept = {name: found for name, found in settings.items() if name in _CHECKS and options.get(name) is None}
    for name, found in kept.items():
        if not _CHECKS[name](found):
            raise ConfigError(
                f"{path}: its {name} cannot be used.", hint=f"Pass another: Chat.load(path, {name}=...)."
            )
    _check_tools(path, tools, options.get("tools"))
    return history, kept


def _read(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        value = json.loads(Path(path).expanduser().read_bytes(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        value = None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    if not isinstance(value, dict) or value.get("format") != _FORMAT:
        raise _no_chat(path)
    version = value.get("version", _VERSION)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise _no_chat(path)
    if version > _VERSION:
        raise ConfigError(
            f"{path} was written by a newer gemini_nb, in format {version}; this one reads up to {_VERSION}.",
            hint="%pip install --upgrade gemini-nb",
        )
    return value


def _check_tools(path: str | os.PathLike[str], names: object, given: Any) -> None:
    """Report the functions that the file names and the caller did not pass; a name alone calls nothing."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{path}: its tools are not a list of names.")
    if given is not None and (missing := sorted(set(names) - set(ToolSet(given).names))):
        raise ConfigError(
            f"{path}: this chat has tools that were not given: {', '.join(missing)[:200]}.",
            hint="Give them: Chat.load(path, tools=[...]).",
        )


def _no_chat(path: str | os.PathLike[str]) -> ConfigError:
    return ConfigError(f"{path} holds no chat.", hint="Chat.save writes one.")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _is_turn(turn: object) -> bool:
    if not isinstance(turn, dict) or not isinstance(turn.get("role", ""), str):
        return False
    parts = turn.get("parts")
    return isinstance(parts, list) and bool(parts) and all(isinstance(part, dict) and part for part in parts)


def _is_model(value: Any) -> bool:
    """Whether it is a model's id; one with a project in it would say where the request goes."""
    try:
        return not choose_model(value, Settings()).startswith("projects/")
    except ConfigError:
        return False


def _is_instruction(value: object) -> bool:
    items = value if isinstance(value, list) else [value]
    return bool(items) and all(isinstance(item, (str, dict)) and item for item in items)


def _is_config(value: object) -> bool:
    """Whether it says how the model answers, and nothing else: a config may hold tools, a cache, a tier."""
    try:
        return isinstance(value, dict) and not split_config(value)[1]
    except (ArgumentError, ConfigError):
        return False


_TURN = "One looks like {'role': 'user', 'parts': [{'text': ...}]}."
_CHECKS: dict[str, Callable[[object], bool]] = {
    "model": _is_model,
    "system_instruction": _is_instruction,
    "generation_config": _is_config,
}
