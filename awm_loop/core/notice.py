"""The operator's messages, as text from values (SPEC 12.1). The started and completed forms are exact."""

from __future__ import annotations

from collections.abc import Sequence

from awm_loop.core.model import Agent, Attempt, Ended, Phase, Work

SUMMARY_CHARS_MAX = 200
ALWAYS_SENT = frozenset({"blocked", "failed", "skipped", "struck_out", "report", "bad_state"})  # SPEC 12.2


def one_line(text: str) -> str:
    """The first line that says something, short enough for a message, without its full stop."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    cut = first if len(first) <= SUMMARY_CHARS_MAX else first[: SUMMARY_CHARS_MAX - 1] + "…"
    return cut.rstrip(".") if not cut.endswith("..") else cut


def display(agent: Agent) -> str:
    """`Codex` for codex; the embedded agent, which has no name of its own, is `Shell`."""
    name = "shell" if (agent.name, agent.kind) == ("local", "shell") else agent.name
    return name[:1].upper() + name[1:]


def minutes_text(seconds: float) -> str:
    """`8 min`, `under 1 min`."""
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes >= 1 else "under 1 min"


def roughly(seconds: float) -> str:
    """`~2 hours`, `~15 minutes`, `~4 seconds`: a wait, for people."""
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 1.5 * size or (unit == "minute" and seconds >= 60):
            count = round(seconds / size)
            return f"~{count} {unit}{'s' if count != 1 else ''}"
    count = max(round(seconds), 1)
    return f"~{count} second{'s' if count != 1 else ''}"


def eta_text(seconds: float | None, from_metrics: bool) -> str:
    if seconds is None:
        return "unknown"
    minutes = round(seconds / 60)
    length = f"~{minutes} minute{'s' if minutes != 1 else ''}" if minutes >= 1 else "under 1 min"
    return f"{length} (based on avg from metrics)" if from_metrics else f"{length} (from the spec)"


def started(work: Work, attempt: Attempt, agent: Agent, eta: str, next_up: tuple[str, str] | None) -> str:
    """SPEC 12.1, first form. `work` is the state in which the attempt is already live."""
    lists = (work.queue, work.attempts, work.completed, work.failed, work.skipped, work.blocked)
    upcoming = f"{next_up[0]} — {next_up[1]}" if next_up else "nothing, this is the last"
    return "\n".join(
        (
            f"🚀 Sprint {attempt.task} started — {attempt.title}",
            f"🤖 Model: {display(agent)}" + (f" ({agent.model})" if agent.model else ""),
            f"⏱️ ETA: {eta}",
            f"📋 Next up: {upcoming}",
            f"📊 Progress: {len(work.completed)}/{sum(len(part) for part in lists)} sprints done",
        )
    )


def completed(attempt: Attempt, summary: str, seconds: float, commit: str) -> str:
    """SPEC 12.1, second form."""
    what = one_line(summary) or attempt.title
    commit_part = f". Commit {commit[:7]}" if commit else ""
    estimate = f" (est was {minutes_text(attempt.eta_seconds)})" if attempt.eta_seconds is not None else ""
    return f"✅ Sprint {attempt.task} COMPLETE — {what}{commit_part}\n⏱️ Duration: {minutes_text(seconds)}{estimate}"


def report(lines: Sequence[Ended], work: Work) -> str:
    """The one message at the end of a queue: per task outcome, time, attempts, cost and commit."""
    done = sum(line.outcome is Phase.COMPLETED for line in lines)
    head = f"🏁 Queue finished — {done} of {len(lines)} sprints completed"
    left = f"\n✋ Waiting for you: {', '.join(work.blocked)}" if work.blocked else ""
    return head + "".join(f"\n{_report_line(line)}" for line in lines) + left


MARKS = {Phase.COMPLETED: "✅", Phase.FAILED: "❌", Phase.SKIPPED: "⏭️", Phase.BLOCKED: "✋"}


def _report_line(line: Ended) -> str:
    attempts = f", {line.attempts} attempt{'s' if line.attempts != 1 else ''}"
    cost = f", ${line.cost_usd:.2f}" if line.cost_usd is not None else ""
    end = f", commit {line.commit[:7]}" if line.commit else ""
    if line.outcome is not Phase.COMPLETED and line.notes:
        end = f" — {line.notes}"
    took = minutes_text(line.minutes_in_all * 60)
    return f"{MARKS[line.outcome]} {line.task} {line.outcome} — {took}{attempts}{cost}{end}"
