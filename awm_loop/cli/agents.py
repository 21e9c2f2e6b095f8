"""`awm agents`: who works, whether they may, how well they do; and how AWM reads what a CLI said (SPEC 7.6, 9)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import IO, Any

import click

from awm_loop import clock, terminal
from awm_loop.agents import kinds, verdict
from awm_loop.agents.reading import Reading
from awm_loop.attempt.output import CHUNK_BYTES, Lines
from awm_loop.cli import look, standing, steering
from awm_loop.cli.probing import probe
from awm_loop.cli.queueing import AS_JSON, edit
from awm_loop.cli.setting_up import open_home
from awm_loop.config import CLIS
from awm_loop.core import choice
from awm_loop.core.model import Agent, Instant, Outcome, Work
from awm_loop.store import metrics
from awm_loop.store.shape import iso
from awm_loop.wiring import agents_of


@click.group(invoke_without_command=True)
@AS_JSON
@click.pass_context
def agents(context: click.Context, as_json: bool) -> None:
    """Who may work, whose account is closed, how well they do.

    \b
    Examples:  awm agents
               awm agents on codex
               awm agents probe codex
               awm agents read claude --line "5-hour limit reached ∙ resets 5am"
    """
    if context.invoked_subcommand is not None:
        return
    home, now = open_home(context), clock.now()
    loaded = home.store.load(now)
    figures: Mapping[str, Any] = metrics.summary_json(home.metrics_path)["agents"]
    found = [_told(agent, loaded.work if loaded else None, now) for agent in agents_of(home.config).values()]
    for one in found:
        known = figures.get(str(one["name"]), {})
        one |= {"successRate": known.get("successRate"), "medianMinutes": known.get("medianMinutes")}
    if as_json:
        look.print_json(found)
        return
    for line in _table(found, now.wall):
        click.echo(terminal.plain(line))


def _told(agent: Agent, work: Work | None, now: Instant) -> dict[str, object]:
    told: dict[str, object] = {"name": agent.name, "kind": agent.kind, "account": agent.account}
    off = work.agents_off.get(agent.name) if work else None
    closed = choice.closed_until(work, agent.account, now) if work else None
    if off is not None:
        return told | {"state": "off", "until": None, "reason": off}
    if work is None or closed is None:
        return told | {"state": "open", "until": None, "reason": None}
    return told | {
        "state": "limited",
        "until": iso(closed.until),
        "reason": work.accounts[agent.account].source or None,
    }


def _table(found: list[dict[str, object]], now: datetime) -> list[str]:
    """Aligned columns, with what to type below those that are off."""
    heads = ["AGENT", "KIND", "ACCOUNT", "STATE", "SUCCESS", "MEDIAN"]
    rows = [[*(str(one[key]) for key in ("name", "kind", "account", "state")), *_figures(one)] for one in found]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = []
    for one, cells in zip([None, *found], [heads, *rows], strict=True):
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        if one is not None and one["until"]:
            line += f"  opens {standing.wait_text(str(one['until']), now)}"
        if one is not None and one["state"] == "off":
            line += f"  {one['reason']}; when that is mended: awm agents on {one['name']}"
        lines.append(line)
    return lines


def _figures(one: Mapping[str, object]) -> tuple[str, str]:
    rate, minutes = one["successRate"], one["medianMinutes"]
    return (
        "-" if rate is None else f"{rate} %",
        standing.length_text(minutes * 60) if isinstance(minutes, int | float) else "-",
    )


@agents.command("on")
@click.argument("name")
@AS_JSON
@click.pass_context
def turn_on(context: click.Context, name: str, as_json: bool) -> None:
    """Let an agent work again that was turned off for its login or its bill.

    \b
    Example:  awm agents on codex
    """
    home = open_home(context)
    edit(home, partial(steering.turn_on, name=name, known=sorted(home.config.agents)))
    if as_json:
        look.print_json({"agent": name, "state": "open"})
    else:
        click.echo(f"{name} is on again; the next beat may start it")


agents.add_command(probe)


@agents.command("read")
@click.argument("kind", type=click.Choice(CLIS), metavar="KIND")
@click.option("--stdout", "out", type=click.File("rb"), help="What it printed; - for ours.")
@click.option("--stderr", "err", type=click.File("rb"), help="What it printed there.")
@click.option("--exit-code", type=click.IntRange(-255, 255), help="How it ended; else 0, and 1 with --line.")
@click.option("--line", metavar="TEXT", help="One error line of it, without the rest.")
@click.option("--at", metavar="ISO", help="When it was said; else now. Times without a date count from there.")
@AS_JSON
def read(kind: str, as_json: bool, **given: Any) -> None:
    """How AWM reads what a CLI said: nothing is run, and no home is needed.

    KIND is claude, codex, gemini, opencode, aider or openclaw. A wording that AWM does not know is worth a report.

    \b
    Examples:  awm agents read codex --stdout out.jsonl --exit-code 1
               awm agents read claude --line "You've hit your limit · resets 3pm"
    """
    out, err, exit_code, line = (given[name] for name in ("out", "err", "exit_code", "line"))
    at = _instant(given["at"]) if given["at"] is not None else clock.now().wall
    if line is not None:
        if out or err:
            raise click.UsageError("--line stands alone: without --stdout and --stderr")
        reading = verdict.failed(line, at, Reading(outcome=Outcome.FAILED))
    elif not out and not err and exit_code is None:
        raise click.UsageError("nothing to read: --stdout FILE, --stderr FILE, --exit-code N or --line TEXT")
    else:
        reading = _read(kind, out, err, exit_code or 0, at)
    if as_json:
        look.print_json(_json_of(reading))
        return
    for label, text in _lines(reading):
        click.echo(f"{label:<10}{terminal.plain(text)}")


def _instant(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)  # without a zone, of the local one
    except (ValueError, OverflowError) as error:
        raise click.UsageError(f"--at {text}: not a time of ISO 8601, as 2026-01-01T00:00:00Z") from error


def _read(kind: str, out: IO[bytes] | None, err: IO[bytes] | None, exit_code: int, at: datetime) -> Reading:
    """As the supervisor does, but that all comes at once: stderr last, for a wait is told there and nothing follows it.

    Where it would have ended the program, what the program said of its own end is better unless it is a mere failure.
    """
    reader = kinds.kind(kind).reader()
    stuck: Reading | None = None
    for file, hear in ((out, reader.out), (err, reader.err)):
        for text in _texts(file):
            hear(text, at)
            stuck = stuck or reader.stuck()
    reading = reader.end(exit_code, at)
    return stuck if stuck and reading.outcome is Outcome.FAILED else reading


def _texts(file: IO[bytes] | None) -> Iterator[str]:
    lines = Lines()
    while file is not None and (chunk := file.read(CHUNK_BYTES)):
        yield from lines.feed(chunk)
    yield from lines.close()


def _json_of(reading: Reading) -> dict[str, object]:
    limit = reading.limit
    return {
        "outcome": reading.outcome.value,
        "limit": None if limit is None else {"resetsAt": iso(limit.resets_at), "source": limit.source},
        "sessionId": reading.session_id or None,
        "tokens": None if reading.tokens is None else dict(reading.tokens),
        "costUsd": reading.cost_usd,
        "summary": reading.summary or reading.error or None,
    }


def _lines(reading: Reading) -> list[tuple[str, str]]:
    """For people: what there is."""
    limit = reading.limit
    resets = (iso(limit.resets_at) or "at no stated time") + f" ({limit.source})" if limit else ""
    spent = ", ".join(f"{count:,} {what}" for what, count in (reading.tokens or {}).items())
    told = {
        "outcome": standing.outcome_text(reading.outcome.value),
        "resets": resets,
        "error": reading.error,
        "summary": reading.summary,
        "session": reading.session_id,
        "tokens": spent,
        "cost": "" if reading.cost_usd is None else f"${reading.cost_usd:.4f}",
    }
    return [(label, text) for label, text in told.items() if text]
