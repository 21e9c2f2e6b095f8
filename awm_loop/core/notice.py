"""The operator's messages, as text from values (SPEC 12.1). The started and completed forms are exact."""

from awm_loop.core import choice
from awm_loop.core.machine import Judged, Signal, Tell
from awm_loop.core.model import Advised, Attempt, Ended, Phase, Policy, Task, Work
from awm_loop.core.observation import SpecRead
from awm_loop.core.projects import ALL, found, waits

TEXT_CHARS_MAX = 200
OTHERS_SHOWN_MAX = 20  # tasks in one notice
ALWAYS_SENT = {  # SPEC 12.2
    Tell.AUTH, Tell.BLOCKED, Tell.FAILED, Tell.SKIPPED, Tell.STRUCK_OUT, Tell.BUDGET, Tell.PROJECT, Tell.TRIGGER,
    Tell.REPORT,
}  # fmt: skip
OPENED = "⚡ {agent} is available again."
BLOCKED = "✋ Sprint {task} is blocked — {why}. When that is mended: awm retry {task}"
ASKED = "✋ Sprint {task} is blocked — {why}\nAnswer it: awm answer {task} …    or, when it is mended: awm retry {task}"
HOMELESS = "✋ Project {project} waits — {why}. The others go on now"
BUDGET = "💰 Nothing new starts — {why}. What runs {then}"
TRIGGER = "⚠️ Trigger {trigger} could not queue its task — {why}"
RESET_DONE = "✅ Reset complete. Fresh session online."
MARKS = {Phase.COMPLETED: "✅", Phase.FAILED: "❌", Phase.SKIPPED: "⏭️", Phase.BLOCKED: "✋"}


def one_line(text: str) -> str:
    """The first line that says something, printable, short enough for a message, without its full stop."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    shown = "".join(character if character.isprintable() else " " for character in first)
    cut = shown if len(shown) <= TEXT_CHARS_MAX else shown[: TEXT_CHARS_MAX - 1] + "…"
    return cut if cut.endswith("..") else cut.removesuffix(".")


def display(agent: str, policy: Policy) -> str:
    """`Codex` for codex; the embedded agent, which has no name of its own, is `Shell`."""
    is_embedded = agent == "local" and agent in policy.agents and policy.agents[agent].kind == "shell"
    return "Shell" if is_embedded else agent[:1].upper() + agent[1:]


def minutes_text(seconds: float) -> str:
    """`8 min`, `under 1 min`."""
    return f"{round(seconds / 60)} min" if round(seconds / 60) else "under 1 min"


def counted(number: float, unit: str) -> str:
    """`1 attempt`, `2 hours`."""
    return f"{round(number)} {unit}{'s' if round(number) != 1 else ''}"


def roughly(seconds: float) -> str:
    """`~2 hours`, `~15 minutes`, `~4 seconds`: a wait, for people."""
    for unit, size, least in (("day", 86_400, 129_600), ("hour", 3_600, 5_400), ("minute", 60, 60)):
        if seconds >= least:
            return "~" + counted(seconds / size, unit)
    return "~" + counted(max(seconds, 1), "second")


def started(work: Work, attempt: Attempt, seen: SpecRead, policy: Policy) -> str:
    """SPEC 12.1, first form. `work` is the state in which the attempt is already live."""
    agent, eta, seconds = display(attempt.agent, policy), "unknown", attempt.eta_seconds
    if seconds is not None:
        length = "~" + counted(seconds / 60, "minute") if round(seconds / 60) else "under 1 min"
        eta = f"{length} (based on avg from metrics)" if seen.past else f"{length} (from the spec)"
    lists = (work.queue, work.attempts, work.completed, work.failed, work.skipped, work.blocked)
    nobody = "nothing that can start yet" if work.queue else "nothing, this is the last"
    return (
        f"🚀 Sprint {attempt.task} started — {attempt.title}\n"
        f"🤖 Model: {agent}{f' ({attempt.model})' if attempt.model else ''}\n⏱️ ETA: {eta}\n"
        f"📋 Next up: {' — '.join(seen.next_up or (nobody,))}\n"
        f"📊 Progress: {len(work.completed)}/{sum(map(len, lists))} sprints done"
    )


def blocked(work: Work, task_id: str, judged: Judged) -> tuple[str, list[str]]:
    """The notice, and which other tasks it names: of those that wait for the same one, one notice names all."""
    told, others = BLOCKED.format(task=task_id, why=one_line(judged.reason)), list[str]()
    if judged.signal is Signal.HINDERED:
        if work.task(task_id).reason == judged.reason:
            return "", []  # named by the notice of another one
        others = [other for other, why in waits(work).items() if why == judged.reason and other != task_id]
    more = ", ".join(others[:OTHERS_SHOWN_MAX]) + (" …" if len(others) > OTHERS_SHOWN_MAX else "")
    return told + (f"\nSo are: {more}" if others else ""), others


def budget(project_id: str, why: str, policy: Policy) -> str:
    """A budget that is reached, of a project or of all; a hard one ends what runs."""
    project = found(project_id, policy)
    is_hard = policy.bounds.is_hard if project_id == ALL else bool(project and project.bounds.is_hard)
    return BUDGET.format(why=why, then="is stopped" if is_hard else "goes on to its end")


def of_attempt(task: Task, attempt: Attempt, judged: Judged, policy: Policy) -> str:
    """What a live attempt or its end means, with a remark where there is one; `task` has its new counts."""
    remark = one_line(judged.result.remark) if judged.result else ""
    return _of_attempt(task, attempt, judged, policy) + (f"\n⚠️ {remark}" if remark else "")


def _of_attempt(task: Task, attempt: Attempt, judged: Judged, policy: Policy) -> str:
    why, result, sprint = one_line(judged.reason) or "no reason given", judged.result, f"Sprint {task.id}"
    match judged.signal:
        case Signal.LATE:
            return f"⏳ {sprint} is still running — past twice its ETA of {minutes_text(attempt.eta_seconds or 0)}"
        case Signal.SUCCEEDED if result:
            commit = f". Commit {result.commits[-1][:7]}" if result.commits else ""
            estimate = "" if attempt.eta_seconds is None else f" (est was {minutes_text(attempt.eta_seconds)})"
            what, took = one_line(result.summary) or attempt.title, minutes_text(result.seconds)
            if result.gate and result.gate.before:
                return f"✅ {sprint} COMPLETE — its gate was green already, no agent was started"
            return f"✅ {sprint} COMPLETE — {what}{commit}\n⏱️ Duration: {took}{estimate}"
        case Signal.WORTH_RETRY:
            wait = roughly(judged.not_before.left_seconds) if judged.not_before else "a moment"
            return f"🔁 {sprint}: try {task.tries} of {policy.retries_max + 1} did not work — {why}. Next in {wait}"
        case Signal.STRUCK:
            return f"⚠️ {sprint} stalled (strike {task.strikes} of {policy.strikes_max}) — {why}. Starting again"
        case Signal.PUZZLING:
            stalled = f"⚠️ {sprint} stalled (strike {task.strikes} of {policy.strikes_max}) — {why}"
            return f"{stalled}. {display(policy.analysis_agent, policy)} looks into it"
        case Signal.STRUCK_OUT | Signal.ADVISED | Signal.GIVEN_UP:
            times = f"{task.strikes} times" if task.strikes > 1 else "once"
            return f"⚠️ {sprint} stalled {times}. Root cause: {why}. Action: {_action(attempt, judged, policy)}"
        case Signal.LIMITED if result and judged.limited and judged.limited.deadline:
            resets = "Resets" if result.limit and result.limit.resets_at else "Retry"
            wait = roughly(judged.limited.deadline.left_seconds - policy.limit_margin_seconds)
            then = f"Falling back to {display(judged.agent.name, policy)}." if judged.agent else "Waiting."
            is_other = result.limit and result.limit.source == result.error  # no words of a limit: a gateway is away
            met = f"cannot work — {why}" if is_other else "rate limited"
            return f"⚡ {display(attempt.agent, policy)} {met}. {resets} in {wait}. {then}"
        case Signal.REFUSED:
            then = f"Falling back to {display(judged.agent.name, policy)}." if judged.agent else f"{sprint} waits."
            on = f"When that is mended: awm agents on {attempt.agent}"
            return f"🔑 {display(attempt.agent, policy)} is turned off — {why}. {then} {on}"
        case Signal.ASKED:
            return ASKED.format(task=task.id, why=why)
        case Signal.DISMISSED | Signal.RECALLED | Signal.WITHDRAWN:
            return f"⏭️ {sprint} skipped — {why}"
        case _:
            return f"❌ {sprint} failed — {why}"


def _action(attempt: Attempt, judged: Judged, policy: Policy) -> str:
    """What is done about a task that struck out (SPEC 7.4)."""
    advice = judged.result.advice if judged.result else None
    if advice is None:
        return "skipped, evidence kept"
    text = one_line(advice.text)
    return {
        Advised.RELAUNCH: f"started again, told: {text}",
        Advised.TAKEOVER: f"{display(attempt.agent, policy)} does it itself: {text}",
        Advised.SKIP: f"skipped — {text}",
    }[advice.action]


def standing(work: Work) -> str:
    """Where the work is, after a reset (SPEC 11.1)."""
    left = "".join(f"resuming with {one}, {len(work.queue)} in the queue" for one in choice.in_order(work)[:1])
    return f"📊 {len(work.completed)} done, {left or 'nothing left in the queue'}"


def report(work: Work, why: str) -> str:
    """The one message where nothing is left, or nothing that starts, and `why`; "" where there is nothing to say.

    Per task, by its present standing: outcome, time, attempts, cost and commit.
    """
    newest = {line.task: line for line in work.report}
    lines = [line for line in newest.values() if line.task in getattr(work, line.outcome.value)]
    done = sum(line.outcome is Phase.COMPLETED for line in lines)
    what = "All that can start is done" if work.queue else "Queue finished"
    head = f"🏁 {what} — {done} of {len(lines)} sprints completed"
    left = [f"✋ Waiting for you: {', '.join(work.blocked)}"] if work.blocked else []
    left += [f"⏸️ Still queued: {counted(len(work.queue), 'sprint')} — {one_line(why)}"] if work.queue else []
    return "\n".join((head, *map(_report_line, lines), *left)) if lines else ""


def _report_line(line: Ended) -> str:
    took, attempts = minutes_text(line.minutes_in_all * 60), counted(line.attempts, "attempt")
    cost = f", ${line.cost_usd:.2f}" if line.cost_usd is not None else ""
    why = f" — {line.notes}" if line.outcome is not Phase.COMPLETED and line.notes else ""
    end = f", commit {line.commit[:7]}" if line.commit else why
    return f"{MARKS[line.outcome]} {line.task} {line.outcome} — {took}, {attempts}{cost}{end}"
