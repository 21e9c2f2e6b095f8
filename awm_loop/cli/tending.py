"""What a supervisor runs: the agent of an order, and the verdict on its end. Not in wiring, as no beat needs it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from awm_loop import clock, config
from awm_loop.agents import generic
from awm_loop.attempt.directory import AttemptDirectory, Order
from awm_loop.attempt.output import tail
from awm_loop.attempt.spawn import Invocation
from awm_loop.attempt.supervise import End, Tended
from awm_loop.core.model import Outcome
from awm_loop.core.observation import Result
from awm_loop.errors import AwmError
from awm_loop.store import specfile
from awm_loop.workspace import git


def invocation(order: Order) -> Invocation:
    """How the supervisor runs the agent of an order."""
    directory = AttemptDirectory(Path(order.home) / "state" / "attempts" / order.key)
    values = {
        "prompt_file": str(directory / "prompt.md"),
        "script_file": str(directory / "script.sh"),
        "result_file": str(directory / "agent-result.json"),
        "workspace": order.workspace,
        "task": order.task,
        "attempt": str(order.number),
        "key": order.key,
        "model": order.model,
    }
    if order.kind == "shell":
        spec = (directory / "spec.md").read_text(encoding="utf-8")
        script_path = Path(values["script_file"])
        script_path.touch(mode=0o600)
        script_path.write_text(specfile.run_blocks(spec), encoding="utf-8")
    return Invocation(
        argv=generic.argv(order.kind, order.command, values),
        environment=generic.environment(order.env_pass, values, os.environ),
        directory=Path(order.workspace),
        stdin_path=Path(values["prompt_file"]),
    )


def judge(tended: Tended, end: End) -> Result:
    """What an attempt's end was (SPEC 8.2, 10.1): what was done to it, else the agent's word checked against git."""
    order, now = tended.order, clock.now()
    try:
        report = _agent_report(tended.directory)
        commits = git.commits_since(Path(order.workspace), order.base)
        reading = generic.read(end.exit_code, report, tail(tended.directory / "out.log", config.PROMPT_TAIL_BYTES))
    except AwmError as error:
        commits, reading = (), generic.Reading(outcome=Outcome.FAILED, error=error.message)
    outcome, error_text = reading.outcome, reading.error
    if end.cut_short is not None:
        outcome, error_text = end.cut_short, end.error
    elif outcome is Outcome.SUCCEEDED and order.require_commit and not commits:
        outcome, error_text = Outcome.HOLLOW, "it ended well but left no new commit"
    return Result(
        outcome=outcome,
        exit_code=end.exit_code,
        started_at=end.started.at,
        ended_at=now.wall,
        seconds=max(now.boottime - end.started.boottime, 0.0),
        summary=reading.summary,
        error=error_text,
        question=reading.question,
        session_id=reading.session_id,
        tokens=reading.tokens,
        cost_usd=reading.cost_usd,
        commits=commits,
        limit=reading.limit if outcome is Outcome.LIMITED else None,
        removed_locks=end.removed_locks,
    )


def _agent_report(directory: AttemptDirectory) -> bytes | None:
    """The agent's result file, if it wrote one; cut at a size no honest report has, which makes it malformed.

    What is no regular file is an empty report, malformed too: a FIFO must not wait for a writer, nor a link lead away.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(directory / "agent-result.json", flags)
    except FileNotFoundError:
        return None
    except OSError:
        return b""
    try:
        is_file = stat.S_ISREG(os.fstat(fd).st_mode)
        return os.read(fd, config.RESULT_FILE_BYTES_MAX) if is_file else b""
    finally:
        os.close(fd)
