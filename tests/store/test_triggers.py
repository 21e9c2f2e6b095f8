"""`state/triggers.json`: read strictly, changed under its lock, what AWM does not know is kept (SPEC 4.7, 13.2)."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awm_loop.core.project import Priority
from awm_loop.errors import AwmError, BadFileError
from awm_loop.store import triggers
from awm_loop.trigger import Trigger

NOW = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
NIGHTLY: dict[str, Any] = {"id": "nightly", "type": "time", "trigger": "0 2 * * *", "spec": "review.md"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "triggers.json"


def put(path: Path, *entries: object) -> Path:
    return aged(path, json.dumps({"triggers": entries}, indent=1).encode())


def aged(path: Path, data: bytes) -> Path:
    """An old file: a young one that is bad is read again for a while, as it may be half written."""
    path.write_bytes(data)
    os.utime(path, (1, 1))
    return path


def test_no_file_is_no_trigger(path: Path) -> None:
    """A home without one."""
    assert triggers.read(path) == ()
    assert not path.exists()


def test_an_entry_needs_little_and_may_say_all(path: Path) -> None:
    """What is left out has its default, for every type (SPEC 13.2)."""
    full = {
        "id": "docs",
        "type": "file",
        "projectId": "site",
        "priority": "high",
        "trigger": ["src/**/*.ts", "docs/*.md"],
        "enabled": False,
        "template": "docs-on-change",
        "values": {"tone": "dry"},
        "timezone": "Europe/Berlin",
        "misfireGrace": 5,
        "overlap": "queue",
        "debounceSeconds": 1.5,
        "createdAt": "2026-11-01T00:00:00Z",
        "enabledAt": "2026-11-02T01:00:00+01:00",
        "note": ["mine"],
    }

    assert triggers.read(put(path, NIGHTLY, full, {"id": "ci", "type": "webhook", "template": "broken-build"})) == (
        Trigger(id="nightly", type="time", cron="0 2 * * *", spec="review.md"),
        Trigger(
            id="docs",
            type="file",
            project_id="site",
            priority=Priority.HIGH,
            enabled=False,
            globs=("src/**/*.ts", "docs/*.md"),
            timezone="Europe/Berlin",
            misfire_grace=5.0,
            debounce_seconds=1.5,
            overlap="queue",
            template="docs-on-change",
            values={"tone": "dry"},
            since=datetime(2026, 11, 2, tzinfo=UTC),
        ),
        Trigger(id="ci", type="webhook", template="broken-build"),
    )


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"trigger": "0 2 * *"}, "/triggers/0/trigger: trigger nightly: 4 fields, but a cron line has five"),
        ({"trigger": ["0 2 * * *"]}, "/triggers/0/trigger: trigger nightly: 0 fields"),
        ({"trigger": "0 0 2 * * *"}, "/triggers/0/trigger: trigger nightly: 6 fields"),
        ({"timezone": "../etc/passwd"}, "/triggers/0/timezone: trigger nightly: this is no name of a zone"),
        ({"type": "cron"}, "/triggers/0/type: should be 'time', 'file', 'webhook' or 'manual'"),
        ({"type": "file", "trigger": "/etc/*"}, "/triggers/0/trigger: trigger nightly: '/etc/*': it is to be relative"),
        ({"type": "file", "trigger": []}, "/triggers/0/trigger: trigger nightly: it names no files"),
        ({"type": "manual"}, "/triggers/0/trigger: trigger nightly: nothing belongs here for the type manual"),
        ({"spec": ""}, "/triggers/0/spec: trigger nightly: it queues a `spec` or a `template`, one of the two"),
        ({"template": "x"}, "/triggers/0/spec: trigger nightly: it queues a `spec` or a `template`, one of the two"),
        ({"id": "a b"}, "/triggers/0/id: string should match pattern"),
        ({"id": "n" * 41}, "longer than 40 characters"),
        ({"misfireGrace": 0}, "/triggers/0/misfireGrace: should be greater than 0"),
        ({"misfireGrace": 1e300}, "/triggers/0/misfireGrace: should be less than or equal to"),
        ({"debounceSeconds": -1}, "/triggers/0/debounceSeconds: should be greater than or equal to 0"),
        ({"priority": "urgent"}, "/triggers/0/priority: should be 'critical', 'high', 'medium' or 'low'"),
        ({"overlap": "kill"}, "/triggers/0/overlap: should be 'skip' or 'queue'"),
        ({"enabled": "yes"}, "/triggers/0/enabled: should be a valid boolean"),
        ({"values": {"a": 1}}, "/triggers/0/values/a: should be a valid string"),
        ({"createdAt": "yesterday"}, "/triggers/0/createdAt"),
        ({"spec": "a\0b"}, "/triggers/0/spec"),
    ],
)
def test_a_wrong_entry_is_told_where_it_stands(path: Path, entry: dict[str, object], said: str) -> None:
    """Line, column, pointer, what was expected and how to mend it; the file stays as it is (SPEC 4.7)."""
    put(path, {**NIGHTLY, **entry})
    before = path.read_bytes()
    with pytest.raises(BadFileError) as caught:
        triggers.read(path)
    with pytest.raises(BadFileError):
        triggers.add(path, {**NIGHTLY, "id": "other"}, NOW)

    assert said in caught.value.message
    assert caught.value.hint
    assert path.read_bytes() == before


def test_an_id_stands_there_once(path: Path) -> None:
    """The second of two entries with one id is the wrong one."""
    with pytest.raises(BadFileError, match="/triggers/1/id: nightly is also in /triggers/0"):
        triggers.read(put(path, NIGHTLY, NIGHTLY))


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b'{"triggers": 3}', b'{"trigger": []}', b'{"version": 2, "triggers": 1}']
)
def test_a_file_that_is_no_list_of_triggers_is_bad(path: Path, data: bytes) -> None:
    """As a whole: it is never read as none (SPEC 4.7)."""
    with pytest.raises(BadFileError):
        triggers.read(aged(path, data))


def test_what_is_added_changed_and_removed_leaves_the_rest_as_it_is(path: Path) -> None:
    """Unknown keys of the file and of each entry are kept, in place (SPEC 4.6)."""
    mine = {"id": "mine", "note": {"deep": [1]}, "type": "manual", "spec": "m.md"}
    path.write_text(json.dumps({"_comment": "by hand", "triggers": [mine, NIGHTLY]}))
    triggers.add(path, {"id": "ci", "type": "webhook", "template": "broken-build"}, NOW)
    triggers.change(path, "mine", {"enabled": False})
    triggers.remove(path, "nightly")

    assert json.loads(path.read_text()) == {
        "version": 1,
        "_comment": "by hand",
        "triggers": [
            {**mine, "enabled": False},
            {"id": "ci", "type": "webhook", "template": "broken-build", "createdAt": "2026-11-21T02:00:00Z"},
        ],
    }
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_done_is_told_and_nothing_is_written(path: Path) -> None:
    """An id that is taken, or that nobody has; a value that could not be read back."""
    put(path, NIGHTLY)
    before = path.read_bytes()
    with pytest.raises(AwmError, match="there is a trigger nightly already"):
        triggers.add(path, NIGHTLY, NOW)
    with pytest.raises(AwmError, match="there is no trigger nightl") as caught:
        triggers.remove(path, "nightl")
    with pytest.raises(AwmError, match="hour '25' is not within 0 to 23"):
        triggers.add(path, {**NIGHTLY, "id": "other", "trigger": "0 25 * * *"}, NOW)

    assert caught.value.hint == "did you mean nightly?"
    assert path.read_bytes() == before


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["id", "type", "trigger", "spec", "template", "values", "timezone", "misfireGrace", "createdAt"])


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS, JSON | st.sampled_from(["time", "file", "0 2 * * *", "a"]), max_size=9))
def test_any_entry_is_a_trigger_or_told(tmp_path_factory: pytest.TempPathFactory, entry: dict[str, object]) -> None:
    """Whatever JSON stands there: triggers, or one clear error."""
    path = put(tmp_path_factory.getbasetemp() / "any-triggers.json", entry)
    try:
        found = [one.id for one in triggers.read(path)]
    except BadFileError as error:
        found = [error.message[: len(f"{path}:")]]

    assert found in ([entry.get("id")], [f"{path}:"])
