"""What is refused in a file of the home, where and with which hint, and what is written instead (SPEC 4.7)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awm_loop.errors import EXIT_CONFIG, BadFileError
from awm_loop.store.jsontext import Texts, complaint, layout, locate, parse

ANY = Path("state/current_work.json")
VALUE = "write text in double quotes"

HAZARDS = {
    # name: (bytes, message after the path, word of the hint)
    "empty": (b"", "1:1: the file is empty; expected a JSON document", "empty"),
    "only space": (b" \r\n\n", "1:1: the file is empty; expected a JSON document", "empty"),
    "utf-16 with BOM": ('{"a": 1}'.encode("utf-16"), "1:1: the file is UTF-16; expected UTF-8", "save as UTF-8"),
    "utf-16 little": ('{"a": 1}'.encode("utf-16-le"), "1:1: the file is UTF-16; expected UTF-8", "save as UTF-8"),
    "utf-16 big": ('{"a": 1}'.encode("utf-16-be"), "1:1: the file is UTF-16; expected UTF-8", "save as UTF-8"),
    "latin-1": (
        b'{\r\n "a": "caf\xe9"}',
        '2:11: the byte 0xe9 is not UTF-8; expected UTF-8 text: \'"a": "caf\'',
        "save as UTF-8",
    ),
    "too big": (
        b" " * (32 * 2**20 + 1),
        "1:1: the file has more than 33554432 bytes (32 MiB); expected a smaller one",
        "too big",
    ),
    "duplicate key": (
        b'{"queue": ["S1"],\n "x": 0,\n "queue": []}',
        "3:2: /queue: duplicate key, on line 1 and line 3; expected it once: '\"queue\": []}'",
        "duplicate key",
    ),
    "duplicate key deep down": (
        b'{"a": [{}, {"b": 1,\r\n\r\n"b": 1}]}',
        "3:1: /a/1/b: duplicate key, on line 1 and line 3; expected it once: '\"b\": 1}]}'",
        "duplicate key",
    ),
    "NaN": (b'{"a": NaN}', "1:7: /a: NaN is not JSON; expected a number or null: '{\"a\": NaN}'", "NaN"),
    "Infinity": (b"[Infinity]", "1:2: /0: Infinity is not JSON; expected a number or null: '[Infinity]'", "Infinity"),
    "-Infinity": (
        b"[1,\n-Infinity]",
        "2:1: /1: -Infinity is not JSON; expected a number or null: '-Infinity]'",
        "-Infinity",
    ),
    "1e999": (b"[-1e999]", "1:2: /0: a number that reads as infinity; expected a finite one: '[-1e999]'", "too large"),
    "long integer": (
        b'{"n":\n123456789012345678901}',
        "2:1: /n: an integer of more than 20 digits; expected a smaller one: '123456789012345678901}'",
        "too many digits",
    ),
    "longest integer": (
        b"[-" + b"9" * 5000 + b"]",
        f"1:2: /0: an integer of more than 20 digits; expected a smaller one: '[-{'9' * 29}'",
        "too many digits",
    ),
    "lone surrogate": (
        rb'["\\ud800", "\ud83d\ude80 \uD83d!"]',
        r"""1:27: /1: half of a surrogate pair; expected a whole character: '800", "\ud83d\ude80 \uD83d!"]'""",
        "lone surrogate",
    ),
    "low surrogate first": (
        rb'["\ude80\ud83d"]',
        r"""1:3: /0: half of a surrogate pair; expected a whole character: '["\ude80\ud83d"]'""",
        "lone surrogate",
    ),
    "lone surrogate in a key": (
        rb'{"a": {"\udc00": 1}}',
        r"""1:9: /a: half of a surrogate pair; expected a whole character: '{"a": {"\udc00": 1}}'""",
        "lone surrogate",
    ),
    "too deep": (
        b"\n" + b"[" * 65 + b"]" * 65,
        f"2:65: {'/0' * 64}: nested too deep; expected at most 64 levels: '{'[' * 21}{']' * 29}'",
        "nesting",
    ),
    "far too deep": (
        b'{"a":' * 400_000,
        f"1:321: {'/a' * 64}: nested too deep; expected at most 64 levels: '" + '{"a":' * 10 + "'",
        "nesting",
    ),
    "line comment": (
        b'{"a": 1,\n  // two\n "b": 2}',
        "2:3: a comment; expected a key in double quotes: '// two'",
        "remove the comment",
    ),
    "hash comment": (
        b"[1 # one\n]",
        '1:4: /0: a comment; expected "," or "]" after the value: \'[1 # one\'',
        "comment",
    ),
    "block comment": (b"/* x */ {}", "1:1: a comment; expected a value: '/* x */ {}'", "comment"),
    "trailing comma in a list": (
        b'{"queue": ["S1",\r\n"S2",\r\n]}',
        "2:5: /queue: a trailing comma; expected one more value after it: '\"S2\",'",
        "remove the trailing comma",
    ),
    "trailing comma in an object": (
        b'{"a": {"b": 1, } }',
        '1:14: /a: a trailing comma; expected one more value after it: \'{"a": {"b": 1, } }\'',
        "remove the trailing comma",
    ),
    "single quotes": (b"{'a': 1}", "1:2: a single quote; expected a key in double quotes: '{'a': 1}'", "double quotes"),
    "single quoted value": (b"['a']", "1:2: /0: a single quote; expected a value: '['a']'", "double quotes"),
    "smart quotes": (
        "{“a”: 1}".encode(),
        "1:2: a smart quote; expected a key in double quotes: '{“a”: 1}'",
        "smart quotes",
    ),
    "fence": (b"```json\n{}\n```", "1:1: a Markdown fence; expected JSON alone: '```json'", "Markdown fence"),
    "fence after prose": (
        b"Here it is:\n\n```json\n{}\n```\n",
        "3:1: a Markdown fence; expected JSON alone: '```json'",
        "between the ``` lines",
    ),
    "closing fence": (b"{}\n```\n", "2:1: a Markdown fence; expected the end of the file: '```'", "Markdown fence"),
    "merge": (
        b'{"a": 1,\n<<<<<<< HEAD\n"b": 2\n=======\n"b": 3\n>>>>>>> theirs\n}',
        "2:1: a merge marker; expected a key in double quotes: '<<<<<<< HEAD'",
        "merge conflict",
    ),
    "rest of a merge": (
        b'{"a": 1\n=======\n}',
        '2:1: /a: a merge marker; expected "," or "}" after the value: \'=======\'',
        "merge conflict",
    ),
    "True": (b'{"a": True}', "1:7: /a: a Python literal; expected a value: '{\"a\": True}'", "Python literal"),
    "None": (b"[0, None]", "1:5: /1: a Python literal; expected a value: '[0, None]'", "Python literal"),
    "two documents": (
        b'{"a": 1}\n{"b": 2}',
        "2:1: more text after the document; expected the end of the file: '{\"b\": 2}'",
        "two documents",
    ),
    "NUL tail": (b"{}\n\0\0", r"2:1: a NUL byte; expected the end of the file: '\x00\x00'", "NUL"),
    "NUL alone": (b"\0", r"1:1: a NUL byte; expected a value: '\x00'", "NUL"),
    "NUL in a string": (b'["a\0\0', r"""1:4: /0: a NUL byte; expected text: '["a\x00\x00'""", "NUL"),
    "cut in a string": (
        b'{"queue": ["S1", "S',
        '1:18: /queue/1: the file ends inside a string; expected ": \'{"queue": ["S1", "S\'',
        "cut off",
    ),
    "cut after a comma": (
        b'{"a": 1,\n\n',
        "1:9: the file ends here; expected a key in double quotes: '{\"a\": 1,'",
        "cut off",
    ),
    "no comma": (
        b'["a"\r\n "b"]',
        '2:2: /0: expected "," or "]" after the value: \'"b"]\'',
        "comma",
    ),
    "no colon": (b'{"a" 1}', '1:6: /a: expected ":" after the key: \'{"a" 1}\'', '":"'),
    "no value": (b'{"a":}', "1:6: /a: expected a value: '{\"a\":}'", VALUE),
    "wrong bracket": (b'{"a": [1}', '1:9: /a/0: expected "," or "]" after the value: \'{"a": [1}\'', 'with "]"'),
    "bare key": (b"{a: 1}", "1:2: expected a key in double quotes: '{a: 1}'", "double quotes"),
    "bare word": (b"[yes]", "1:2: /0: a word without quotes; expected a value: '[yes]'", "double quotes"),
    "bare word alone": (b"yes\n", "1:1: a word without quotes; expected a value: 'yes'", "double quotes"),
    "leading zero": (
        b"[007]",
        "1:2: /0: not a JSON number; expected digits as in 12, 0.5 or -1e3: '[007]'",
        "number",
    ),
    "line break in a string": (
        b'["a\r\nb"]',
        "1:4: /0: a line break inside a string; expected \" before it: '[\"a'",
        "line break",
    ),
    "tab in a string": (
        b'["a\tb"]',
        r"""1:4: /0: a control character inside a string; expected text: '["a\tb"]'""",
        "escape",
    ),
    "backslash": (
        rb'["C:\work"]',
        r"""1:5: /0: an unknown escape; expected one of \" \\ \/ \b \f \n \r \t \uXXXX: '["C:\work"]'""",
        "backslash",
    ),
    "bad unicode escape": (
        rb'["a\u12G4"]',
        r"""1:4: /0: an unknown escape; expected one of \" \\ \/ \b \f \n \r \t \uXXXX: '["a\u12G4"]'""",
        "escape",
    ),
    "BOM, CRLF and an escape sequence": (
        b'\xef\xbb\xbf{"a/b~\\u001b":\r\n  x\x1b[2J}',
        r"2:3: /a~1b~0\x1b: a word without quotes; expected a value: 'x\x1b[2J}'",
        "double quotes",
    ),
}


@pytest.mark.parametrize("name", HAZARDS)
def test_each_hazard_is_refused_with_its_spot_and_a_hint(name: str, tmp_path: Path) -> None:
    """A bad file is named by line, column, pointer, expectation and hint, and stays as it is: SPEC 4.7."""
    data, message, hint = HAZARDS[name]
    path = tmp_path / "current_work.json"
    path.write_bytes(data)

    with pytest.raises(BadFileError) as caught:
        parse(path.read_bytes(), path)

    assert (caught.value.message, caught.value.exit_code) == (f"{path}:{message}", EXIT_CONFIG)
    assert hint in caught.value.hint
    assert path.read_bytes() == data


def test_bom_crlf_pairs_and_every_limit_itself_are_accepted() -> None:
    """A BOM, CRLF, surrogate pairs, escaped backslashes, 20 digits and 64 levels are fine: SPEC 4.7."""
    text = r'{"a": ["\ud83d\ude80\\ud800", -12345678901234567890],' + "\r\n" + '"d": ' + "[" * 63 + "]" * 63 + "}\r\n"

    read, value = parse(b"\xef\xbb\xbf" + text.encode(), ANY)

    deep: list[object] = []
    for _ in range(62):
        deep = [deep]
    assert read == text
    assert value == {"a": ["🚀\\ud800", -12345678901234567890], "d": deep}


def test_the_published_starter_file_is_read_as_it_stands() -> None:
    """The good path gives the plain value: SPEC 4.1."""
    data = b'{"_comment": "Copy this", "active": true, "queue": ["S1","S2"], "inProgress": null, "log": [], "x": 1.5}'

    assert parse(data, ANY)[1] == {
        "_comment": "Copy this",
        "active": True,
        "queue": ["S1", "S2"],
        "inProgress": None,
        "log": [],
        "x": 1.5,
    }


LETTERS = st.characters(exclude_categories=["Cs"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(1 - 10**20, 10**20 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(LETTERS)
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(LETTERS), inner), max_leaves=30)
HAZARDOUS = [
    "1e999",
    "9" * 21,
    "NaN",
    "-Infinity",
    "None",
    "\\u",
    "d800",
    "\\ude80",
    "\0",
    "\t",
    "\ufeff",
    "```",
    "<<<<<<< ",
]
TOKENS = st.sampled_from(
    [*"{}[]:,\"\\/#'“` \n-0a1é", ".5", "e9", "true", '"a"', '"b"', '"a": ', "\\n", "\r\n", *HAZARDOUS]
)
CUT = '{"é": [1, -2.5e-3, true, null, "\\ud83d\\ude80\\n🚀", {"": [{}, []]}], "b": false}'.encode()


def refusal(data: bytes) -> BadFileError | None:
    """The error for `data`; or None, and then it has shown that its value can be written and read again."""
    try:
        text, value = parse(data, ANY)
    except BadFileError as error:
        return error
    assert repr(json.loads(text)) == repr(value)
    assert repr(parse(layout(value), ANY)[1]) == repr(value)
    return None


def reads_or_refuses(data: bytes) -> None:
    error = refusal(data)
    if error is not None:
        assert re.match(rf"{ANY}:\d+:\d+: \S", error.message)
        assert (error.message.isprintable(), error.hint.isprintable(), bool(error.hint)) == (True, True, True)


@given(st.binary())
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Bytes of any kind give a value or a BadFileError, never another exception: SPEC 4.7."""
    reads_or_refuses(data)


@given(st.lists(TOKENS, max_size=30).map("".join), st.booleans())
@settings(max_examples=1000, deadline=None)
def test_any_text_of_json_like_pieces_is_read_or_refused(text: str, in_a_list: bool) -> None:
    """Decoder and spot finder agree on what is wrong, and what is read can be written and read again: SPEC 4.7."""
    reads_or_refuses((f"[{text}]" if in_a_list else text).encode())


@given(VALUES, st.data())
@settings(max_examples=300, deadline=None)
def test_any_spoilt_document_is_read_or_refused(value: object, data: st.DataObject) -> None:
    """A slip of the editor anywhere in a document is refused or harmless: SPEC 4.7."""
    good = layout(value)
    at = data.draw(st.integers(0, len(good)))
    cut = data.draw(st.integers(0, 2))
    reads_or_refuses(good[:at] + data.draw(TOKENS).encode() + good[at + cut :])


@pytest.mark.parametrize("length", range(1, len(CUT)))
def test_a_document_cut_anywhere_is_called_cut_off(length: int) -> None:
    """Truncation is named as such whatever it cut through: SPEC 4.7."""
    with pytest.raises(BadFileError, match="the file ends") as caught:
        parse(CUT[:length], ANY)

    assert caught.value.hint == "the file is cut off: put back its end, or: `awm restore` puts the last good copy back"


@given(VALUES)
@settings(max_examples=300, deadline=None)
def test_what_is_laid_out_reads_back_the_same(value: object) -> None:
    """parse(layout(v)) is v, in value, type and order: SPEC 4.2, every unknown key is kept."""
    assert repr(parse(layout(value), ANY)[1]) == repr(value)


@given(st.lists(st.lists(st.dictionaries(st.text(max_size=4), VALUES, max_size=3)), max_size=4), VALUES, st.data())
@settings(max_examples=300, deadline=None)
def test_what_stood_before_is_laid_out_as_if_it_had_not(
    lists: list[list[dict[str, object]]], other: object, data: st.DataObject
) -> None:
    """SPEC 4.2: entries that come, go and change their places give the text that a fresh layout gives."""
    entries = [entry for one in lists for entry in one]
    texts: Texts = {}
    for _ in range(3):
        some = st.lists(st.sampled_from(entries), max_size=6) if entries else st.just([])
        document = {"other": other, "log": data.draw(some), "outbox": [*data.draw(some), *data.draw(st.lists(VALUES))]}
        assert layout(document, texts) == layout(document)


def test_an_entry_that_stands_is_not_laid_out_again() -> None:
    """A night of a thousand notices that nobody told costs its last save no more than its first."""
    told, texts = {"text": "x" * 200}, {}
    layout({"outbox": [told]}, texts)
    once = texts[id(told)]

    layout({"outbox": [told, {"text": "new"}]}, texts)
    assert texts[id(told)] is once

    layout({"outbox": []}, texts)
    assert not texts


@given(VALUES)
@settings(max_examples=300, deadline=None)
def test_every_value_is_located_where_it_begins(value: object) -> None:
    """The spot of each pointer is where that very value can be read from: SPEC 4.7."""
    text = layout(value).decode()

    for pointer, wanted in everything_in(value, ()):
        line, column = locate(text, pointer)
        offset = sum(len(before) + 1 for before in text.split("\n")[: line - 1]) + column - 1
        assert repr(json.JSONDecoder().raw_decode(text, offset)[0]) == repr(wanted)


def everything_in(value: object, pointer: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], object]]:
    yield pointer, value
    members: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        members = list(value.items())
    elif isinstance(value, list):
        members = list(enumerate(value))
    for key, item in members:
        yield from everything_in(item, (*pointer, key))


def test_a_wrong_value_is_named_by_spot_and_pointer() -> None:
    """A complaint has the same form as a hazard; a missing member is placed at its nearest parent: SPEC 4.7."""
    text = '{"queue": ["S1",\r\n 3],\r\n "a/b~c": {"x": 1}}'

    wrong = complaint(ANY, text, ("queue", 1), "3 is no id; expected text", "quote it")
    missing = complaint(ANY, text, ("a/b~c", "y", 0), "expected a list")
    whole = complaint(ANY, text, (), "expected a list")

    assert (wrong.message, wrong.hint) == (f"{ANY}:2:2: /queue/1: 3 is no id; expected text: '3],'", "quote it")
    assert missing.message == f'{ANY}:3:11: /a~1b~0c/y/0: expected a list: \'"a/b~c": {{"x": 1}}}}\''
    assert whole.message == f'{ANY}:1:1: expected a list: \'{{"queue": ["S1",\''
    assert (locate(text, ("queue", 0)), locate(text, ("a/b~c",))) == ((1, 12), (3, 11))


def test_a_message_stays_short_however_long_a_key_is() -> None:
    """An operator's message fits on a screen: SPEC 4.7."""
    with pytest.raises(BadFileError) as caught:
        parse(b'{"' + b"k" * 100_000 + b'": nope}', ANY)

    wrong = "a word without quotes; expected a value"
    assert caught.value.message == f"{ANY}:1:100006: /{'k' * 199}: {wrong}: '{'k' * 17}\": nope}}'"


def test_the_file_is_laid_out_for_people() -> None:
    """Two spaces, one member a line, short lists and objects on one line, text as it is, a final newline."""
    value = {
        "active": True,
        "queue": ["S1", "S2 🚀"],
        "none": {},
        "specFiles": {f"S{n}": f"/a/long/enough/path/SPRINT_S{n}_SPEC.md" for n in (1, 2, 3)},
        "log": [{"seq": 1, "note": 'a "b"\n'}, []],
        "fits": ["x" * 41, "y" * 41],
        "over": ["x" * 41, "y" * 42],
        "z" * 100: [],
    }

    assert (
        layout(value).decode()
        == f'''{{
  "active": true,
  "queue": ["S1", "S2 🚀"],
  "none": {{}},
  "specFiles": {{
    "S1": "/a/long/enough/path/SPRINT_S1_SPEC.md",
    "S2": "/a/long/enough/path/SPRINT_S2_SPEC.md",
    "S3": "/a/long/enough/path/SPRINT_S3_SPEC.md"
  }},
  "log": [{{"seq": 1, "note": "a \\"b\\"\\n"}}, []],
  "fits": ["{"x" * 41}", "{"y" * 41}"],
  "over": [
    "{"x" * 41}",
    "{"y" * 42}"
  ],
  "{"z" * 100}": []
}}
'''
    )


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": "\ud800"}, {1: "a"}, {"a": {1, 2}}])
def test_what_could_not_be_read_back_is_not_laid_out(value: object) -> None:
    """Writing NaN, a lone surrogate or what is no JSON is our bug and stops before the disk: docs/MEASURED.md 3."""
    with pytest.raises((ValueError, TypeError)):
        layout(value)
