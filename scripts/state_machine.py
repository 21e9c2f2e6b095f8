#!/usr/bin/env python3
"""Write docs/STATE_MACHINE.md from the table in awm_loop/core/machine.py; with --check say whether it is fresh.

scripts/state_machine.py [--check] [FILE]
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from awm_loop.core import machine  # noqa: E402  found through the line above
from awm_loop.core.machine import TABLE, Row, Signal  # noqa: E402
from awm_loop.core.model import Phase  # noqa: E402

SOURCE = Path(machine.__file__)
INTRODUCTION = """\
<!-- Written by scripts/state_machine.py from awm_loop/core/machine.py. Do not edit: change the table, then run it. -->

# The state machine

All that AWM decides stands in one table, [machine.py](../awm_loop/core/machine.py). A beat looks at the world,
`classify_*` judges what it saw against the limits and names one *signal*, and the row for (phase, signal) says what
follows: the next phase, the effect, what is counted against the task, and the notice. An effect (launch or stop an
attempt, reset the session) is saved as a promise before it is done, and a beat has one at most: it walks the live
attempts, oldest first, the calls, the accounts and projects, the loop and the queue, in this order, until a row has an
effect or nothing changes.

A row that stays and does nothing is never written down. Every other one is a line of the journal (`awm logs`), in the
words of this page: `running stalled -> stopping, stop`. On the arrows stands `signal / effect`.

Numbers are not in the table. How many tries there are, how long a stall is, when an account opens or a reset is due:
`classify_*` compares, and `awm.toml` says.
"""
TASK = """\
From `queue` to one of the lists `completed`, `failed`, `skipped`, `blocked`. In between it has a live attempt, which is
launching until it is seen to run, stopping once it was asked to end, and ended when its result is there. A blocked task
waits for you; a removed one was taken out of the file by hand while it was live, and is in no list. After the last
strike the next attempt is an analysis, where an agent for it is configured: of it, `ended` has rows of its own."""
LOOP = """\
At work; at rest once the queue is done and the report is sent; or on its way through a session reset, which begins when
nothing is live and before anything else starts or is reported."""
CLOSABLE = """\
An account is closed from the limit it met until its deadline; no agent of it starts before. A project, or all of them
together, is closed while a budget is reached or its directory is gone; nothing of it starts."""
CALL = """\
A trigger that is due, or a request, offers a task until the state says that it was taken: queued, or passed over."""
SUBJECTS = {
    Phase.QUEUED: ("A task", TASK),
    Phase.CLOSED: ("An account, a project", CLOSABLE),
    Phase.ARMED: ("A call of a trigger", CALL),
    Phase.WORKING: ("The loop", LOOP),
}
SIGNALS = {
    Signal.READY: "it is due, and the account of an agent that can do it is open",
    Signal.TOO_EARLY: "the account's deadline is still to come, or what closed the project is not over",
    Signal.TOO_LATE: "it would not end within what is left of its window",
    Signal.ACCOUNT_CLOSED: "each agent that can do it has met a limit",
    Signal.OCCUPIED: "somebody works where it would, or in place beside it",
    Signal.UNFIT: "its spec cannot be used, no configured agent can do it, or no window is long enough for it",
    Signal.HINDERED: "a task it depends on failed, was skipped or is not there, or they depend on each other",
    Signal.HOMELESS: "the directory of its project is not there",
    Signal.OVERSPENT: "a budget of its project, or of all, is reached; of a live attempt, a hard one",
    Signal.AVAILABLE: "the budget is not reached any more, or the directory is there again",
    Signal.CALLED: "its trigger is due, or somebody asked",
    Signal.OVERLAPPING: "the last task of its trigger is not over, or there is a task with this id",
    Signal.MISSED: "it was due longer ago than its grace",
    Signal.BROKEN: "its trigger is in trouble: no spec, no project, a request that says nothing",
    Signal.UNSEEN: "the probe could not look",
    Signal.NEVER_BEGAN: "nobody tends it and its agent never began",
    Signal.HELD: "the same, while a person pauses",
    Signal.CANNOT_BEGIN: "it never began, after the last launch that is tried",
    Signal.STARTING: "a supervisor tends it, the agent has not begun",
    Signal.ALIVE: "a supervisor tends it, and nothing is wrong",
    Signal.LATE: "it passed twice its ETA, for the first time",
    Signal.STALLED: "no progress for `stall_minutes`; busy time counts a quarter",
    Signal.UNWANTED: "a person asked for its end (`awm stop`, `awm skip`, a hand edit)",
    Signal.UNATTENDED: "it began, its supervisor is gone and left no result",
    Signal.ENDED: "its result is there",
    Signal.SUCCEEDED: "it ended well, its gate passed, with the commit that was asked for, integrated",
    Signal.WORTH_RETRY: "failed, hollow or lost, with tries left",
    Signal.OUT_OF_TRIES: "the same, and it was the last try",
    Signal.STRUCK: "stalled or over its hard limit: strike 1 or 2",
    Signal.PUZZLING: "the same: the last strike, and an agent is there to analyse it",
    Signal.ADVISED: "its analysis says how to go on",
    Signal.STRUCK_OUT: "the last strike, and nobody to analyse it, or a stall after the analysis",
    Signal.GIVEN_UP: "its analysis says to skip it, or gave no answer",
    Signal.LIMITED: "its account met a limit",
    Signal.LIMITED_FOR_GOOD: "the same, with `retryOnRateLimit` off and no fallback open",
    Signal.REFUSED: "the login or the bill of its agent was refused",
    Signal.ASKED: "the agent asks a person",
    Signal.REBOOTED: "the machine was restarted while it ran",
    Signal.REBOOTED_TOO_OFTEN: "the same, for the sixth time",
    Signal.CALLED_OFF: "ended by `awm stop`",
    Signal.DISMISSED: "ended by `awm skip`",
    Signal.RECALLED: "ended as it was put back into the queue of the file, or for a hard budget",
    Signal.WITHDRAWN: "ended as it was taken out of the file",
    Signal.DUE: "the deadline is reached",
    Signal.FED: "there are tasks in the queue or live attempts",
    Signal.DRAINED: "there are none",
    Signal.FULL: "nothing is live, and a reset is due: so many sprints are done, or so much of the context is used",
    Signal.SAVED: "the memory file is written and the sessions are dropped",
    Signal.TOLD: "the fresh session was told",
}


def main(arguments: list[str]) -> int:
    """Write the file, or with --check compare it; returns the exit code."""
    named = [argument for argument in arguments if argument != "--check"]
    path = Path(named[0]) if named else CHECKOUT / "docs" / "STATE_MACHINE.md"
    text = document()
    if "--check" not in arguments:
        path.write_text(text, encoding="utf-8")
        return 0
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return 0
    print(f"{path} is stale; run: scripts/state_machine.py{f' {path}' if named else ''}", file=sys.stderr)
    return 1


def document() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for start, (title, about) in SUBJECTS.items():
        rows = [row for row in TABLE if row.phase in phases_from(start)]
        parts.append(f"## {title}\n\n{about}\n\n{picture(start, rows)}\n\n{table(rows)}\n")
    words = "\n".join(f"- `{signal}`: {SIGNALS[signal]}" for signal in Signal)
    return "\n".join([*parts, f"## The signals\n\n{words}\n"])


def phases_from(start: Phase) -> set[Phase]:
    """The phases of one subject: those that can be reached from its first."""
    found = {start}
    while more := {row.then for row in TABLE if row.phase in found} - found:
        found |= more
    return found


def picture(start: Phase, rows: list[Row]) -> str:
    """A Mermaid diagram of the moves; quiet rows are left out, rows with the same move share an arrow."""
    labels: dict[tuple[Phase, Phase], list[str]] = {}
    for row in rows:
        if not row.is_quiet:
            effect = f" / {row.do}" if row.do is not machine.Do.NOTHING else ""
            labels.setdefault((row.phase, row.then), []).append(f"{row.signal}{effect}")
    arrows = [f"    {phase} --> {then}: {', '.join(names)}" for (phase, then), names in labels.items()]
    left = {row.phase for row in rows}
    ends = [f"    {phase} --> [*]" for phase in Phase if phase in phases_from(start) - left]
    return "\n".join(["```mermaid", "stateDiagram-v2", f"    [*] --> {start}", *arrows, *ends, "```"])


def table(rows: list[Row]) -> str:
    """The rows in Markdown, with the remarks that stand beside them in the source."""
    lines = ["| phase | signal | then | effect | counts | notice | |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        words = ("" if word.value == "nothing" else word.value for word in (row.do, row.count, row.tell))
        cells = (row.phase, row.signal, row.then, *words, remarks()[row])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(re.sub(r" +\|", " |", line) for line in lines)


def remarks() -> dict[Row, str]:
    """The comment behind each row, "" where there is none: one row, one line of the source."""
    lines = re.findall(r"^    Row\(.*?\),(?: *# *(.*))?$", SOURCE.read_text(encoding="utf-8"), re.MULTILINE)
    return dict(zip(TABLE, lines, strict=True))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
