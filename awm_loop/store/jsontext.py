"""JSON text as the home's files hold it: read strictly, written for people (SPEC 4.7, docs/MEASURED.md 3).

Guarantee: `parse` returns only what `layout` can write and `parse` reads again as the same value. Anything else in a
file is a BadFileError that names file, line, column, the JSON pointer where it is known, what was expected, and how to
mend it. Refused besides what is not JSON at all is what Python's `json` reads and then loses or cannot write
back (duplicate keys, NaN, 1e999, lone surrogates, UTF-16), and what has no sane size. A BOM and CRLF are accepted.

The good path is the C decoder with hooks. Only when that refuses does `_walk` look for the spot, slowly, in Python; it
reads strings, numbers and words with the same decoder, so that the two agree.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from awm_loop.errors import BadFileError
from awm_loop.store.jsonlayout import Texts, layout

__all__ = ["BYTES_MAX", "Pointer", "Texts", "complaint", "layout", "locate", "parse"]

BYTES_MAX = 32 * 1024 * 1024
DEPTH_MAX = 64
DIGITS_MAX = 20  # of an integer: 64 bits have no more
POINTER_SHOWN_MAX = 200  # characters: a key may be as long as the file

Pointer = Sequence[str | int]
"""The way to a value: the key or index at each level, outermost first; empty for the whole document."""

_SPACE = " \t\n\r"
_WORD = re.compile(r"[-+.\w]+")
_FENCE = re.compile("^```", re.MULTILINE)
_ESCAPE = re.compile(r"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..)|.)")  # group 1: half a pair alone
_CUT_OFF = "the file is cut off: put back its end, or: `awm restore` puts the last good copy back"

_HAZARDS = [
    (re.compile(pattern), what, hint)
    for pattern, what, hint in (
        ("```", "a Markdown fence", "Markdown fence: keep only what is between the ``` lines"),
        (
            r"<{7}|={7}|>{7}|\|{7}",
            "a merge marker",
            "merge conflict: keep one side and remove the <<<<<<<, ======= and >>>>>>> lines",
        ),
        (r"//|/\*|#", "a comment", 'remove the comment: JSON has none (a "_comment" member is kept)'),
        ("'", "a single quote", 'single quotes: JSON wants double quotes "'),
        ("[\u2018-\u201f\u00ab\u00bb]", "a smart quote", 'smart quotes: replace them by plain double quotes "'),
        (r"(?:True|False|None)\b", "a Python literal", "Python literal: write true, false or null"),
        (r"\0", "a NUL byte", "NUL bytes: this part of the file was lost; `awm restore` puts the last good copy back"),
    )
]


class _HazardError(ValueError):
    """What is wrong at the offset `at`, and how to mend it. The decoder's hooks do not know the offset."""

    def __init__(self, what: str, hint: str, at: int = 0) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.at = at


def parse(data: bytes, path: Path) -> tuple[str, object]:
    """Return the text of `data` (BOM dropped, line ends as they are) and its value; `path` is for the message only.

    Raises BadFileError for the first hazard in reading order, and nothing else whatever the bytes are.
    """
    text = _decoded(data, path)
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise _first_hazard(text, path) from None
    if _is_too_deep(value) or ("\\u" in text and any(escape[1] for escape in _ESCAPE.finditer(text))):
        raise _first_hazard(text, path)
    return text, value


def complaint(path: Path, text: str, pointer: Pointer, expected: str, hint: str = "") -> BadFileError:
    """The error for well-formed JSON with the wrong value at `pointer`; `expected` says what it is and should be.

    It is placed at that value, or at its nearest existing parent. `text` is what `parse` returned.
    """
    return _bad_file(path, text, pointer, _HazardError(expected, hint, _offset(text, pointer)))


def locate(text: str, pointer: Pointer) -> tuple[int, int]:
    """Line and column, from 1, of the value at `pointer` in `parse`d text, or of its nearest existing parent."""
    return _spot(text, _offset(text, pointer))


def _decoded(data: bytes, path: Path) -> str:
    if len(data) > BYTES_MAX:
        what = f"the file has more than {BYTES_MAX} bytes (32 MiB); expected a smaller one"
        raise _bad_file(path, "", (), _HazardError(what, "too big: take out what is not needed"))
    nul_counts = (data[:4:2].count(0), data[1:4:2].count(0))
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or nul_counts in {(0, 2), (2, 0)}:
        raise _bad_file(path, "", (), _HazardError("the file is UTF-16; expected UTF-8", "save as UTF-8"))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig")
        what, hint = f"the byte 0x{data[error.start]:02x} is not UTF-8; expected UTF-8 text", "save as UTF-8"
        if error.reason == "unexpected end of data":
            what, hint = "the file ends inside a character; expected the rest of it", _CUT_OFF
        raise _bad_file(path, before, (), _HazardError(what, hint, len(before))) from None


def _constant(name: str) -> float:
    raise _HazardError(f"{name} is not JSON; expected a number or null", f"{name}: write a number or null instead")


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > DIGITS_MAX:
        what = f"an integer of more than {DIGITS_MAX} digits; expected a smaller one"
        raise _HazardError(what, "too many digits: put double quotes around it")
    return int(digits)


def _fraction(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _HazardError(
            "a number that reads as infinity; expected a finite one", "too large: write a smaller number"
        )
    return number


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(members)
    if len(value) != len(members):
        raise _HazardError("duplicate key", "")
    return value


_DECODER = json.JSONDecoder(
    parse_constant=_constant, parse_int=_integer, parse_float=_fraction, object_pairs_hook=_object
)


def _is_too_deep(value: Any) -> bool:
    layer = [value] if isinstance(value, (dict, list)) else []
    for _ in range(DEPTH_MAX):
        layer = [
            item
            for container in layer
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, (dict, list))
        ]
    return bool(layer)


def _first_hazard(text: str, path: Path) -> BadFileError:
    parts: list[str | int] = []
    try:
        for _ in _walk(text, parts):
            pass
    except _HazardError as hazard:
        return _bad_file(path, text, parts, hazard)
    raise AssertionError(f"{path}: the decoder refuses what the walk accepts")


def _walk(text: str, parts: list[str | int]) -> Iterator[int]:
    """Yield the offset of each value in reading order; meanwhile `parts` is its pointer. Raise the first _HazardError.

    The stack is its own, so that no nesting is too deep for it. An open list is an index in `parts`, an object a key.
    """
    seen: list[dict[str, int]] = []  # for each open container, where its keys stand
    at = _past_space(text, 0)
    while True:
        yield at
        closer = {"{": "}", "[": "]"}.get(text[at : at + 1])
        if closer and len(seen) == DEPTH_MAX:
            raise _HazardError(
                f"nested too deep; expected at most {DEPTH_MAX} levels", "take out levels of nesting", at
            )
        inside = _past_space(text, at + 1)
        if closer and text.startswith(closer, inside):
            at = inside + 1
        elif closer:
            seen.append({})
            at = _enter(text, inside, parts, 0 if closer == "]" else seen[-1])
            continue
        else:
            at = _scalar_end(text, at, nested=bool(seen))
        at = _past_space(text, at)
        while seen and text.startswith("]" if isinstance(parts[-1], int) else "}", at):
            seen.pop()
            parts.pop()
            at = _past_space(text, at + 1)
        if not seen:
            _expect_end(text, at)
            return
        last = parts[-1]
        after = _past_comma(text, at, "]" if isinstance(last, int) else "}")
        parts.pop()
        if text[after : after + 1] in {"]", "}"}:
            raise _HazardError("a trailing comma; expected one more value after it", "remove the trailing comma", at)
        at = _enter(text, after, parts, last + 1 if isinstance(last, int) else seen[-1])


def _enter(text: str, at: int, parts: list[str | int], member: int | dict[str, int]) -> int:
    """Put a container's next member into `parts` and return where its value is expected.

    `member` is its index in a list; in an object, where the keys before it stand.
    """
    if isinstance(member, int):
        parts.append(member)
        return at
    if not text.startswith('"', at):
        raise _unexpected(text, at, "a key in double quotes", "put double quotes around the key")
    key, end = _string(text, at)
    parts.append(key)
    if key in member:
        what = f"duplicate key, on line {_spot(text, member[key])[0]} and line {_spot(text, at)[0]}; expected it once"
        raise _HazardError(what, "duplicate key: keep one of the two, a reader would silently drop the first", at)
    member[key] = at
    colon = _past_space(text, end)
    if not text.startswith(":", colon):
        raise _unexpected(text, colon, '":" after the key', 'put ":" between a key and its value')
    return _past_space(text, colon + 1)


def _past_comma(text: str, at: int, closer: str) -> int:
    if not text.startswith(",", at):
        wrong_bracket = text[at : at + 1] in {"]", "}"}
        hint = f'bracket: close this with "{closer}"' if wrong_bracket else "put a comma between two values"
        raise _unexpected(text, at, f'"," or "{closer}" after the value', hint)
    return _past_space(text, at + 1)


def _scalar_end(text: str, at: int, nested: bool) -> int:
    """Where the string, number or word at `at` ends. A word that ends the file while `nested` is cut off."""
    if text.startswith('"', at):
        return _string(text, at)[1]
    try:
        end = _DECODER.raw_decode(text, at)[1]
    except json.JSONDecodeError:
        end = at
    except _HazardError as hazard:
        raise _HazardError(hazard.what, hazard.hint, at) from None
    word = _WORD.match(text, end)
    if word is None and end > at:
        return end
    fence = None if nested else _FENCE.search(text, at)
    if fence:
        raise _unexpected(text, fence.start(), "JSON alone", "")
    if word is None or _hazard(text, at, "a value"):
        raise _unexpected(
            text, at, "a value", "write text in double quotes, a number, true, false, null, [...] or {...}"
        )
    if nested and word.end() == len(text.rstrip(_SPACE)):
        raise _HazardError("the file ends inside a value; expected the rest of it", _CUT_OFF, at)
    if text[at] in "+-.0123456789":
        raise _HazardError("not a JSON number; expected digits as in 12, 0.5 or -1e3", "number: use plain digits", at)
    raise _HazardError("a word without quotes; expected a value", "put double quotes around text", at)


def _string(text: str, at: int) -> tuple[str, int]:
    """The string at `at` and where it ends, or the hazard in it."""
    try:
        value, end = _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        spot = error.pos
    else:
        for escape in _ESCAPE.finditer(text, at, end):
            if escape[1]:
                what = "half of a surrogate pair; expected a whole character"
                raise _HazardError(what, "lone surrogate: write the character itself", escape.start())
        return value, end
    char = text[spot : spot + 1]
    if char == "\n" or text.startswith("\r\n", spot):
        what = 'a line break inside a string; expected " before it'
        raise _HazardError(what, 'line break: close the string with ", or write \\n', spot)
    if char and char < " ":
        what = "a control character inside a string; expected text"
        raise _hazard(text, spot, "text") or _HazardError(what, "write it as an escape, a tab as \\t", spot)
    if spot == at or text.find('"', spot) < 0:
        raise _HazardError('the file ends inside a string; expected "', _CUT_OFF, at)
    what = 'an unknown escape; expected one of \\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX'
    raise _HazardError(what, "escape: write a backslash itself as \\\\", text.rfind("\\", at, spot + 1))


def _expect_end(text: str, at: int) -> None:
    if at < len(text):
        expected = "the end of the file"
        what = f"more text after the document; expected {expected}"
        hint = "two documents: keep one, and remove what follows it"
        raise _hazard(text, at, expected) or _HazardError(what, hint, at)


def _unexpected(text: str, at: int, expected: str, hint: str) -> _HazardError:
    if at < len(text):
        return _hazard(text, at, expected) or _HazardError(f"expected {expected}", hint, at)
    end = len(text.rstrip(_SPACE))
    if end == 0:
        return _HazardError(
            "the file is empty; expected a JSON document", "empty file: `awm restore` puts the last good copy back"
        )
    return _HazardError(f"the file ends here; expected {expected}", _CUT_OFF, end)


def _hazard(text: str, at: int, expected: str) -> _HazardError | None:
    for pattern, what, hint in _HAZARDS:
        if pattern.match(text, at):
            return _HazardError(f"{what}; expected {expected}", hint, at)
    return None


def _past_space(text: str, at: int) -> int:
    while text[at : at + 1] and text[at] in _SPACE:
        at += 1
    return at


def _offset(text: str, pointer: Pointer) -> int:
    parts: list[str | int] = []
    wanted = list(pointer)
    nearest = 0
    for at in _walk(text, parts):
        if parts == wanted[: len(parts)]:
            nearest = at
            if len(parts) == len(wanted):
                break
    return nearest


def _spot(text: str, at: int) -> tuple[int, int]:
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


def _bad_file(path: Path, text: str, pointer: Pointer, hazard: _HazardError) -> BadFileError:
    line, column = _spot(text, hazard.at)
    start = text.rfind("\n", 0, hazard.at) + 1
    end = text.find("\n", hazard.at)
    excerpt = text[max(start, hazard.at - 20) : min(len(text) if end < 0 else end, hazard.at + 30)].strip()
    parts = [
        f"{path}:{line}:{column}",
        "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in pointer)[:POINTER_SHOWN_MAX],
        hazard.what,
        f"'{excerpt}'" if excerpt else "",
    ]
    message = ": ".join(part for part in parts if part)
    # What stands in a file must not steer the terminal that shows the message.
    return BadFileError("".join(char if char.isprintable() else ascii(char)[1:-1] for char in message), hazard.hint)
