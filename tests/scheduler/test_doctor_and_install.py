"""`awm doctor` sees what `awm install` put there, under real systemd and cron, in a home whose name must be quoted."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from bed import Sprints

PROGRAM = "my-agent"


def told(sprints: Sprints, *options: str) -> list[str]:
    """What a doctor finds as the owner in a shell whose PATH has the agent's program."""
    said = sprints.awm("doctor", "--json", *options, path=f"{sprints.root}/bin:/usr/bin:/bin")
    return [finding["what"] for finding in json.loads(said.out)["findings"]]


@pytest.mark.parametrize(
    ("owner", "scheduler", "timer"),
    [
        ("root", "--systemd", "systemd timer {timer}"),
        ("you", "--systemd", "systemd user timer {timer}"),
        ("you", "--cron", "a line of the crontab"),
    ],
)
def test_the_doctor_takes_the_installed_timers_place(
    sprints_of: Callable[[str], Sprints], owner: str, scheduler: str, timer: str
) -> None:
    """Issue 4: what only the login PATH has is missing before the installation, and found after it."""
    sprints = sprints_of(owner)
    program = sprints.root / "bin" / PROGRAM
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    sprints.config(f'[agents.mine]\nkind = "command"\ncommand = ["{PROGRAM}"]\n')
    sprints.queue(active=False)
    sprints.give()

    before = told(sprints, "--as-scheduler")
    said = sprints.awm("install", scheduler, path=f"{sprints.root}/bin:/usr/bin:/bin")
    after = told(sprints, "--as-scheduler")

    name = timer.format(timer=sprints.timer)
    assert said.code == 0, said
    bare = "as cron, as no timer is found (`awm install` gives its own a longer PATH): PATH=/usr/bin:/bin"
    assert before[0] == bare
    assert {f"agents.mine.command: `{PROGRAM}` is not on this PATH", "nothing beats this home by itself"} <= {*before}
    assert after[0].startswith(f"as {name}: PATH=")
    assert f"agent mine: {program}" in after
    assert next(what for what in after if what.startswith(name)).startswith(f"{name} beats this home")
