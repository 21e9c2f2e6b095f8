"""A state file with something under every key of ours, and how it is read and written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from awm_loop.core.model import (
    Account,
    Attempt,
    Channel,
    Deadline,
    Earlier,
    Ended,
    Instant,
    LogEntry,
    Notice,
    Outcome,
    Phase,
    Stop,
    Task,
    Work,
)
from awm_loop.core.project import Fired, Priority, Proposal, Spent, Use
from awm_loop.ports import Settings
from awm_loop.store import document, jsontext

PATH = Path("state/current_work.json")
NOW = Instant(wall=datetime(2026, 11, 21, 12, tzinfo=UTC), boottime=5000.0, boot_id="boot")
DEFAULT_AGENT = ("local", "local-account")
ATTEMPT = Attempt(
    task="S1",
    number=4,
    phase=Phase.RUNNING,
    agent="codex",
    account="openai",
    model="gpt",
    title="Thing",
    spec_path="/specs/S1.md",
    workspace="/project",
    type="coding",
    require_commit=True,
    limit_seconds=7200.0,
    promised_at=NOW.wall,
    chain=("codex", "opus"),
    eta_seconds=60.5,
)

OF_PROJECTS: dict[str, Any] = {
    "project_of": {"S2": "web"},
    "spent": {
        "default": Spent(day="2026-11-21", today=Use(attempts=1), in_all=Use(attempts=3, minutes=2.5, cost_usd=0.5)),
        "web": Spent(in_all=Use(tokens=5), last_attempt=3),
    },
    "closed": {"web": "the budget of project web is reached: 5 tokens in all"},
    "fired": {"nightly": Fired(key="20261121T0200", task="nightly-20261121T0200", at=NOW.wall)},
    "proposals": (Proposal(id="p1", project="web", task="S4", text="Write docs"),),
}


def read(raw: object, now: Instant = NOW) -> Work:
    return read_both(raw, now)[0]


def read_both(raw: object, now: Instant = NOW) -> tuple[Work, Settings]:
    return document.read(document.parse(jsontext.layout(raw), PATH), PATH, now, DEFAULT_AGENT)


def write(work: Work, raw: dict[str, Any], rev: int = 1) -> dict[str, Any]:
    """What the next reader parses."""
    written = jsontext.parse(jsontext.layout(document.write(work, raw, NOW, rev)), PATH)[1]
    assert isinstance(written, dict)
    return written


def full() -> dict[str, Any]:
    """A file with something under every key of ours."""
    deadline = Deadline(until=NOW.wall + timedelta(minutes=5), left_seconds=300.0, set_at=NOW)
    earlier = Earlier(number=2, outcome=Outcome.STALLED, agent="codex", summary="hung")
    work = Work(
        active=True,
        idle_since=None,
        project="/project",
        queue=("S2", "S3"),
        completed=("S4",),
        failed=("S5",),
        skipped=("S6",),
        blocked=("S7",),
        spec_files={"S1": "/specs/S1.md"},
        tasks={
            "S1": Task(id="S1", tries=1, base="abc123", earlier=(earlier,)),
            "S2": Task(id="S2", priority=Priority.HIGH, not_before=deadline, depends=("S4",)),
        },
        **OF_PROJECTS,
        next_proposal=2,
        attempts=(ATTEMPT,),
        accounts={"openai": Account(name="openai", deadline=deadline, source="result file", agent="codex", hits=2)},
        pending=Stop(key=ATTEMPT.key, why="stalled"),
        outbox=(Notice(id="n1", kind="retry", task="S1", at=NOW.wall, text="hm", channels=("console",)),),
        channels={"url-1": Channel(name="url-1", failures=2, not_before=deadline)},
        report=(
            Ended(
                task="S4",
                number=1,
                outcome=Phase.COMPLETED,
                agent="codex",
                model="gpt",
                type="coding",
                at=NOW.wall,
                minutes=1.5,
                minutes_in_all=2.5,
                attempts=1,
                eta_minutes=None,
                error_type="",
                notes="done",
                commit="abc",
                tokens={"input": 5},
                cost_usd=0.5,
            ),
        ),
        log=(
            LogEntry(seq=1, at=NOW.wall, what="queued ready -> launching, launch", task="S1", attempt=4, note="codex"),
        ),
        seq=1,
        next_attempt=5,
        next_notice=2,
    )
    return write(work, {})


FULL = full()
