"""The installed timer under real systemd, as pid 1 of a machine in namespaces (SPEC 1.1, 6.5, 8.2; docs/decisions/0005).

One boot for all of them, a minute and a half together. Where the machine cannot do that they are skipped, and say why.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from bed import Bed, Sprints
from home import is_running, only

SprintsOf = Callable[[str], Sprints]
RULES = "/etc/polkit-1/rules.d/00-bed.rules"
REFUSE_LINGER = "polkit.addRule(function(what) { if (/linger/.test(what.id)) { return polkit.Result.NO; } });"
IN_GROUP = "[Service]\nKillMode=control-group\n"
SLOWLY = IN_GROUP + 'Environment="PATH={bin}:/usr/bin:/bin"\n'
NO_BUS = '[Service]\nEnvironment="DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nowhere"\n'


def installed(sprints: Sprints) -> None:
    said = sprints.awm("install", "--systemd")
    assert said.code == 0, said


def waiting_task(sprints: Sprints, task: str) -> Path:
    """A spec whose agent says which control group it is in, and waits for the file that is returned."""
    go = sprints.root / f"go-{task}"
    group = f"echo group $(sed -n s/^0:://p /proc/self/cgroup) >> {sprints.truth_path}"
    sprints.spec(task, sprints.work(f"{group}\nuntil [ -e {go} ]; do sleep 0.1; done"))
    return go


def groups(sprints: Sprints) -> list[str]:
    """The control groups that agents said they were in, without the slices above."""
    return [line[1].rpartition("/")[2] for line in sprints.truth() if line[0] == "group"]


def scopes(sprints: Sprints) -> list[str]:
    return [unit for unit in sprints.units() if unit.endswith(".scope")]


def test_the_installed_timer_works_the_queue_off(sprints_of: SprintsOf) -> None:
    """SPEC 1.1, 8.2: after `awm install` nobody does anything more: root's timer, a user's; agents in their own scope."""
    both = [sprints_of("root"), sprints_of("you")]
    for sprints in both:
        waiting_task(sprints, "S1").touch()
        waiting_task(sprints, "S2").touch()
        sprints.queue("S1", "S2")
        sprints.give()
        said = sprints.awm("install")
        assert (said.code, said.out.splitlines()[-1]) == (0, f"systemd: {sprints.name}: a beat every minute")
    for sprints in both:
        worked_off(sprints)


def worked_off(sprints: Sprints) -> None:
    sprints.wait_for(lambda: sprints.is_idle, seconds=100)
    again = sprints.awm("install")

    key = sprints.truth()[0][2]
    told = [line[:2] for line in sprints.truth() if line[0] != "group"]
    assert told == [("begin", "S1"), ("end", "S1"), ("begin", "S2"), ("end", "S2")]
    assert groups(sprints) == [f"{sprints.name}-{key}.scope"] * 2
    assert sprints.state()["completed"] == ["S1", "S2"]
    assert (again.code, again.out) == (0, f"systemd: {sprints.name}: up to date\n")
    assert f" {sprints.timer} beats this home\n" in sprints.awm("doctor").out
    sprints.wait_for(lambda: not scopes(sprints))
    assert sprints.units() == sorted([sprints.service, sprints.timer])


@pytest.mark.parametrize("drop_in", [IN_GROUP, SLOWLY, NO_BUS], ids=["in a scope", "slowly in a scope", "without one"])
def test_agents_outlive_the_one_shot_its_stop_and_a_reexec(sprints_of: SprintsOf, drop_in: str) -> None:
    """SPEC 8.2: a scope alone keeps them, whatever the service's KillMode; without one, `KillMode=process` does."""
    sprints = sprints_of("root")
    slow = sprints.root / "bin" / "busctl"
    slow.parent.mkdir()
    slow.write_text('#!/bin/sh\nsleep 1\nexec /usr/bin/busctl "$@"\n')
    slow.chmod(0o755)
    go = waiting_task(sprints, "S1")
    sprints.queue("S1")
    sprints.give()
    sprints.drop_in(sprints.service, drop_in.format(bin=slow.parent))
    installed(sprints)

    sprints.systemctl("start", sprints.service)
    sprints.wait_for(lambda: groups(sprints))
    agent = only(sprints.agents())
    ended = [sprints.systemctl("stop", sprints.service).code, sprints.systemctl("daemon-reexec").code]
    sprints.systemctl("start", sprints.service)

    expected = sprints.service if drop_in == NO_BUS else only(scopes(sprints))
    assert (ended, groups(sprints), sprints.agents()) == ([0, 0], [expected], [agent])
    assert is_running(agent)
    go.touch()
    sprints.wait_for(lambda: sprints.is_idle)
    assert (sprints.begun(), sprints.state()["completed"]) == (["S1"], ["S1"])


def test_a_kick_during_a_run_is_not_lost(sprints_of: SprintsOf) -> None:
    """SPEC 6.5: `systemctl start` is merged into a beat that runs and lost; a beat that is kicked leaves a mark."""
    sprints = sprints_of("root")
    sprints.config('[loop]\nmax_parallel = 2\nisolation = "worktree"\n')
    waiting_task(sprints, "S1")
    waiting_task(sprints, "S2")
    sprints.queue("S1")
    sprints.give()
    fault = f"at=pulse.beat:after do=stop log={sprints.root}/faults"
    sprints.drop_in(sprints.service, f'[Service]\nEnvironment="AWM_FAULT={fault}"\n')
    installed(sprints)
    sprints.systemctl("stop", sprints.timer)

    sprints.systemctl("start", "--no-block", sprints.service)
    sprints.wait_for(lambda: sprints.begun() == ["S1"] and (sprints.root / "faults").exists())
    specs = {task: str(sprints.root / f"SPRINT_{task}_SPEC.md") for task in ("S1", "S2")}
    sprints.edit(lambda state: state.update(queue=["S2"], specFiles=specs))
    kicks = [sprints.systemctl("start", "--no-block", sprints.service).code, sprints.heartbeat().code]
    sprints.bed.must("kill", "-CONT", sprints.property(sprints.service, "MainPID"))

    sprints.wait_for(lambda: sprints.begun() == ["S1", "S2"])
    assert (kicks, [line for line in sprints.truth() if line[0] == "end"]) == ([0, 0], [])


def test_ten_starts_in_ten_seconds_are_none_too_many(sprints_of: SprintsOf) -> None:
    """docs/MEASURED.md 1: systemd's default refuses the sixth start in ten seconds, and the timer stops with it."""
    sprints = sprints_of("root")
    sprints.queue()
    sprints.give()
    installed(sprints)

    codes = [sprints.systemctl("start", sprints.service).code for _ in range(10)]

    assert (codes, sprints.property(sprints.service, "Result")) == ([0] * 10, "success")
    assert sprints.property(sprints.timer, "ActiveState") == "active"


def test_a_beat_missed_while_the_machine_was_off_is_made_up_for(sprints_of: SprintsOf) -> None:
    """SPEC 1.4: a late beat is only late. The stamp is three years old, and the timer cut down to once a year."""
    sprints = sprints_of("root")
    sprints.spec("S1")
    sprints.queue("S1")
    sprints.give()
    stamp = f"/var/lib/systemd/timers/stamp-{sprints.timer}"
    sprints.bed.must("sh", "-c", f"mkdir -p /var/lib/systemd/timers && touch --date='3 years ago' {stamp}")
    sprints.drop_in(sprints.timer, "[Timer]\nOnBootSec=\nOnCalendar=yearly\n")

    installed(sprints)

    sprints.wait_for(lambda: sprints.begun() == ["S1"])


@pytest.mark.parametrize("owner", ["root", "you"])
def test_uninstall_leaves_nothing_but_the_running_agents(sprints_of: SprintsOf, owner: str) -> None:
    """What `awm install` put anywhere is gone, stamp and links too; the agent works on to its end."""
    sprints = sprints_of(owner)
    go = waiting_task(sprints, "S1")
    sprints.queue("S1")
    sprints.give()
    before = files(sprints.bed)
    installed(sprints)
    sprints.systemctl("start", sprints.service)
    sprints.wait_for(lambda: groups(sprints))
    agent = only(sprints.agents())

    said, again = sprints.awm("uninstall"), sprints.awm("uninstall")

    assert (said.code, files(sprints.bed), sprints.units()) == (0, before, scopes(sprints)), said
    assert (again.code, again.out, again.err) == (0, f"{sprints.name}: nothing is installed\n", "")
    assert sprints.agents() == [agent]
    go.touch()
    sprints.wait_for(lambda: sprints.is_idle)
    sprints.wait_for(lambda: not sprints.units())


def test_what_is_half_installed_is_taken_off_whole(sprints_of: SprintsOf) -> None:
    """An install may be killed between its two files: that systemd does not know the timer is no reason to stop."""
    sprints = sprints_of("you")
    installed(sprints)
    timer = sprints.service.replace(".service", ".timer")
    sprints.systemctl("disable", "--now", timer)
    sprints.bed.must("rm", f"/home/you/.config/systemd/user/{timer}")
    sprints.systemctl("daemon-reload")

    said = sprints.awm("uninstall")

    left = [path for path in files(sprints.bed) if sprints.name in path and "/stamp-" not in path]  # that one is said
    assert (said.code, left) == (0, []), said


def files(bed: Bed) -> list[str]:
    """Every file and link where systemd and its users' managers keep anything."""
    places = ["/etc/systemd", "/var/lib/systemd", "/home/you", "/var/spool/cron"]
    return sorted(bed.must("find", *places, "-type", "f", "-o", "-type", "l").splitlines())


def test_a_refused_linger_is_said_and_the_rest_is_done(sprints_of: SprintsOf) -> None:
    """docs/decisions/0005: without lingering the user's manager ends at logout, and takes timer and agents along."""
    sprints = sprints_of("you")
    sprints.bed.must("sh", "-c", 'mkdir -p "${0%/*}" && printf %s "$1" > "$0"', RULES, REFUSE_LINGER)
    sprints.bed.must("loginctl", "disable-linger", "you")
    sprints.bed.must("systemctl", "start", f"user@{sprints.uid}.service")
    sprints.wait_for(lambda: sprints.systemctl("is-system-running").out == "running\n")

    said, root = sprints.awm("install"), sprints.bed.run("loginctl", "enable-linger", "you")
    again = sprints.awm("install")

    warning = "the timer and its agents end when you log out; have root run: loginctl enable-linger you"
    assert (said.code, said.err.startswith(f"warning: {warning} (")) == (0, True), said
    assert sprints.property(sprints.timer, "ActiveState") == "active"
    assert (root.code, again.out, again.err) == (0, f"systemd: {sprints.name}: up to date\n", "")


def test_without_systemd_nothing_is_written_and_cron_is_named(sprints_of: SprintsOf) -> None:
    """A user who has no manager is told what to type; without a flag it is cron."""
    sprints = sprints_of("daemon")
    before = files(sprints.bed)

    said, chosen = sprints.awm("install", "--systemd"), sprints.awm("install", "--dry-run")

    assert (said.code, said.out) == (78, "")
    assert said.err == "awm: no systemd manager answers `systemctl --user show`\nhint: awm install --cron\n"
    assert chosen.out.splitlines()[-1] == (
        f"cron, as no systemd manager answers: {sprints.name}: a dry run: nothing was done"
    )
    assert files(sprints.bed) == before
