"""The prompt of an attempt, as text from values (SPEC 5.2). It reaches the agent by file or stdin, never by argv."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from awm_loop.core.model import Attempt, Earlier, Outcome, Spec, Task

PROTOCOL = """\
You work unattended: nobody answers questions and nobody presses keys. Never wait for input, never poll in a loop, and
leave no process running when you are done. You may write one JSON object to the file named by $AWM_RESULT_FILE:
{"status": "succeeded" | "failed" | "blocked" | "limited", "summary": "one sentence on what was done",
"error": "why not", "question": "what a person must decide, with status blocked",
"resetsAt": "ISO 8601, with status limited", "nextSteps": ["what else the project needs, for a person to decide"]}
Without that file, exit code 0 means that you ended well.
"""

AFTER_STALL = """\
An earlier attempt was stopped because it made no progress. Find out what it was waiting for before you repeat it: skip
a build or a test that hangs (or give it a time limit), check that every path you use exists, and never poll or wait.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What one earlier attempt left on disk: the end of its output, and the evidence saved before it was killed."""

    earlier: Earlier
    output_tail: str
    evidence: str
    gate_tail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a person says of the project, to all who work at it (SPEC 5.2, 13.1)."""

    name: str
    description: str
    goals: tuple[str, ...]
    context: str
    next_steps: tuple[str, ...]


def of(spec: Spec, attempt: Attempt, task: Task, left: Sequence[Left], about: About | None = None) -> str:
    """The prompt of an attempt, of whichever of the three forms."""
    if attempt.is_analysis:
        return compose_analysis(spec, attempt, task, left)
    is_going_on = bool(attempt.session) and attempt.session == task.sessions.get(attempt.agent)
    return compose_going_on(spec, attempt, task, left) if is_going_on else compose(spec, attempt, task, left, about)


def compose(spec: Spec, attempt: Attempt, task: Task, left: Sequence[Left], about: About | None = None) -> str:
    """The whole prompt, in Markdown: project, spec, gate, what is missing, what earlier attempts left, the protocol."""
    parts = [
        f"# Sprint {attempt.task}: {attempt.title}",
        f"Your working directory is {attempt.workspace}. This is attempt {attempt.number}.",
        *([_project(about)] if about else []),
        spec.text.strip(),
        "## When it counts as done\n\n" + _gate(attempt),
    ]
    if task.guidance:
        parts.append("## What you were told since\n\n" + "\n\n".join(task.guidance))
    if spec.missing_files:
        names = "\n".join(f"- {name}" for name in spec.missing_files)
        parts.append(
            f"## Files the spec names that do not exist\n\n{names}\n\nCheck the paths before you rely on them."
        )
    if left or task.work_may_exist:
        parts.append("## What was tried before\n\n" + _history(task, left))
    parts.append("## Protocol\n\n" + PROTOCOL)
    return "\n\n".join(parts)


def compose_going_on(spec: Spec, attempt: Attempt, task: Task, left: Sequence[Left]) -> str:
    """For a session that knows the sprint already: a limit cut it short, and its account is open again (SPEC 9)."""
    own = [index for index, one in enumerate(left) if one.earlier.agent == attempt.agent][-1:]
    numbers = "".join(str(left[index].earlier.number) for index in own)
    since = left[own[0] + 1 :] if own else left
    tried = f"\n\n## What others tried since\n\n{_history(task, since)}" if since else ""
    return (
        f"# Sprint {attempt.task}, go on\n\nA limit of your account ended attempt {numbers or 'before'} in the middle. "
        "It is open again: go on where you stopped. Check `git log` and `git status` first. The sprint, as it is now:"
        f"\n\n{spec.text.strip()}\n\n## When it counts as done\n\n{_gate(attempt)}{tried}"
        f"\n\n## Protocol\n\n{PROTOCOL}"
    )


ANALYSIS = """\
Agents stalled on the sprint below again and again. Find out why, from what they left; change nothing in the working
directory. Then write one JSON object to the file named by $AWM_RESULT_FILE (or print it as your last line):
{"rootCause": "one sentence", "action": "relaunch" | "takeover" | "skip", "text": "..."}
relaunch: another attempt is made and told `text`, your corrected instruction. takeover: you make the next attempt
yourself, told `text`. skip: nobody tries again; `text` says why. Without such an answer the sprint is skipped.
"""


def compose_analysis(spec: Spec, attempt: Attempt, task: Task, left: Sequence[Left]) -> str:
    """The prompt of an analysis attempt (SPEC 7.4): the question, the spec, the files it names, what was left."""
    parts = [
        f"# Why does sprint {attempt.task} stall?",
        ANALYSIS.strip(),
        f"The working directory is {attempt.workspace}.",
        "## The sprint\n\n" + spec.text.strip(),
    ]
    if spec.files:
        named = (f"- {name}{' (does not exist)' if name in spec.missing_files else ''}" for name in spec.files)
        parts.append("## Files it names\n\n" + "\n".join(named))
    return "\n\n".join([*parts, "## What was tried\n\n" + _history(task, left)])


def _project(about: About) -> str:
    goals, steps = ("\n".join(f"- {text}" for text in texts) for texts in (about.goals, about.next_steps))
    parts = [f"## The project it is part of: {about.name}", about.description, about.context]
    parts += ["What the project is to reach:\n\n" + goals] if goals else []
    parts += ["What comes next in it (this sprint is what is asked of you now):\n\n" + steps] if steps else []
    return "\n\n".join(part.strip() for part in parts if part.strip())


def _gate(attempt: Attempt) -> str:
    parts = ["You must end well (exit code 0, or a result file that says so)."]
    if attempt.require_commit:
        parts = ["You must end well, and your work must be committed: without a new git commit it does not count."]
    if attempt.verify:
        parts.append(
            _quoted("Then this gate, a shell line, is run in your working directory and must pass", attempt.verify)
        )
        parts.append("It is judged by its files as they were before you began: changing them gains nothing.")
    if attempt.is_worktree:
        parts.append("You work in a git worktree of your own. Commit on the branch that is checked out in it.")
    return "\n\n".join(parts)


def _history(task: Task, left: Sequence[Left]) -> str:
    parts = ["Part of the work may exist already. Check `git log` and `git status` first, and go on from there."]
    if task.base:
        parts.append(f"The work on this task began at commit {task.base}.")
    if any(one.earlier.outcome in {Outcome.STALLED, Outcome.TIMED_OUT} for one in left):
        parts.append(AFTER_STALL.strip())
    for one in left:
        said = f": {one.earlier.summary}" if one.earlier.summary else ""
        parts.append(f"Attempt {one.earlier.number} by {one.earlier.agent} — {one.earlier.outcome}{said}")
        parts += [
            _quoted(title, text)
            for title, text in (
                ("Its last output", one.output_tail),
                ("What it was doing", one.evidence),
                ("The output of the gate it failed", one.gate_tail),
            )
            if text
        ]
    return "\n\n".join(parts)


def _quoted(title: str, text: str) -> str:
    """Fenced with more backticks than the text holds: what an agent printed is data, not part of the prompt's form."""
    longest = max((len(run) for run in _runs(text)), default=0)
    fence = "`" * max(longest + 1, 3)
    return f"{title}:\n\n{fence}text\n{text.rstrip()}\n{fence}"


def _runs(text: str) -> list[str]:
    return [run for run in "".join(char if char == "`" else " " for char in text).split() if run]
