"""TOML text of what `tomllib` reads, but for times: AWM writes only its own settings (SPEC 16).

What is written here is read again with care, for it may come from anywhere: `tomllib` takes four minutes for a key of
120 KB of dots.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*+"')
_NOT_OURS = re.compile(r"['#]|(?:\.[\w-]*+){9}")  # outside of strings: their other form, a comment, a long key
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def read(text: str) -> dict[str, Any]:
    """The table of what `layout` wrote. Raises ValueError for what is no TOML, and for forms that are not ours."""
    if '"""' in text or _NOT_OURS.search(_STRING.sub("", text).replace(" ", "").replace("\t", "")):
        raise ValueError("it has a form of TOML that AWM does not write")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def layout(table: Mapping[str, Any]) -> str:
    """The document of a table: its values first, then each table in it under its header."""
    return "".join(f"{line}\n" for line in _lines(table, ())).lstrip("\n")


def _lines(table: Mapping[str, Any], way: tuple[str, ...]) -> list[str]:
    values = [f"{_key(key)} = {_value(value)}" for key, value in table.items() if not isinstance(value, dict)]
    tables = {key: value for key, value in table.items() if isinstance(value, dict)}
    header = ["", f"[{'.'.join(map(_key, way))}]"] if way and (values or not tables) else []
    return [*header, *values, *(line for key, inner in tables.items() for line in _lines(inner, (*way, key)))]


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _value(key)


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list():
            return f"[{', '.join(map(_value, value))}]"
        case dict():
            return f"{{{', '.join(f'{_key(key)} = {_value(inner)}' for key, inner in value.items())}}}"
    raise TypeError(f"{type(value).__name__} is not written in awm.toml")
