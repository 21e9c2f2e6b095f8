"""JSON as a home's files show it to people: nested, in short lines, foreign keys in their place (SPEC 4.2).

Guarantee: `jsontext.parse` reads what `layout` wrote as the same value.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from json.encoder import encode_basestring

LINE_COLUMNS = 100  # a list or object that fits stays on one line

Texts = dict[int, tuple[object, str]]
"""What `layout` was given last, by identity, with its text. Each is held, so that no other can come to its identity."""

_SCALARS = json.JSONEncoder(allow_nan=False)


def layout(value: object, texts: Texts | None = None) -> bytes:
    """The UTF-8 text of a JSON value as it is written to disk, with a final newline.

    Nested by two spaces; what fits into 100 columns stays on one line. Our own bugs raise: ValueError for NaN, infinity
    and lone surrogates, TypeError for what is not JSON (keys are `str`, lists `list` or `tuple`).

    With `texts`, objects in the lists of the top-level object that the call before was given too are not laid out
    again. They must be the very same and unchanged: nobody may change an entry in place.
    """
    if texts is not None and isinstance(value, dict):
        value = _with_texts(value, texts)
    return f"{_rendered(value, '', 0)}\n".encode()


class _Laid(str):
    """The text of a value, in its place."""

    __slots__ = ()


def _with_texts(document: dict[str, object], texts: Texts) -> dict[str, object]:
    known = dict(texts)
    texts.clear()

    def laid(entry: object) -> str:
        found = known.get(id(entry)) or (entry, _rendered(entry, " " * 4, 4))
        if isinstance(entry, dict):
            texts[id(entry)] = found
        return found[1]

    return {
        key: _Laid(_joined("[]", [*map(laid, item)], "  ", 2 + len(encode_basestring(key)) + 2))
        if isinstance(item, list) and item and isinstance(item[0], dict)
        else item
        for key, item in document.items()
    }


def _rendered(value: object, margin: str, used: int) -> str:
    """`margin` indents the line the value begins on, `used` columns of that line are taken."""
    if isinstance(value, str):
        return value if isinstance(value, _Laid) else encode_basestring(value)
    inner = margin + "  "
    column = len(inner)
    if isinstance(value, dict):
        keys = map(encode_basestring, value)
        members = [
            f"{key}: {encode_basestring(item) if type(item) is str else _rendered(item, inner, column + len(key) + 2)}"
            for key, item in zip(keys, value.values(), strict=True)
        ]
        return _joined("{}", members, margin, used)
    if isinstance(value, (list, tuple)):
        members = [encode_basestring(item) if type(item) is str else _rendered(item, inner, column) for item in value]
        return _joined("[]", members, margin, used)
    return str(value) if type(value) is int else _SCALARS.encode(value)


def _joined(brackets: str, members: Sequence[str], margin: str, used: int) -> str:
    opener, closer = brackets[0], brackets[1]
    room = LINE_COLUMNS - used - 2 * len(members)  # two for the brackets, two for each separator
    if not members or sum(map(len, members)) <= room:  # a member on several lines is always too long for one
        return opener + ", ".join(members) + closer
    separator = f",\n{margin}  "
    return f"{opener}\n{margin}  {separator.join(members)}\n{margin}{closer}"
