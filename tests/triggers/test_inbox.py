"""`state/inbox/`: requests come in whole and once, and what is poison is put aside (SPEC 3.2, 5.1, 13.2, 13.4)."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awm_loop.config import INBOX_BYTES_MAX, INBOX_REQUESTS_MAX
from awm_loop.core.observation import Call
from awm_loop.core.project import Priority
from awm_loop.errors import ConfigError, DiskError
from awm_loop.trigger import Trigger
from awm_loop.triggers import inbox
from awm_loop.triggers.inbox import Add, Bad, Fire


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    for directory in (path / "state", path / "templates", tmp_path / "web"):
        directory.mkdir(parents=True)
    (path / "templates" / "broken.md").write_text("# Mend $branch\n\n$branch is red.\n")
    return path


def drop(home: Path, name: str, data: bytes | object) -> Path:
    """Another process's file: written elsewhere, then renamed."""
    path = home / "state" / "inbox" / name
    path.parent.mkdir(exist_ok=True)
    temporary = home / "dropped"
    temporary.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    return temporary.rename(path)


def calls(home: Path, *triggers: Trigger) -> list[Call]:
    """What the inbox asks for, in a world with two projects."""
    paths = {"default": home / "project", "web": home.parent / "web"}
    return inbox.calls(inbox.read(home), {one.id: one for one in triggers}, paths.get, home, home / "state" / "specs")


def ci(**changed: object) -> Trigger:
    trigger = Trigger(id="ci", type="webhook", project_id="web", priority=Priority.HIGH, template="broken")
    return replace(trigger, **changed)


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def problems(home: Path, *triggers: Trigger) -> list[str]:
    found = calls(home, *triggers)
    assert [(call.project, call.spec_path) for call in found] == [("default", "")] * len(found)
    return [call.problem for call in found]


def left(home: Path) -> dict[str, str]:
    """What lies in the inbox and below, with the text of each file."""
    directory = home / "state" / "inbox"
    return {
        str(path.relative_to(directory)): path.read_text() if path.is_file() and not path.is_symlink() else ""
        for path in sorted(directory.rglob("*"))
        if path != directory / "rejected"
    }


def test_a_home_without_an_inbox_asks_for_nothing(home: Path) -> None:
    """An idle beat makes nothing and needs nothing."""
    assert (inbox.read(home), (home / "state" / "inbox").exists()) == ([], False)


def test_a_request_is_written_whole_and_ours_alone(home: Path) -> None:
    """0600 in a directory of 0700 (SPEC 3.3), no temporary file is left, and it is read as it was meant."""
    path = inbox.write_request(home, {"trigger": "ci", "values": {"branch": "main"}}, "hook-1")

    assert inbox.read(home) == [inbox.Request(path, Fire(trigger="ci", values={"branch": "main"}))]
    assert [entry.name for entry in path.parent.iterdir()] == ["hook-1"]
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_the_same_name_is_the_same_request(home: Path) -> None:
    """A delivery that comes twice is one file, the first one (SPEC 13.4)."""
    first = inbox.write_request(home, {"trigger": "ci", "values": {"n": "1"}}, "hook-1")
    second = inbox.write_request(home, {"trigger": "ci", "values": {"n": "2"}}, "hook-1")

    assert (first == second, left(home)) == (True, {"hook-1": '{"trigger":"ci","values":{"n":"1"}}'})


def test_a_hundred_at_once_under_one_name_are_one_file(home: Path) -> None:
    """Whoever is first; nothing is torn and no temporary file is left."""
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: inbox.write_request(home, {"trigger": f"t{n}"}, "one"), range(100)))

    assert [type(request.said) for request in inbox.read(home)] == [Fire]
    assert list(left(home)) == ["one"]


def test_requests_without_a_name_are_each_their_own(home: Path) -> None:
    """`awm triggers fire` twice is two requests."""
    paths = {inbox.write_request(home, {"trigger": "ci"}) for _ in range(5)}

    assert len(paths) == len(inbox.read(home)) == 5


@pytest.mark.parametrize(
    "request_",
    [{}, {"trigger": 1}, {"trigger": "ci", "values": {"a": 1}}, {"spec": "a", "trigger": "b"}, {"trigger": "\ud800"}],
)
def test_what_would_be_put_aside_is_not_written(home: Path, request_: dict[str, object]) -> None:
    """The writer hears of it at once, not the next beat."""
    with pytest.raises(ConfigError):
        inbox.write_request(home, request_)
    assert inbox.read(home) == []


@pytest.mark.parametrize("name", ["../x", ".hidden", "a/b", "a\n", "a" * 201])
def test_a_name_is_never_a_path(home: Path, name: str) -> None:
    """Nor one that the reader passes over."""
    with pytest.raises(ValueError):
        inbox.write_request(home, {"trigger": "ci"}, name)


def test_requests_come_in_the_order_of_arrival(home: Path) -> None:
    """By when each got its name, not by the name, and a bounded number a beat."""
    names = [f"{n:04}" for n in range(INBOX_REQUESTS_MAX + 1, 0, -1)]
    for name in names:
        drop(home, name, b"{}")
    stamps = {name: (home / "state" / "inbox" / name).stat().st_ctime_ns for name in names}
    expected = sorted(names, key=lambda name: (stamps[name], name))[:INBOX_REQUESTS_MAX]

    assert [request.path.name for request in inbox.read(home)] == expected


def test_a_file_that_is_being_written_is_let_alone(home: Path) -> None:
    """A name that begins with a dot is no request yet."""
    drop(home, ".half.tmp", b"{")

    assert (inbox.read(home), list(left(home))) == ([], [".half.tmp"])


def test_a_fired_trigger_queues_its_template(home: Path) -> None:
    """Rendered with the trigger's values and the request's, which win; the task's id comes from the file's name."""
    inbox.write_request(home, {"trigger": "ci", "values": {"branch": "main"}}, "hook-1")
    found = calls(home, ci(values={"branch": "none", "x": "y"}))
    task = f"ci-{digest('hook-1')}"
    path = home / "state" / "specs" / f"{task}.md"

    assert found == [
        Call(trigger="ci", key="inbox/hook-1", task=task, project="web", priority=Priority.HIGH, spec_path=str(path))
    ]
    assert path.read_text() == "# Mend main\n\n`main` is red.\n"
    assert calls(home, ci()) == found


def test_a_fired_trigger_queues_its_spec(home: Path) -> None:
    """A trigger with a spec of its own, which may run beside its last task."""
    spec = home.parent / "web" / "spec.md"
    spec.write_text("# Spec\n")
    drop(home, "a", {"trigger": "ci"})

    assert calls(home, ci(template="", spec=str(spec), overlap="queue", type="manual")) == [
        Call(
            trigger="ci",
            key="inbox/a",
            task=f"ci-{digest('a')}",
            project="web",
            priority=Priority.HIGH,
            spec_path=str(spec),
            may_overlap=True,
        )
    ]


@pytest.mark.parametrize("kind", ["time", "file"])
def test_firing_by_hand_takes_no_slot_of_a_clock(home: Path, kind: str) -> None:
    """The call is of no trigger, so what that one remembers of its last slot stays, and it does not fire twice."""
    drop(home, "a", {"trigger": "ci", "values": {"branch": "x"}})
    [call] = calls(home, ci(type=kind))

    assert (call.trigger, call.may_overlap, call.task, call.project) == ("", True, f"ci-{digest('a')}", "web")


def test_the_longest_trigger_makes_an_id_that_is_one(home: Path) -> None:
    """64 characters (SPEC 17), with all of the hash."""
    drop(home, "a", {"trigger": "t" * 64, "values": {"branch": "x"}})
    [call] = calls(home, ci(id="t" * 64))

    assert call.task == f"{'t' * 51}-{digest('a')}"
    assert len(call.task) == 64


def test_a_request_adds_a_task(home: Path) -> None:
    """With its project, id and priority, or the defaults; a relative spec is the home's."""
    for path in (home / "a.md", home.parent / "web" / "b.md"):
        path.write_text("# Spec\n")
    drop(home, "1", {"spec": "a.md"})
    drop(home, "2", {"spec": str(home.parent / "web" / "b.md"), "project": "web", "id": "B", "priority": "critical"})

    assert calls(home) == [
        Call(
            trigger="",
            key="inbox/1",
            task=f"inbox-{digest('1')}",
            project="default",
            spec_path=str(home / "a.md"),
            may_overlap=True,
        ),
        Call(
            trigger="",
            key="inbox/2",
            task="B",
            project="web",
            priority=Priority.CRITICAL,
            spec_path=str(home.parent / "web" / "b.md"),
            may_overlap=True,
        ),
    ]


@pytest.mark.parametrize("named", ["../web/b.md", "/etc/passwd", "link.md", "dir/../../web/b.md", "~/b.md", "", "a\0b"])
def test_a_spec_outside_of_home_and_project_is_refused(home: Path, named: str) -> None:
    """After symlinks, whoever asks (SPEC 5.1)."""
    (home.parent / "web" / "b.md").write_text("# Spec\n")
    (home / "link.md").symlink_to(home.parent / "web" / "b.md")
    drop(home, "1", {"spec": named})

    [problem] = problems(home)
    assert any(part in problem for part in ("lies neither in the home nor", "is no path of", "No such file")), problem


def test_a_link_inside_of_the_project_is_followed(home: Path) -> None:
    """What counts is where it leads; the path that is queued is that one."""
    (home / "real.md").write_text("# Spec\n")
    (home / "link.md").symlink_to(home / "real.md")
    drop(home, "1", {"spec": "link.md"})

    assert [call.spec_path for call in calls(home)] == [str(home / "real.md")]


def test_each_poison_has_its_reason_and_the_rest_goes_on(home: Path) -> None:
    """Whatever lies there, one by one, is put aside and told; good requests around it are taken (issue 6, point 9)."""
    directory = home / "state" / "inbox"
    drop(home, "good1", {"trigger": "ci", "values": {"branch": "x"}})
    drop(home, "json", b"{")
    drop(home, "list", b"[]")
    drop(home, "none", b"{}")
    drop(home, "big", b'{"trigger": "ci"}' + b" " * INBOX_BYTES_MAX)
    drop(home, "unknown", {"trigger": "nobody"})
    drop(home, "project", {"spec": "a.md", "project": "nobody"})
    drop(home, "id", {"spec": "a.md", "id": "../x"})
    drop(home, "typo", {"spec": "a.md", "prority": "high"})
    drop(home, "urgent", {"spec": "a.md", "priority": "urgent"})
    drop(home, "gone", {"spec": "gone.md"})
    drop(home, "values", {"trigger": "ci"})
    drop(home, "dir-spec", {"spec": "state"})
    os.mkfifo(directory / "fifo")
    (directory / "dir").mkdir()
    (directory / "link").symlink_to("good1")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(directory / "s"))
    drop(home, "good2", {"trigger": "ci", "values": {"branch": "y"}})

    found = calls(home, ci())
    inbox.settle(home, found)

    assert [call.key for call in found if not call.problem] == ["inbox/good1", "inbox/good2"]
    why = {path.stem: path.read_text().strip() for path in (directory / "rejected").glob("*.why")}
    assert why == {
        "json": "'json' is not JSON: EOF while parsing an object at line 1 column 1",
        "list": '\'list\' is no request: it is {"trigger": id, "values": {…}} or {"spec": path, …}',
        "none": '\'none\' is no request: it is {"trigger": id, "values": {…}} or {"spec": path, …}',
        "big": "'big' is over 1 MiB",
        "unknown": "there is no trigger 'nobody' (awm triggers list)",
        "project": "there is no project 'nobody' (awm projects list)",
        "id": "'id' has an id that is none: '../x'",
        "typo": "'typo' has a wrong 'prority': Unexpected keyword argument",
        "urgent": "'urgent' has a wrong 'priority': Input should be 'critical', 'high', 'medium' or 'low'",
        "gone": "the spec 'gone.md' cannot be read: No such file or directory",
        "values": f"{home}/templates/broken.md: no value is given for $branch (--set branch=…; a dollar is written $$)",
        "dir-spec": "the spec 'state' is not a regular file",
        "fifo": "'fifo' cannot be read: not a regular file",
        "dir": "'dir' cannot be read: Is a directory",
        "link": "'link' cannot be read: not a regular file",
        "s": "'s' cannot be read: not a regular file",
    }
    assert sorted(entry.name for entry in directory.iterdir()) == ["rejected"]
    assert {entry.name for entry in (directory / "rejected").iterdir()} == {*why, *(f"{name}.why" for name in why)}


def test_a_disabled_trigger_is_fired_by_nobody(home: Path) -> None:
    """The reason says what to type; the call is the trigger's, where that is fired by requests alone."""
    drop(home, "a", {"trigger": "ci", "values": {"branch": "x"}})
    off = [ci(enabled=False), ci(enabled=False, type="time")]

    assert [problems(home, one) for one in off] == [["the trigger ci is disabled (awm triggers enable ci)"]] * 2
    assert [call.trigger for one in off for call in calls(home, one)] == ["ci", ""]


def test_what_is_put_aside_replaces_nothing(home: Path) -> None:
    """A second of that name, and one that is named as another's reason, keep apart."""
    for name, why in (("a", "first"), ("a.why", "second"), ("a", "third")):
        inbox.put_aside(drop(home, name, b"x"), why)

    assert {name: text.strip() for name, text in left(home).items()} == {
        "rejected/a": "x",
        "rejected/a.why": "first",
        "rejected/a.why-2": "x",
        "rejected/a.why-2.why": "second",
        "rejected/a-2": "x",
        "rejected/a-2.why": "third",
    }


def test_of_what_is_put_aside_the_newest_stay(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is, with its reason. What has none was put there by a person, and stays (SPEC 3.2)."""
    monkeypatch.setattr(inbox, "REJECTED_KEPT", 2)
    rejected = home / "state" / "inbox" / "rejected"
    for name in ("c", "b", "a", "e", "d"):
        path = drop(home, name, b"x")
        if name == "b":
            path.unlink()
            (path / "in" / "it").mkdir(parents=True)
        inbox.put_aside(path, name)
        (rejected / "mine").write_text("a person's")

    assert sorted(path.name for path in rejected.iterdir()) == ["d", "d.why", "e", "e.why", "mine"]


def test_a_request_that_is_gone_already_is_taken(home: Path) -> None:
    """A kill between the two makes the beat settle again; nothing is wrong with that."""
    path = drop(home, "a", {"trigger": "nobody"})
    found = calls(home)
    path.unlink()
    inbox.settle(home, found)
    inbox.take(path)

    assert left(home) == {}


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_named_as_the_folder_of_what_is_put_aside_is_in_nobodys_way(home: Path, kind: str) -> None:
    """It is a request like any other, under another name: here one that is none, so that it is put aside as well."""
    rejected = home / "state" / "inbox" / "rejected"
    rejected.parent.mkdir(parents=True, exist_ok=True)
    if kind == "file":
        rejected.write_text("{")
    else:
        rejected.symlink_to("nowhere")
    (rejected.parent / "bad").write_text("{")
    for _ in range(2):
        inbox.settle(home, calls(home))

    assert inbox.read(home) == []
    assert sorted(re.sub("-.{8}", "", path.name) for path in rejected.iterdir()) == ["bad", "bad.why", "odd", "odd.why"]


def test_only_what_was_asked_for_is_settled(home: Path) -> None:
    """A request that came in meanwhile stays for the next beat, as does a file beside those of the calls."""
    drop(home, "a", {"trigger": "ci", "values": {"branch": "x"}})
    found = calls(home, ci())
    drop(home, "b", {"trigger": "ci"})
    inbox.settle(home, found)

    assert list(left(home)) == ["b"]


@pytest.mark.parametrize("name", [b"\xff\xfe", "ä".encode(), b"two\nlines", b"-rf", b"~", b"x" * 255, b"%s$(id)"])
def test_an_odd_name_is_no_trouble(home: Path, name: bytes) -> None:
    """Any bytes: its key can be written to the state, its reason to a terminal, and it is settled like others."""
    (home / "state" / "inbox").mkdir()
    path = os.fsencode(home) + b"/state/inbox/" + name
    with open(path, "wb") as file:
        file.write(b"\xff")
    [call] = calls(home)
    inbox.settle(home, [call])

    assert call.key.encode().decode().isprintable()
    assert call.problem.isprintable()
    assert not os.path.lexists(path)
    assert len(list((home / "state" / "inbox" / "rejected").iterdir())) == 2


def test_a_full_disk_is_the_disks_trouble(home: Path) -> None:
    """A request is not put aside because its spec could not be written (SPEC 4.8)."""
    (home / "state" / "specs").write_text("in the way")
    drop(home, "a", {"trigger": "ci", "values": {"branch": "x"}})

    with pytest.raises(DiskError):
        calls(home, ci())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = st.dictionaries(st.sampled_from(["trigger", "values", "spec", "project", "id", "priority"]), JSON)


@given(data=st.binary(max_size=80) | st.builds(lambda value: json.dumps(value).encode(), JSON | MEMBERS))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_request_or_put_aside(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Any bytes, any JSON: never a traceback, and never a call without a spec or a problem."""
    home = tmp_path_factory.getbasetemp() / "any"
    (home / "state").mkdir(parents=True, exist_ok=True)
    path = drop(home, "a", data)
    [call] = calls(home, ci(template="", spec="none.md"))
    inbox.take(path)

    assert bool(call.problem) is not bool(call.spec_path)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b'{"trigger":' * 50_000,
        b'{"trigger": "ci", "values": {"a": ' + b"9" * 10_000 + b"}}",
        b'{"trigger": "\\ud800"}',
        b'{"trigger": NaN}',
        b'{"trigger": "ci", "trigger": 1}',
        b"\xef\xbb\xbf{}",
        '{"trigger": "ci"}'.encode("utf-16"),
    ],
)
def test_what_json_can_do_is_no_trouble(home: Path, data: bytes) -> None:
    """Nesting, digits, half characters, other encodings: put aside (SPEC 4.7 of the state, and so here)."""
    drop(home, "a", data)

    assert [type(request.said) for request in inbox.read(home)] == [Bad]


def test_defaults_of_a_request_are_those_of_the_contract(home: Path) -> None:
    """SPEC 3.2: only `spec` must be there, or only `trigger`."""
    drop(home, "a", {"spec": "x"})
    drop(home, "b", {"trigger": "x"})

    assert [request.said for request in inbox.read(home)] == [
        Add(spec="x", project="default", id="", priority=Priority.MEDIUM),
        Fire(trigger="x", values={}),
    ]
