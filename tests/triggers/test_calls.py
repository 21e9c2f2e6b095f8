"""What calls for work: due slots and changed files become tasks, once, whatever beat is killed where (SPEC 13.2)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awm_loop.config import ID_PATTERN
from awm_loop.core.model import Instant, Spec
from awm_loop.core.observation import Call
from awm_loop.core.project import NEVER, Fired, Priority
from awm_loop.errors import ConfigError
from awm_loop.store import specfile, triggers
from awm_loop.trigger import ID_CHARS_MAX
from awm_loop.triggers import calls, files, inbox, plan
from awm_loop.triggers.calls import Calls, Standing

START = datetime(2036, 11, 21, 1, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NIGHTLY: dict[str, Any] = {"id": "nightly", "type": "time", "trigger": "0 2 * * *", "spec": "specs/review.md"}
DOCS: dict[str, Any] = {"id": "docs", "type": "file", "trigger": "src/**/*.ts", "spec": "specs/review.md"}


@dataclass
class World:
    """A home with its project, and a core that takes what calls: it saves `fired`, then says `taken`."""

    root: Path
    now: datetime = START
    fired: dict[str, Fired] = field(default_factory=dict)
    queue: list[str] = field(default_factory=list)
    projects: dict[str, Path] = field(default_factory=dict)
    path_of: Callable[[str], Path] | None = None
    reads: int = 0

    def __post_init__(self) -> None:
        self.put("home/specs/review.md", "# Review\n\nLook at it.\n")
        (self.home / "state").mkdir(mode=0o700)
        self.put("project/src/a.ts", "a")
        self.projects["default"] = self.root / "project"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def triggers_path(self) -> Path:
        return self.home / "state" / "triggers.json"

    def put(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def triggers(self, *entries: dict[str, Any], written_at: datetime = START) -> None:
        self.triggers_path.write_text(json.dumps({"triggers": entries}))
        os.utime(self.triggers_path, (written_at.timestamp(), written_at.timestamp()))

    def calls(self) -> Calls:
        def read() -> Any:
            self.reads += 1
            return triggers.read(self.triggers_path)

        return Calls(self.home, self.path_of or self.projects.get, read, self.home / "state" / "specs")

    def look(self, minutes: float = 0.0, is_live: bool = False) -> list[Call]:
        """What calls that many minutes later; nothing is taken."""
        self.now += MINUTE * minutes

        def standing(task: str) -> Standing:
            return Standing.OVER if task not in self.queue else Standing.LIVE if is_live else Standing.QUEUED

        is_idle = plan.is_idle(self.home, self.now)
        found = list(self.calls().calls(self.fired, standing, self.instant))
        assert not (is_idle and found)
        assert found == list(self.calls().calls(self.fired, standing, self.instant))  # asked again, the same
        return found

    def beat(self, minutes: float = 0.0) -> list[str]:
        """A look, and what it called for queued and taken; the ids of the tasks."""
        found = self.look(minutes)
        self.save(found)
        inbox.settle(self.home, found)
        return [call.task for call in found]

    def saved(self, minutes: float = 0.0) -> list[Call]:
        """A look, and what it called for queued; the calls."""
        found = self.look(minutes)
        self.save(found)
        return found

    def save(self, found: list[Call]) -> None:
        for call in found:
            if call.trigger:
                last = self.fired.get(call.trigger)
                task = (last.task if last else "") if call.problem or call.missed else call.task
                at = (last.at if last else NEVER) if call.problem else self.now
                self.fired[call.trigger] = Fired(key=call.key, task=task, at=at)
            if not call.problem and not call.missed:
                self.queue.append(call.task)

    @property
    def instant(self) -> Instant:
        return Instant(wall=self.now, boottime=1.0, boot_id="boot")

    def plan(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.home / "state" / "triggers" / "next.json").read_text())
        return found


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


# Time


def test_a_slot_that_is_due_calls_for_its_task_once(world: World) -> None:
    """With all that its task needs; after it fired, not before the next slot (SPEC 13.2)."""
    world.triggers({**NIGHTLY, "priority": "high", "overlap": "queue"})

    assert world.look(59.9) == []
    assert world.look(0.2) == [
        Call(
            trigger="nightly",
            key="20361121T0200",
            task="nightly-20361121T0200",
            project="default",
            priority=Priority.HIGH,
            spec_path=str(world.home / "specs" / "review.md"),
            may_overlap=True,
        )
    ]
    assert world.beat() == ["nightly-20361121T0200"]
    assert [world.beat(60) for _ in range(25)] == [[]] * 23 + [["nightly-20361122T0200"], []]


def test_missed_slots_are_one_task_within_the_grace_and_none_after_it(world: World) -> None:
    """The machine slept: the newest slot counts, and where that is older than the grace it is let pass, and told."""
    world.triggers({**NIGHTLY, "trigger": "*/10 * * * *", "misfireGrace": 5})

    assert world.beat(64) == ["nightly-20361121T0200"]
    [missed] = world.look(12)
    assert (missed.key, missed.missed, missed.spec_path) == (
        "20361121T0210",
        "2036-11-21 02:10 UTC is 6 min ago, over its grace of 5 min",
        "",
    )
    world.save([missed])
    assert world.look() == []


def test_an_audit_that_a_sleeping_machine_missed_runs_once_when_it_wakes(world: World) -> None:
    """Monday 09:00 in Berlin, the lid opened at 09:40 (issue 6)."""
    world.triggers({**NIGHTLY, "id": "audit", "trigger": "0 9 * * 1", "timezone": "Europe/Berlin"})
    world.now = datetime(2036, 11, 24, 8, 40, tzinfo=UTC)

    assert [world.beat(), world.beat(1), world.beat(100)] == [["audit-20361124T0900"], [], []]


@pytest.mark.parametrize(("start", "slots"), [((2036, 3, 29), "20360330"), ((2036, 10, 25), "20361026")])
def test_a_nightly_review_runs_once_in_each_night_that_the_clock_changes(
    world: World, start: tuple[int, int, int], slots: str
) -> None:
    """02:00 in Berlin: skipped in March, twice in October; one task each (issue 6)."""
    world.now = datetime(*start, 20, 0, tzinfo=UTC)
    world.triggers({**NIGHTLY, "timezone": "Europe/Berlin"}, written_at=world.now)
    found = [task for _ in range(8 * 12) for task in world.beat(5)]

    assert found == [f"nightly-{slots}T0200"]


@pytest.mark.parametrize("since", [{"createdAt": "2036-11-21T02:00:00Z"}, {"enabledAt": "2036-11-21T02:00:30Z"}, {}])
def test_a_trigger_fires_for_slots_after_it_was_enabled_only(world: World, since: dict[str, str]) -> None:
    """By what it says of itself, else by the last change of its file, until it has fired once."""
    world.triggers({**NIGHTLY, **since}, written_at=datetime(2036, 11, 21, 2, 0, 30, tzinfo=UTC))

    assert world.beat(61) == []
    assert world.beat(24 * 60) == ["nightly-20361122T0200"]


def test_an_edit_of_the_file_takes_no_slot_from_what_has_fired_before(world: World) -> None:
    """A trigger without `createdAt` counts from its last firing, whenever its file was changed since."""
    world.triggers(NIGHTLY)
    assert world.beat(61) == ["nightly-20361121T0200"]
    world.triggers(NIGHTLY, written_at=datetime(2036, 11, 22, 2, 0, 20, tzinfo=UTC))

    assert world.beat(24 * 60) == ["nightly-20361122T0200"]


def test_a_disabled_trigger_and_one_of_another_type_never_call(world: World) -> None:
    """They fire by hand or not at all."""
    world.triggers({**NIGHTLY, "enabled": False}, {"id": "m", "type": "manual", "spec": "s"})

    assert world.beat(24 * 60) == []


def test_a_clock_that_leaps_back_does_not_fire_a_slot_again(world: World) -> None:
    """Nor does one that was a year ahead for a while silence the trigger (SPEC 13.2)."""
    world.triggers(NIGHTLY)

    assert [world.beat(61), world.beat(-30), world.beat(31), world.beat(1)] == [["nightly-20361121T0200"], [], [], []]
    world.now = datetime(2037, 11, 21, 2, 1, tzinfo=UTC)
    assert world.beat() == ["nightly-20371121T0200"]
    world.now = datetime(2036, 11, 22, 2, 1, tzinfo=UTC)
    assert world.beat() == ["nightly-20361122T0200"]


# Trouble


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"timezone": "Mars/Olympus"}, "this machine knows no zone Mars/Olympus (an IANA name, as Europe/Berlin)"),
        ({"trigger": "0 0 31 2 *"}, "'0 0 31 2 *' never comes (as no 31 February does; correct it)"),
        ({"projectId": "gone"}, "there is no project gone (awm projects list)"),
        ({"spec": "specs/gone.md"}, "the spec 'specs/gone.md' cannot be read: No such file or directory"),
        ({"type": "file", "trigger": "*", "projectId": "gone"}, "there is no project gone (awm projects list)"),
    ],
)
def test_a_trigger_in_trouble_is_told_once_and_the_others_go_on(
    world: World, entry: dict[str, object], said: str
) -> None:
    """Its zone, spec or project is not there (SPEC 13.2, issue 6)."""
    world.triggers({**NIGHTLY, "id": "bad", **entry}, NIGHTLY)
    found = world.look(61)

    assert [(call.trigger, call.problem) for call in found] == [("bad", said), ("nightly", "")]
    world.save(found)
    assert world.look(1) == []


@pytest.mark.parametrize("entry", [NIGHTLY, DOCS])
def test_trouble_that_comes_back_is_told_again(world: World, entry: dict[str, Any]) -> None:
    """Once each time: when it is well again, what was told is forgotten, and no slot or task of it is (issue 6)."""
    world.projects["other"] = world.root / "project"
    world.triggers({**entry, "projectId": "other"})
    world.fired[entry["id"]] = Fired(key="old", task="old-task", at=START - MINUTE)
    told = []
    for _ in range(2):
        path = world.projects.pop("other")
        plan._path(world.home).unlink(missing_ok=True)  # as the next day does
        told += [bool(call.problem) for call in [*world.look(1), *world.saved(1), *world.saved(1)]]
        world.projects["other"] = path
        found = [*world.saved(1), *world.saved(1)]
        assert [(call.key, call.problem) for call in found] == [("well", "")]

    assert told == [True, True, True, True]
    assert world.fired[entry["id"]].task == "old-task"
    assert len(world.saved(60)) == (entry is NIGHTLY)


def test_a_trigger_of_a_project_that_is_over_queues_nothing(world: World) -> None:
    """It is told once, not each night, and goes on with the next slot once its project does (SPEC 13.1)."""

    def over(project: str) -> Path:
        raise ConfigError(f"project {project} is archived", f"awm projects resume {project}")

    world.triggers({**NIGHTLY, "template": "nightly-review", "spec": ""})
    world.path_of = over
    found = [call for _ in range(50) for call in world.saved(60)]
    assert [call.problem for call in found] == ["project default is archived (awm projects resume default)"]
    world.path_of = None

    assert [call.task for call in world.saved(22 * 60) if not call.missed] == []
    assert [call.task for call in world.saved(61) if not call.missed] == ["nightly-20361124T0200"]


def test_a_spec_outside_of_home_and_project_is_refused(world: World) -> None:
    """After symlinks (SPEC 5.1)."""
    (world.home / "specs" / "link.md").symlink_to(world.put("elsewhere.md", "# Secret\n"))
    world.triggers({**NIGHTLY, "spec": "specs/link.md"})
    [call] = world.look(61)

    assert call.problem.startswith("the spec 'specs/link.md' lies neither in the home nor in the project")


def test_a_bad_file_of_triggers_stops_them_alone(world: World) -> None:
    """What asks for a task goes on, what asks for a trigger waits until the file is mended (SPEC 4.7)."""
    inbox.write_request(world.home, {"spec": "specs/review.md", "id": "S1"}, "one.json")
    inbox.write_request(world.home, {"trigger": "m"}, "two.json")
    world.triggers({"id": "bad"}, written_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert world.beat() == ["S1"]
    world.triggers({"id": "m", "type": "manual", "spec": "specs/review.md"})

    [task] = world.beat()
    assert task.startswith("m-")
    assert world.beat() == []


# Cheap


def test_a_beat_without_anything_due_does_not_read_the_triggers(world: World) -> None:
    """`next.json` says until when; an edit of the file, or a clock that leaps back, makes it void."""
    many = [{**NIGHTLY, "id": f"t{number}", "trigger": f"{number % 60} 2 * * *"} for number in range(100)]
    world.triggers(*many)
    world.look()
    read = world.reads
    assert [world.look(1), world.look(58)] == [[], []]
    assert world.reads == read
    assert plan.is_idle(world.home, world.now)
    request = inbox.write_request(world.home, {"spec": "specs/review.md"})
    assert not plan.is_idle(world.home, world.now)
    request.unlink()
    world.triggers(*many, {**NIGHTLY, "trigger": "30 1 * * *"}, written_at=START - MINUTE)
    assert [call.task for call in world.look(-20)] == ["nightly-20361121T0130"]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"due": 3}', "[" * 100_000, '{"identity": "", "madeAt": 1e999, "due": {"nightly": "x"}}', "\0"],
)
def test_a_plan_that_is_torn_is_made_anew(world: World, text: str) -> None:
    """It is only a cache."""
    world.triggers(NIGHTLY)
    world.look()
    (world.home / "state" / "triggers" / "next.json").write_text(text)

    assert world.beat(61) == ["nightly-20361121T0200"]


def test_a_plan_holds_a_day_and_not_before_it_was_made(world: World) -> None:
    """Rules of zones change with their package, clocks with their owner."""
    world.triggers({**NIGHTLY, "trigger": "0 0 1 1 *"})
    world.look()
    due = world.plan()["due"]
    assert due == {"nightly": datetime(2037, 1, 1, tzinfo=UTC).timestamp()}
    read = world.reads
    world.look(24 * 60 - 1)
    assert world.reads == read
    world.look(1)
    assert world.reads > read
    assert world.plan()["madeAt"] == world.now.timestamp()
    read = world.reads
    world.look(-1)
    assert world.reads > read


# Files


def changed(world: World) -> list[str]:
    """The tasks of six beats, each half a minute after the other."""
    return [task for _ in range(6) for task in world.beat(0.5)]


def section(world: World, task: str) -> list[str]:
    text = (world.home / "state" / "specs" / f"{task}.md").read_text()
    return [line for line in text.partition("## What changed")[2].splitlines() if line.startswith("- ")]


def test_ten_changes_within_the_debounce_are_one_task_with_ten_paths(world: World) -> None:
    """And touch alone is none (issue 6)."""
    world.triggers(DOCS)
    assert changed(world) == []
    os.utime(world.root / "project/src/a.ts", (5, 5))
    assert changed(world) == []
    for number in range(10):
        world.put(f"project/src/n{number}.ts", "n")
    found = changed(world)

    assert [task.rpartition("-")[0] for task in found] == ["docs-20361121T010630Z"]
    assert section(world, found[0]) == [f"- created: `src/n{number}.ts`" for number in range(10)]
    text = (world.home / "state" / "specs" / f"{found[0]}.md").read_text()
    assert text.startswith("# Review\n\nLook at it.\n\n## What changed\n")
    assert changed(world) == []


def test_what_its_own_task_changes_does_not_call_it_again(world: World) -> None:
    """While its agent is at work nothing is looked at, and what was changed meanwhile is known after it (SPEC 13.2)."""
    world.triggers(DOCS)
    changed(world)
    world.put("project/src/a.ts", "A")
    assert len(changed(world)) == 1
    world.look(0.5, is_live=True)
    world.put("project/src/made.ts", "by the task")
    world.look(0.5, is_live=True)
    assert changed(world) == []  # it waits for another attempt
    world.look(0.5, is_live=True)
    world.put("project/src/more.ts", "by the task")
    world.queue.clear()
    assert changed(world) == []
    world.put("project/src/a.ts", "AA")
    [task] = changed(world)

    assert section(world, task) == ["- changed: `src/a.ts`"]


def test_what_people_change_while_its_task_waits_is_for_the_next_one(world: World) -> None:
    """Before its first attempt and between two; handed over when the task is over, also where that is blocked (13.2)."""
    world.triggers(DOCS)
    changed(world)
    world.put("project/src/a.ts", "A")
    assert len(changed(world)) == 1
    world.put("project/src/b.ts", "by a person")
    world.put("project/src/c.ts", "by a person")
    world.look(0.5)
    world.look(0.5, is_live=True)
    world.put("project/src/made.ts", "by the task")
    world.put("project/src/c.ts", "by the task, which saw it")
    world.look(0.5)
    world.put("project/src/d.ts", "by a person")
    assert changed(world) == []
    world.look(0.5, is_live=True)
    world.put("project/src/made.ts", "by the task again")
    world.queue.clear()
    [task] = changed(world)

    assert section(world, task) == [f"- created: `src/{name}.ts`" for name in "bcd"]
    assert changed(world) == []


def test_changes_beside_a_task_that_never_began_are_not_lost(world: World) -> None:
    """It was blocked, or a person took it out of the queue (SPEC 13.2)."""
    world.triggers(DOCS)
    changed(world)
    world.put("project/src/a.ts", "A")
    assert len(changed(world)) == 1
    world.put("project/src/b.ts", "by a person")
    world.queue.clear()
    [task] = changed(world)

    assert section(world, task) == ["- created: `src/b.ts`"]


def test_with_overlap_everything_counts(world: World) -> None:
    """`overlap: queue`: what changes while its last task is not over queues another one."""
    world.triggers({**DOCS, "overlap": "queue"})
    changed(world)
    world.put("project/src/a.ts", "A")
    [first] = changed(world)
    world.put("project/src/b.ts", "b")
    [second] = changed(world)

    assert (section(world, first), section(world, second)) == (["- changed: `src/a.ts`"], ["- created: `src/b.ts`"])


def test_changes_within_a_second_are_tasks_of_their_own(world: World) -> None:
    """Beats may come as fast as they like: each change has its task, whose id is no longer than one may be (SPEC 17)."""
    name = "t" * ID_CHARS_MAX
    world.triggers({**DOCS, "id": name, "overlap": "queue", "debounceSeconds": 0})
    world.beat()
    found = []
    for text in ("A", "B"):
        world.put("project/src/a.ts", text)
        found += world.beat()

    assert len(set(found)) == 2
    assert [re.fullmatch(ID_PATTERN, task) is not None for task in found] == [True, True]


@pytest.mark.parametrize("overlap", ["skip", "queue"])
def test_a_beat_killed_after_its_save_takes_no_change_twice(world: World, overlap: str) -> None:
    """The state says that it fired: the baseline moves on with the next look, and nothing since is lost."""
    world.triggers({**DOCS, "overlap": overlap})
    changed(world)
    world.put("project/src/a.ts", "A")
    assert world.look(0.5) == []
    [call] = world.look(0.5)
    world.save([call])
    world.queue.clear()
    world.put("project/src/b.ts", "b")
    found = changed(world)

    assert [section(world, task) for task in found] == [["- created: `src/b.ts`"]]


def test_trouble_after_it_fired_makes_no_change_news_again(world: World) -> None:
    """The disk of the project went away for a while, right after its task was queued (issue 6)."""
    world.triggers(DOCS)
    changed(world)
    world.put("project/src/a.ts", "A")
    world.saved(0.5)
    assert len(world.saved(0.5)) == 1
    (world.root / "project").rename(world.root / "away")
    assert [bool(call.problem) for call in world.saved(0.5)] == [True]
    (world.root / "away").rename(world.root / "project")
    world.look(0.5, is_live=True)
    world.put("project/src/a.ts", "by the task")
    world.queue.clear()

    assert [call.key for call in world.saved(0.5)] == ["well"]
    assert changed(world) == []


def test_two_hundred_paths_are_listed_and_the_rest_is_counted(world: World) -> None:
    """A spec stays one that can be read (SPEC 13.2)."""
    world.triggers(DOCS)
    changed(world)
    for number in range(201):
        world.put(f"project/src/n{number:03}.ts", "n")
    [task] = changed(world)

    assert len(section(world, task)) == 201
    assert section(world, task)[-2:] == ["- created: `src/n199.ts`", "- and 1 more"]


def test_the_baseline_of_a_trigger_that_was_taken_out_by_hand_goes(world: World) -> None:
    """It may be some MiB; where the trigger comes back, it begins anew, as with `awm triggers remove` (SPEC 13.2)."""
    world.triggers(DOCS, {**DOCS, "id": "others"}, NIGHTLY)
    world.beat()
    world.triggers({**DOCS, "id": "others"}, NIGHTLY, written_at=START + MINUTE)
    world.beat(2)

    kept = [files.path_of(world.home, "others"), world.home / "state" / "triggers" / "next.json"]
    assert sorted((world.home / "state" / "triggers").iterdir()) == sorted(kept)


def test_a_baseline_that_is_torn_is_taken_anew_and_fires_nothing(world: World) -> None:
    """It says why, for `awm triggers show`."""
    world.triggers(DOCS)
    changed(world)
    world.put("project/src/a.ts", "A")
    [path] = [path for path in (world.home / "state" / "triggers").iterdir() if path.name != "next.json"]
    path.write_text(path.read_text()[:50])

    assert changed(world) == []
    assert json.loads(path.read_text())["why"] == "the first look"


@pytest.mark.parametrize("open_block", ["```sh run\necho", "~~~ sh run\necho", "> ```sh run\n> echo\n```sh run"])
def test_a_spec_whose_block_is_never_closed_takes_no_list(world: World, open_block: str) -> None:
    """Names of files must not become lines of a script (SPEC 13.4)."""
    world.put("home/specs/review.md", f"# Review\n\n{open_block}")
    world.triggers(DOCS)
    changed(world)
    world.put("project/src/a.ts", "A")
    world.look(0.5)
    [call] = world.look(0.5)

    assert call.problem == "a code block of its spec is never closed (close it: ``` on a line of its own)"


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1) | st.sampled_from(
    ["```sh run\nrm -rf ~\n```", "\n**Verify:** true\n", "`$(id)`", "# Sprint X: y", "\r\n\r\n```sh run", "--> <!--"]
)


@given(st.lists(st.tuples(st.sampled_from(["created", "changed", "deleted"]), NAMES), min_size=1, max_size=5))
def test_no_name_of_a_file_becomes_a_setting_or_a_command(changes: list[tuple[str, str]]) -> None:
    """Whatever files are called, the spec has the headers, the gate and the script it had (SPEC 13.4, 17)."""
    text = "# Sprint S1: Docs\n\n**Type:** docs\n\n```sh run\ntrue\n```\n"

    def parsed(whole: str) -> Spec:
        found = specfile._parse(whole, "x", "S1", Path("/"))
        assert isinstance(found, Spec)
        return found

    whole = f"{text.rstrip()}\n\n{calls.listed('docs', changes)}"
    before, after = parsed(text), parsed(whole)
    assert specfile.run_blocks(whole) == specfile.run_blocks(text) == "true\n"
    assert (after.title, after.verify, after.type, after.commit, after.model) == (
        before.title,
        before.verify,
        before.type,
        before.commit,
        before.model,
    )
    assert calls._blocks(whole) == calls._blocks(text)
