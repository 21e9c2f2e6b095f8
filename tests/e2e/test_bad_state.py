"""A state file that does not validate: kept, quarantined, told once, and never read as "no work" (SPEC 4.7)."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import pytest
from home import QUICK, Done, Home, only

GOOD = b"""{
  "active": true,
  "queue": ["S1"],
  "completed": []
}
"""
RESTORE = "the file is cut off: put back its end, or: `awm restore` puts the last good copy back"

NOTHING_STARTS = "🛑 The state file does not validate; nothing is started until it is mended."
AN_ID = "expected a task id: a letter or digit, then letters, digits, `.`, `_`, `-`, 64 at most"
TWICE = "task S1 is also in /queue/0 (line 3, column 13); expected it in one list only"
FIELDS = "expected the fields of state/README.md"


def swap(old: bytes, new: bytes) -> bytes:
    assert old in GOOD
    return GOOD.replace(old, new)


BAD = {  # for each its bytes, what is said of them and where, and the hint
    "empty": (
        b"",
        "1:1: the file is empty; expected a JSON document",
        "empty file: `awm restore` puts the last good copy back",
    ),
    "truncated": (GOOD[:30], "3:11: /queue: the file ends here; expected a value: '\"queue\":'", RESTORE),
    "duplicate key": (
        swap(b'"completed": []', b'"queue": []'),
        "4:3: /queue: duplicate key, on line 3 and line 4; expected it once: '\"queue\": []'",
        "duplicate key: keep one of the two, a reader would silently drop the first",
    ),
    "NaN": (
        swap(b'"completed": []', b'"maxRetries": NaN'),
        "4:17: /maxRetries: NaN is not JSON; expected a number or null: '\"maxRetries\": NaN'",
        "NaN: write a number or null instead",
    ),
    "1e999": (
        swap(b'"completed": []', b'"maxRetries": 1e999'),
        "4:17: /maxRetries: a number that reads as infinity; expected a finite one: '\"maxRetries\": 1e999'",
        "too large: write a smaller number",
    ),
    "lone surrogate": (
        swap(b'"completed": []', b'"task": "\\ud800"'),
        '4:12: /task: half of a surrogate pair; expected a whole character: \'"task": "\\ud800"\'',
        "lone surrogate: write the character itself",
    ),
    "UTF-16": (GOOD.decode().encode("utf-16"), "1:1: the file is UTF-16; expected UTF-8", "save as UTF-8"),
    "Latin-1": (
        swap(b'"completed": []', '"task": "Büro"'.encode("latin-1")),
        '4:13: the byte 0xfc is not UTF-8; expected UTF-8 text: \'"task": "B\'',
        "save as UTF-8",
    ),
    "trailing comma": (
        swap(b'"completed": []', b'"completed": [],'),
        "4:18: a trailing comma; expected one more value after it: '\"completed\": [],'",
        "remove the trailing comma",
    ),
    "smart quotes": (
        swap(b'"completed"', "“completed”".encode()),
        "4:3: a smart quote; expected a key in double quotes: '“completed”: []'",
        'smart quotes: replace them by plain double quotes "',
    ),
    "single quotes": (
        swap(b'"completed"', b"'completed'"),
        "4:3: a single quote; expected a key in double quotes: ''completed': []'",
        'single quotes: JSON wants double quotes "',
    ),
    "Markdown fence": (
        b"```json\n" + GOOD + b"```\n",
        "1:1: a Markdown fence; expected JSON alone: '```json'",
        "Markdown fence: keep only what is between the ``` lines",
    ),
    "merge markers": (
        swap(b'  "completed": []', b'<<<<<<< HEAD\n  "completed": []\n=======\n  "completed": ["S0"]\n>>>>>>> other'),
        "4:1: a merge marker; expected a key in double quotes: '<<<<<<< HEAD'",
        "merge conflict: keep one side and remove the <<<<<<<, ======= and >>>>>>> lines",
    ),
    "comment": (
        swap(b'  "completed": []', b'  // done\n  "completed": []'),
        "4:3: a comment; expected a key in double quotes: '// done'",
        'remove the comment: JSON has none (a "_comment" member is kept)',
    ),
    "Python literal": (
        swap(b"true", b"True"),
        "2:13: /active: a Python literal; expected a value: '\"active\": True,'",
        "Python literal: write true, false or null",
    ),
    "two documents": (
        GOOD + GOOD,
        "6:1: more text after the document; expected the end of the file: '{'",
        "two documents: keep one, and remove what follows it",
    ),
    "NUL tail": (
        GOOD + b"\0" * 10,
        "6:1: a NUL byte; expected the end of the file: '\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00'",
        "NUL bytes: this part of the file was lost; `awm restore` puts the last good copy back",
    ),
    "list": (b'["S1"]\n', "1:1: expected an object with a `queue`: '[\"S1\"]'", "see state/README.md"),
    "wrong type": (
        swap(b"[]", b'"none"'),
        '4:16: /completed: should be a valid array: \'"completed": "none"\'',
        "numbers, true, false and null stand without quotes; times look like 2026-01-01T00:00:00Z",
    ),
    "null list": (
        swap(b"[]", b"null"),
        "4:16: /completed: should be a valid array: '\"completed\": null'",
        "an empty list is [], not null",
    ),
    "number as text": (
        swap(b'"completed": []', b'"maxRetries": "3"'),
        '4:17: /maxRetries: should be a valid integer: \'"maxRetries": "3"\'',
        "numbers, true, false and null stand without quotes; times look like 2026-01-01T00:00:00Z",
    ),
    "no queue": (
        b'{"running": "S1", "next": "S2", "focus": ""}\n',
        f'1:1: no `queue`: {FIELDS}, found: running, next, focus: \'{{"running": "S1", "next": "S2"\'',
        "see state/current_work.example.json",
    ),
    "invalid id": (
        swap(b'"S1"', b'"../S1"'),
        f'3:13: /queue/0: {AN_ID}: \'"queue": ["../S1"],\'',
        "rename the task, here and in specFiles",
    ),
    "id that is an option": (
        swap(b'"S1"', b'"-rf"'),
        f'3:13: /queue/0: {AN_ID}: \'"queue": ["-rf"],\'',
        "rename the task, here and in specFiles",
    ),
    "two lists": (
        swap(b"[]", b'["S1"]'),
        f'4:17: /completed/0: {TWICE}: \'"completed": ["S1"]\'',
        "remove S1 from one of the two",
    ),
    "twice in one list": (
        swap(b'"S1"', b'"S1", "S1"'),
        f'3:19: /queue/1: {TWICE}: \'"queue": ["S1", "S1"],\'',
        "remove S1 from one of the two",
    ),
    "from the future": (
        swap(b'"completed": []', b'"version": 99'),
        "4:14: /version: expected version 1 or older: a newer AWM wrote this: '\"version\": 99'",
        "upgrade AWM: git pull",
    ),
}


def notified(home: Home) -> Path:
    """Let every notice go to a command that keeps it; returns the file."""
    sink = home.root / "notices"
    home.config(QUICK + f'[notify]\ncommand = ["sh", "-c", "cat >> {sink}"]\n')
    return sink


def kept(home: Home) -> dict[bytes, int]:
    """What lies in quarantine, and how often."""
    copies = [path.read_bytes() for path in (home.path / "state" / "quarantine").glob("*.json")]
    return {data: copies.count(data) for data in copies}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named_to_the_column_and_left_as_it_is(name: str, home: Home) -> None:
    """Exit 78, file:line:column, pointer, what was expected, and a hint; nothing is started (SPEC 4.7)."""
    data, what, hint = BAD[name]
    home.spec("S1")
    home.put_bytes(data)

    done = home.heartbeat()

    assert done == Done(78, "", f"awm: {home.state_path}:{what}\nhint: {hint}\n")
    assert (home.state_path.read_bytes(), home.truth(), home.attempts(), kept(home)) == (data, [], [], {data: 1})


def test_a_byte_order_mark_and_crlf_are_accepted(home: Home) -> None:
    """Editors of other systems write them (SPEC 4.7)."""
    home.spec("S1")
    home.queue("S1")
    text = home.state_path.read_text().replace("\n", "\r\n")
    home.put_bytes(codecs.BOM_UTF8 + text.encode())

    assert home.finish()["completed"] == ["S1"]


def test_a_running_agent_goes_on_while_the_file_is_bad(home: Home) -> None:
    """Its result waits; one notice and one copy for each distinct content, however many beats (SPEC 4.7)."""
    sink = notified(home)
    go = home.root / "go"
    home.spec("S1", home.work(f"until [ -e {go} ]; do sleep 0.02; done"))
    home.spec("S2")
    home.queue("S1", "S2")
    home.beat()
    home.wait_for(lambda: home.begun() == ["S1"])
    good = home.state_path.read_bytes()
    agents = home.agents()

    bad = [good[:-20], good + b"}", good[:-20], good.replace(b'"queue"', b'"que"')]
    codes = []
    for data in bad:
        home.put_bytes(data)
        codes += [home.heartbeat().code, home.heartbeat().code]
        assert home.state_path.read_bytes() == data
    assert (codes, home.agents(), home.begun()) == ([78] * 8, agents, ["S1"])
    assert kept(home) == dict.fromkeys(bad, 1)
    home.wait_for(lambda: sink.read_text().count("bad_state") == 3)

    go.touch()
    home.wait_for(lambda: home.results() and not home.supervisors())
    assert home.state_path.read_bytes() == bad[-1]
    home.put_bytes(good)
    assert home.finish()["completed"] == ["S1", "S2"]
    assert home.begun() == ["S1", "S2"]
    notices = [json.loads(line) for line in sink.read_text().splitlines()]
    assert [notice["kind"] for notice in notices].count("bad_state") == 3


def test_the_notice_of_a_bad_file_says_what_the_beat_says(home: Home) -> None:
    """The same message and hint, also with `notifyUser` unreadable (SPEC 4.7, 12.2)."""
    sink = notified(home)
    home.put_bytes(GOOD[:30])

    done = home.heartbeat()

    message, hint = done.err.splitlines()
    notice = json.loads(only(sink.read_text().splitlines()))
    assert {key: notice[key] for key in ("kind", "task", "project", "text")} == {
        "kind": "bad_state",
        "task": "",
        "project": "default",
        "text": f"{NOTHING_STARTS}\n{message.removeprefix('awm: ')}\n{hint}",
    }


def test_a_missing_file_where_history_exists_is_a_bad_file(home: Home) -> None:
    """Never "no work": a queue that vanished is told (SPEC 4.7)."""
    home.spec("S1")
    home.queue("S1")
    home.finish()
    home.state_path.unlink()

    done = home.heartbeat()

    assert done == Done(
        78,
        "",
        f"awm: {home.state_path}: is gone, and this home had one\nhint: `awm restore` puts the last good copy back\n",
    )
    assert not home.state_path.exists()


def test_a_missing_file_is_told_once_too(home: Home) -> None:
    """One notice, for it is a bad file like any other (SPEC 4.7)."""
    sink = notified(home)
    home.spec("S1")
    home.queue("S1")
    home.finish()
    before = len(sink.read_text().splitlines())
    home.state_path.unlink()

    assert [home.heartbeat().code for _ in range(3)] == [78, 78, 78]

    assert [json.loads(line)["kind"] for line in sink.read_text().splitlines()[before:]] == ["bad_state"]


def test_a_corrupt_metrics_file_is_set_aside_and_the_loop_goes_on(home: Home) -> None:
    """Without history, and with a word about it (SPEC 4.7)."""
    home.spec("S1")
    home.queue("S1")
    metrics = home.path / "state" / "work_metrics.json"
    metrics.write_text("{nonsense")

    assert home.finish()["completed"] == ["S1"]

    assert [entry["sprint"] for entry in json.loads(metrics.read_text())["sprints"]] == ["S1"]
    aside = [path for path in (home.path / "state").rglob("*") if path.is_file() and path.read_bytes() == b"{nonsense"]
    assert len(aside) == 1


def test_a_bad_configuration_names_file_line_and_the_nearest_key(home: Home) -> None:
    """Exit 78 and nothing is started (SPEC 6.3, 16)."""
    home.spec("S1")
    home.queue("S1")
    home.config("[loop]\nstall_minuets = 3\n")
    home.heartbeat()  # the first beat of a home makes its locks
    before = home.tree()

    done = home.heartbeat()

    message = f"awm: {home.path / 'awm.toml'}:2: loop.stall_minuets: unknown key\nhint: did you mean `stall_minutes`?\n"
    assert (done, home.tree()) == (Done(78, "", message), before)
