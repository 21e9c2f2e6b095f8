"""The course of an attempt (SPEC 8.2, 10): workspace, gate, agent, gate, integration. In prose it is `course`, below.

A stage is a process, which the supervisor watches and can end; git calls in between are short. What is done here is
recorded; what it means for the task is the table's business. Not in wiring, as no beat needs it.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from awm_loop import clock, config, fault
from awm_loop.agents.reading import Reading
from awm_loop.attempt.directory import AttemptDirectory, Order
from awm_loop.attempt.output import tail
from awm_loop.attempt.spawn import Invocation
from awm_loop.attempt.stage import End, Stage, Tended
from awm_loop.attempt.supervise import Course, marker
from awm_loop.cli import attend, calling
from awm_loop.core.model import Outcome, attempt_key
from awm_loop.core.observation import GateSeen, Result
from awm_loop.durable import disk_trouble
from awm_loop.errors import AwmError, DiskError
from awm_loop.workspace import gatefiles, git, integration, worktree


def first(order: Order) -> Invocation | None:
    """What a beat may start itself: the agent, where nothing has to be made ready before it. Raises DiskError."""
    calling.make_ready(order)  # always: what the disk refuses is refused before the start
    return None if order.is_worktree or order.verify or attend.left_to(order) else calling.invocation(order)


def restore(directory: AttemptDirectory) -> None:
    """Put back the gate files that attempts of this task left swapped when their supervisor died."""
    order = directory.order()
    if order is not None:
        for saved in directory.path.parent.glob(f"{directory.of_task}.*/gate-files"):
            gatefiles.swap_out(Path(order.workspace), saved)


@dataclass(slots=True)
class _Found:
    """What the stages of one attempt have shown so far."""

    end: End
    reading: Reading = field(default_factory=lambda: Reading(outcome=Outcome.FAILED))
    gate: GateSeen | None = None
    remarks: list[str] = field(default_factory=list)
    removed_locks: list[str] = field(default_factory=list)

    def result(self, order: Order, outcome: Outcome, error: str = "", question: str = "") -> Result:
        now, reading = clock.now(), self.reading
        try:
            commits = _commits(order)
        except AwmError as trouble:
            commits = ()
            self.remarks.append(f"its commits are not known: {trouble.message}")
        return Result(
            outcome=outcome,
            exit_code=self.end.exit_code,
            started_at=self.end.started.at,
            ended_at=now.wall,
            seconds=max(now.boottime - self.end.started.boottime, 0.0),
            summary=reading.summary,
            error=error,
            question=question or reading.question,
            session_id=reading.session_id,
            tokens=reading.tokens,
            cost_usd=reading.cost_usd,
            commits=commits,
            gate=self.gate,
            limit=reading.limit if outcome is Outcome.LIMITED else None,
            context_share=reading.context_share,
            next_steps=reading.next_steps,
            remark="; ".join(self.remarks),
            removed_locks=tuple(self.removed_locks),
        )


def course(tended: Tended) -> Course:
    """An attempt from its workspace to its result. Trouble with git or the workspace fails it, saying so."""
    order = tended.order
    found = _Found(_nothing_run(tended))
    try:
        if tended.child is None:  # else the agent runs, and all that comes before it is done
            ended = yield from _up_to_the_agent(tended, found)
            if ended is not None:
                return ended
        found.end, found.reading = yield from calling.run_agent(tended)
        found.removed_locks += found.end.removed_locks
        if order.is_analysis:
            return _answered(tended, found)
        if found.end.cut_short or found.reading.outcome is not Outcome.SUCCEEDED:
            return _ended(order, found, found.reading.error)
        return (yield from _accepted(tended, found))
    except AwmError as error:
        return found.result(order, Outcome.FAILED, error.message)


def _up_to_the_agent(tended: Tended, found: _Found) -> Generator[Stage, End, Result | None]:
    """Workspace and gate before the agent. A result where it is over without one."""
    order = tended.order
    restore(tended.directory)
    for left in attend.left_to(order):
        attend.call_off(left)
    if order.is_worktree:
        found.end = yield from _made_ready(tended)
        if found.end.exit_code or found.end.cut_short:
            return _ended(order, found, f"`prepare` failed: {_last_line(tended.directory / 'prepare.log')}")
    if order.verify:
        names = gatefiles.named(order.verify, order.gate_files, Path(order.workspace))
        fault.point("tending.gate-files:before-keep")
        gatefiles.keep(Path(order.workspace), names, _kept(order))
        fault.point("tending.gate-files:kept")
    if order.verify and order.gate_first:
        found.end = yield _gate(order, "gate-before")
        if found.end.cut_short not in {None, Outcome.TIMED_OUT}:
            return _ended(order, found, "")
        if found.end.exit_code == 0 and found.end.cut_short is None:
            found.gate = GateSeen(passed=True, before=True)  # SPEC 10.2: no agent is started, no commit needed
            return (yield from _accepted(tended, found))
    return None


def _nothing_run(tended: Tended) -> End:
    started = tended.directory.marker() or marker()
    return End(exit_code=0, cut_short=None, error="", started=started, removed_locks=())


def _made_ready(tended: Tended) -> Generator[Stage, End, End]:
    """The task's worktree, prepared. Half of it done by one who was killed is done again."""
    order, end = tended.order, _nothing_run(tended)
    path = Path(order.workspace)
    with disk_trouble(path.parent):
        path.parent.mkdir(mode=0o700, exist_ok=True)
    if path.exists():  # a killed attempt's: a merge or rebase it was in the middle of is undone now
        with suppress(AwmError):
            worktree.salvage(path, f"{_salvage_ref(order)}-before")
    if worktree.ensure(Path(order.project), path, _branch(order), _start(tended)):
        _ready_path(order).unlink(missing_ok=True)
    if _ready_path(order).exists():
        return end
    for line in order.prepare:
        end = yield _shell(order, line, "prepare", None)
        if end.exit_code or end.cut_short:
            return end
    fault.point("tending.prepare:before-ready")
    with disk_trouble(_ready_path(order)):
        _ready_path(order).touch(mode=0o600)
    fault.point("tending.prepare:ready")
    return end


def _start(tended: Tended) -> str:
    """The commit a missing branch begins with: the task's base, or where its work was integrated before."""
    order, directory = tended.order, tended.directory
    integrated = directory.path.parent.glob(f"{directory.of_task}.*/integrated")  # by one killed before its result
    # An attempt before the gate was taken belongs to another run of the task: `awm retry` takes it anew.
    if any(int(path.parent.name.rpartition(".")[2]) >= order.gate_number for path in integrated):
        return git.tip(Path(order.project), f"refs/heads/{order.branch}") or order.base or ""
    return order.base or ""


def _ended(order: Order, found: _Found, error: str) -> Result:
    """What did not come to an acceptable end; in a worktree its uncommitted work is kept safe (SPEC 10.3)."""
    if order.is_worktree:
        _salvage(order, found)
    if found.end.cut_short is not None:
        return found.result(order, found.end.cut_short, found.end.error)
    outcome = found.reading.outcome
    return found.result(order, Outcome.FAILED if outcome is Outcome.SUCCEEDED else outcome, error)


def _answered(tended: Tended, found: _Found) -> Result:
    """SPEC 7.4: an analysis is worth its answer."""
    order, advice = tended.order, calling.advice(tended, found.reading)
    if found.end.cut_short is not None:
        return found.result(order, found.end.cut_short, found.end.error)
    if advice is None:
        return found.result(order, found.reading.outcome, found.reading.error)
    found.reading = Reading(outcome=Outcome.SUCCEEDED)
    return replace(found.result(order, Outcome.SUCCEEDED), advice=advice)


def _accepted(tended: Tended, found: _Found) -> Generator[Stage, End, Result]:
    """The agent says it is done. Where git cannot be asked whether it is, it has not failed: a person has to see."""
    try:
        return (yield from _proved(tended, found))
    except DiskError:
        raise
    except AwmError as error:
        question = f"{error.message} ({error.hint})" if error.hint else error.message
        return found.result(tended.order, Outcome.BLOCKED, error.message, question)


def _proved(tended: Tended, found: _Found) -> Generator[Stage, End, Result]:
    """The commit, the gate, the integration say whether the work is done (SPEC 10.1)."""
    order = tended.order
    if order.require_commit and found.gate is None and not _commits(order):
        return found.result(order, Outcome.HOLLOW, "it ended well but left no new commit")
    if order.is_worktree and _salvage(order, found):
        fault.point("tending.clean:before")
        worktree.clean(Path(order.workspace))  # what is judged is what will be integrated
    failed = yield from _judged(tended, found)
    for _ in range(config.INTEGRATIONS_MAX):
        if failed is not None or not order.is_worktree:
            break
        path, project = Path(order.workspace), Path(order.project)
        match integration.integrate(path, project, order.branch, _integration_lock(project)):
            case integration.Integrated():
                result = found.result(order, Outcome.SUCCEEDED)
                fault.point("tending.integrated:before-remove")
                with suppress(OSError):
                    (tended.directory / "integrated").touch(mode=0o600)  # before the branch goes: see `_start`
                worktree.remove(project, path, _branch(order))
                fault.point("tending.integrated:removed")
                _ready_path(order).unlink(missing_ok=True)
                return result
            case integration.Refused(reason=reason):
                return _left_on_branch(order, found, reason)
            case integration.Behind():
                conflict = integration.rebase(path, order.branch)
                if conflict is not None:
                    return _left_on_branch(order, found, conflict)
                failed = yield from _judged(tended, found)
    else:
        return _left_on_branch(
            order, found, f"{order.branch} moved {config.INTEGRATIONS_MAX} times while it was to be integrated"
        )
    return failed or found.result(order, Outcome.SUCCEEDED)


def _left_on_branch(order: Order, found: _Found, reason: str) -> Result:
    """Finished and not integrated: a person merges its branch, or has the task done again on top of what there is."""
    question = (
        f"{reason}. Its work is on {_branch(order)}: merge that and `awm skip {order.task}`, or have it done again"
    )
    return found.result(order, Outcome.BLOCKED, reason, question)


def _judged(tended: Tended, found: _Found) -> Generator[Stage, End, Result | None]:
    """Run the gate, judged by its files at the base (SPEC 10.2). None where there is none, or it passed."""
    order, saved = tended.order, tended.directory / "gate-files"
    if not order.verify:
        return None
    changed = tuple(map(git.printable, gatefiles.swap_in(Path(order.workspace), _kept(order), saved)))
    begun = clock.now()
    try:
        fault.point("tending.gate:before")
        found.end = yield _gate(order, "gate")
        fault.point("tending.gate:after")
    finally:
        gatefiles.swap_out(Path(order.workspace), saved)
    end, found.removed_locks = found.end, [*found.removed_locks, *found.end.removed_locks]
    if end.cut_short not in {None, Outcome.TIMED_OUT}:
        return _ended(order, found, "")
    passed = end.exit_code == 0 and end.cut_short is None
    was_green = found.gate is not None and found.gate.before
    seconds = clock.now().boottime - begun.boottime
    found.gate = GateSeen(passed=passed, before=was_green, seconds=seconds, changed=changed)
    if changed:
        mend = "" if passed else ". Is that its task? Then let `**Gate-files:** tests/` name the judge instead"
        what = f"it changed its own gate ({', '.join(changed)}), and was judged by the version before"
        found.remarks.append(f"{what}{mend}")
    if passed:
        return None
    how = f"exit code {end.exit_code}" if end.cut_short is None else end.error
    said = _last_line(tended.directory / "gate.log")
    return found.result(order, Outcome.HOLLOW, f"the gate failed ({how}){': ' + said if said else ''}")


def _gate(order: Order, name: str) -> Stage:
    return _shell(order, order.verify, name, order.gate_seconds)


def _shell(order: Order, line: str, name: str, limit_seconds: float | None) -> Stage:
    """The owner's shell line, in the workspace and the agent's environment."""
    environment = calling.environment(order)
    run = Invocation(
        argv=["sh", "-c", line],
        environment=environment,
        directory=Path(order.workspace),
        stdin_path=Path(os.devnull),
    )
    return Stage(invocation=run, name=name, limit_seconds=limit_seconds)


def _salvage(order: Order, found: _Found) -> bool:
    """Keep what is not committed in the worktree (SPEC 10.3); True where there was something."""
    ref = _salvage_ref(order)
    try:
        commit = worktree.salvage(Path(order.workspace), ref)
    except AwmError as error:
        found.remarks.append(f"its uncommitted work stays in {order.workspace}: {error.message}")
        return False
    if commit is not None:
        found.remarks.append(f"its uncommitted work is kept: git show {ref}")
    return commit is not None


def _salvage_ref(order: Order) -> str:
    return f"refs/awm/salvage/{git.ref_name(order.task)}/{order.number}"


def _branch(order: Order) -> str:
    return f"awm/{git.ref_name(order.task)}"


def _ready_path(order: Order) -> Path:
    """Says, beside a worktree, that it was prepared to the end."""
    return Path(f"{order.workspace}.ready")


def _kept(order: Order) -> Path:
    """Where the gate files of a task are kept as they were when its gate was taken."""
    return Path(order.home) / "state" / "gates" / attempt_key(order.task, order.gate_number)


def _integration_lock(project: Path) -> Path:
    """One for all homes that work on the project."""
    common = git.said(project, "rev-parse", "--path-format=absolute", "--git-common-dir")
    return Path(common or project / ".git") / "awm-integration.lock"


def _commits(order: Order) -> tuple[str, ...]:
    return git.commits_since(Path(order.workspace), order.base)


def _last_line(path: Path) -> str:
    lines = [line.strip() for line in tail(path, config.PROMPT_TAIL_BYTES).splitlines() if line.strip()]
    return lines[-1] if lines else ""
