"""`awm agents probe NAME`: one small task for one agent, for real, in a repository that is thrown away."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import click

from awm_loop import gateway, terminal, trees
from awm_loop.attempt.directory import AttemptDirectory
from awm_loop.cli import look, steering, throwaway
from awm_loop.cli.pulse import pulse
from awm_loop.cli.queueing import AS_JSON, edit, wait_until_gone
from awm_loop.cli.setting_up import open_home
from awm_loop.config import GATEWAY_KIND, PROBE_MINUTES_MAX, AgentConfig, OpenClawConfig
from awm_loop.core.model import Outcome
from awm_loop.core.observation import Result
from awm_loop.errors import AwmError
from awm_loop.store.shape import iso
from awm_loop.wiring import Home

POLL_SECONDS = 0.2
SPEC = """\
# Sprint PROBE: A probe

Write a file probe.txt that holds the one word "probe", and commit it. Do nothing else.

```sh run
echo probe > probe.txt
git add probe.txt
git commit -qm "Add a probe"
```
"""


@click.command()
@click.argument("name")
@AS_JSON
@click.pass_context
def probe(context: click.Context, name: str, as_json: bool) -> None:
    """Give an agent one small task, for real, in a throw-away repository: two minutes at most. It may cost a cent.

    Your home is not touched: no limit that it meets is remembered, and one that is off stays off. Exit 1 if it fails.

    \b
    Example:  awm agents probe codex
    """
    config = open_home(context).config
    agents = config.agents
    if name not in agents:
        raise AwmError(f"there is no agent {name}", f"agents: {', '.join(sorted(agents))}")
    if agents[name].kind == GATEWAY_KIND and (trouble := gateway.of(config.openclaw).ready()) is not None:
        raise AwmError(trouble.text, "openclaw gateway run; `awm doctor` says more")
    if sys.stderr.isatty():
        click.echo(f"{name} is given a small task; Ctrl-C ends it", err=True)
    directory = Path(tempfile.mkdtemp(prefix="awm-probe-"))
    try:
        result = _tried(throwaway.home_in(directory, _config(name, agents[name], config.openclaw), {"PROBE": SPEC}))
    finally:
        with suppress(OSError):
            trees.remove(directory)
    told = _told(name, result)
    if as_json:
        look.print_json(told)
    else:
        for key, value in told.items():
            if value is not None:
                click.echo(f"{key:<10}{terminal.plain(str(value))}")
    context.exit(0 if result is not None and result.outcome is Outcome.SUCCEEDED else 1)


def _config(name: str, agent: AgentConfig, openclaw: OpenClawConfig) -> str:
    """An awm.toml with that agent alone; a TOML string is written as JSON writes it."""
    said = agent.model_dump(exclude_unset=True, exclude={"fallback", "roles", "account"})
    return "\n".join(
        [
            "[loop]",
            f"default_agent = {json.dumps(name)}",
            f"attempt_max_minutes = {PROBE_MINUTES_MAX}",
            "max_retries = 0",
            "strikes_max = 1",
            "[project]",
            'verify = "grep -qw probe probe.txt"',
            "[openclaw]",
            *_lines(openclaw.model_dump(exclude_unset=True)),
            f"[agents.{json.dumps(name)}]",
            *_lines(said),
        ]
    )


def _lines(said: Mapping[str, object]) -> list[str]:
    return [f"{key} = {json.dumps(value)}" for key, value in said.items()]


def _tried(home: Home) -> Result | None:
    """Beat until its one attempt has ended; None where it never began. Whoever leaves before takes the agent along."""
    directories = home.path / "state" / "attempts"
    try:
        ends_at = time.monotonic() + PROBE_MINUTES_MAX * 60 + home.config.loop.stop_grace_seconds + POLL_SECONDS
        while time.monotonic() < ends_at:
            pulse(home.store, home.ports())
            found = [result for path in directories.glob("*") if (result := AttemptDirectory(path).result())]
            if found:
                return found[0]
            time.sleep(POLL_SECONDS)
    finally:
        wait_until_gone(home, [attempt.key for attempt in edit(home, steering.stop).attempts])
    return None


def _told(name: str, result: Result | None) -> dict[str, object]:
    """What there is to say, for people and programs."""
    if result is None:
        return {"agent": name, "outcome": "lost", "error": "it never began: awm check says more"}
    limit = result.limit
    return {
        "agent": name,
        "outcome": result.outcome.value,
        "seconds": round(result.seconds, 1),
        "error": result.error or None,
        "limit": None if limit is None else iso(limit.resets_at) or limit.source,
        "summary": result.summary or None,
        "tokens": None if result.tokens is None else dict(result.tokens),
        "costUsd": result.cost_usd,
    }
