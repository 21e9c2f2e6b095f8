"""A supervisor leaves its service's control group, where somebody answers (SPEC 8.2): real groups, a manager of ours."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from awm_loop.attempt import scope

HOME, KEY = Path("/home/you/sprints"), "0a1b2c3d4e5f.1"
UNIT = f"{scope.home_name(HOME)}-{KEY}.scope"


def unified() -> Path | None:
    """Where control groups of version 2 are mounted."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return next((Path(where) for _, where, kind, *_ in mounts if kind == "cgroup2"), None)


@dataclass(frozen=True)
class Service:
    """A process in the control group of a service, and a manager: a `busctl` that is a shell script."""

    root: Path
    groups: Path
    process: subprocess.Popen[bytes]

    @property
    def asked(self) -> list[str]:
        path = self.root / "asked"
        return path.read_text().split() if path.exists() else []

    @property
    def place(self) -> str:
        """The last part of where the process is."""
        line = next(
            line for line in Path(f"/proc/{self.process.pid}/cgroup").read_text().splitlines() if line[:3] == "0::"
        )
        return Path(line).name

    def answers(self, answer: str) -> None:
        path = self.root / "busctl"
        path.write_text(f'#!/bin/sh\nPATH=/usr/bin:/bin\necho "$@" >> {self.root}/asked\n{answer}\n')
        path.chmod(0o755)

    def moved_into(self, name: str) -> str:
        """A shell command that moves the process there."""
        return f"echo {self.process.pid} > {self.groups / name}/cgroup.procs"


@pytest.fixture(params=["awm-test.service", "user@0.service/app.service"])
def service(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    mounted = unified()
    if mounted is None or os.getuid() != 0:
        pytest.skip("needs root and control groups of version 2, to put a process into one")
    groups = mounted / f"awm-scope-{os.getpid()}"
    with ExitStack() as stack, TemporaryDirectory() as folder, subprocess.Popen(["/bin/sleep", "300"]) as process:
        root = Path(folder)
        root.chmod(0o777)  # for a user too
        monkeypatch.setenv("PATH", folder)
        try:
            for group in (groups, groups / "user@0.service", groups / "user@0.service/app.service"):
                group.mkdir()
                stack.callback(group.rmdir)
            for name in ("awm-test.service", "moved.scope"):
                (groups / name).mkdir()
                stack.callback((groups / name).rmdir)
            found = Service(root, groups, process)
            subprocess.run(["/bin/sh", "-c", found.moved_into(request.param)], check=True)
            yield found
        finally:
            process.kill()
            process.wait()


def test_it_is_moved_and_that_is_waited_for(service: Service, request: pytest.FixtureRequest) -> None:
    """The answer may come before the move: an agent that is forked in between would stay behind (SPEC 8.2)."""
    service.answers(f"(sleep 0.2; {service.moved_into('moved.scope')}) &")

    scope.enter(HOME, KEY, service.process.pid)

    assert service.place == "moved.scope"
    whose = "--user" if "user@" in request.node.name else "--system"
    assert (service.asked[0], UNIT in service.asked, str(service.process.pid) in service.asked) == (whose, True, True)


@pytest.mark.parametrize("answer", ["exit 1", "exec sleep 300", "exit 0", "none"])
def test_without_an_answer_all_stays_as_it_was(service: Service, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that refuses, hangs, says yes and does nothing, or is not there: the session alone must do (SPEC 8.2)."""
    monkeypatch.setattr(scope, "PATIENCE_SECONDS", 0.2)
    if answer != "none":
        service.answers(answer)
    before, began_at = service.place, time.monotonic()

    scope.enter(HOME, KEY, service.process.pid)

    assert service.place == before
    assert time.monotonic() - began_at < 60


def test_nobody_is_asked_for_what_is_in_no_service_or_gone(service: Service) -> None:
    """A beat that a person or cron started needs no scope (SPEC 8.2)."""
    service.answers("exit 0")
    subprocess.run(["/bin/sh", "-c", service.moved_into("moved.scope")], check=True)

    scope.enter(HOME, KEY, service.process.pid)
    service.process.kill()
    service.process.wait()
    scope.enter(HOME, KEY, service.process.pid)

    assert service.asked == []


def test_a_user_asks_no_other_than_the_users_own(service: Service, request: pytest.FixtureRequest) -> None:
    """The system's would refuse, or have somebody type a password (SPEC 8.2)."""
    service.answers("exit 1")
    os.seteuid(65534)
    try:
        scope.enter(HOME, KEY, service.process.pid)
    finally:
        os.seteuid(0)

    assert service.asked[:1] == (["--user"] if "user@" in request.node.name else [])
