"""A machine for one test run: real systemd as pid 1 and real cron, in namespaces (docs/MEASURED.md 1).

Nothing of the machine outside is touched but one control group, made and removed here. Where the machine cannot do this,
`why_not` says why. Everything inside is ended by the kernel with its pid 1, and that with this process.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from home import PATIENCE_SECONDS, POLL_SECONDS, REPOSITORY, Home

from awm_loop.attempt.scope import home_name

BOOT = Path(__file__).with_name("boot.sh")
SYSTEMD = "/lib/systemd/systemd"
PROGRAMS = (
    "unshare",
    "nsenter",
    "setpriv",
    "systemctl",
    "systemd-analyze",
    "busctl",
    "loginctl",
    "dbus-daemon",
    "crontab",
    "cron",
    "useradd",
)
PROBE = """
set -eu
mount -t tmpfs none "$0"
cd "$0"
mkdir upper work new
mount -t overlay -o lowerdir=/,upperdir="$0/upper",workdir="$0/work" none new
mount -t sysfs -o ro sysfs new/sys
mount -t cgroup2 cgroup2 new/sys/fs/cgroup
chroot new "$1" -c ""
"""
SCHEDULERS_PATH = "/usr/local/bin:/usr/bin:/bin"


def unified_groups() -> Path | None:
    """Where control groups of version 2 are mounted."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        if line.split()[2] == "cgroup2":
            return Path(line.split()[1])
    return None


def why_not(directory: Path) -> str:
    """Why there can be no such machine here, "" where there can. `directory` is a temporary one."""
    if os.geteuid() != 0:
        return "only root can make the namespaces"
    missing = [
        name
        for name in (*PROGRAMS, SYSTEMD)
        if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None
    ]
    if missing:
        return f"there is no {', '.join(missing)}"
    groups = unified_groups()
    if groups is None or not os.access(groups, os.W_OK):
        return "no control groups of version 2 can be made"
    probe = ["unshare", "--mount", "--cgroup", "--net", "sh", "-c", PROBE, str(directory)]
    probe.append(os.path.realpath(sys.executable))  # it may lie on a mount of its own, which the overlay does not have
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    return f"what it is made of cannot be mounted or run: {done.stderr.strip()}" if done.returncode else ""


@dataclass(frozen=True)
class Said:
    """How a command inside ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Bed:
    """The running machine. `root` is a directory that is the same inside and outside."""

    root: Path
    pid: int

    def prefix(self, user: str = "root") -> tuple[str, ...]:
        """What runs a command inside, with the environment it is given."""
        inside = ("nsenter", "-t", str(self.pid), "-m", "-p", "-u", "-i", "-C", "-n", "-r", "-w")
        return (*inside, "setpriv", "--reuid", user, "--regid", user, "--init-groups")

    def run(self, *command: str, user: str = "root", **environment: str) -> Said:
        """Run a command inside, with nothing in its environment but what is named."""
        bare = {"PATH": SCHEDULERS_PATH + ":/usr/sbin", **environment}
        words = [f"{name}={value}" for name, value in bare.items()]
        done = subprocess.run(
            [*self.prefix(user), "env", "-i", *words, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def must(self, *command: str, user: str = "root", **environment: str) -> str:
        """Run a command that must end well; returns what it printed."""
        said = self.run(*command, user=user, **environment)
        assert said.code == 0, (command, said)
        return said.out.strip()

    def has(self, path: str) -> bool:
        return self.run("test", "-e", path).code == 0


@contextmanager
def booted(root: Path) -> Iterator[Bed]:
    """A machine that is up, and gone afterwards."""
    groups = unified_groups()
    assert groups is not None
    group = groups / f"awm-bed-{os.getpid()}"
    group.mkdir()
    root.chmod(0o755)
    namespaces = "--pid --fork --mount --cgroup --net --uts --ipc --kill-child"
    script = f'echo $$ > "$0" && exec setpriv --pdeathsig KILL unshare {namespaces} sh "$@"'
    arguments = [str(group / "cgroup.procs"), str(BOOT), str(root), str(REPOSITORY), sys.executable]
    log = root / "boot.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["sh", "-c", script, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield _up(root, process, log)
    finally:
        process.kill()
        process.wait()
        _remove(group)


def _up(root: Path, process: subprocess.Popen[bytes], log: Path) -> Bed:
    deadline = time.monotonic() + PATIENCE_SECONDS
    state = ""
    while state != "running":
        is_hopeless = process.poll() is not None or time.monotonic() > deadline
        assert not is_hopeless, f"{state}\n{log.read_text(errors='replace')}"
        select.select((), (), (), POLL_SECONDS)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if children and Path(f"/proc/{children[0]}/comm").read_text() == "systemd\n":
            bed = Bed(root, int(children[0]))
            state = bed.run("systemctl", "is-system-running").out.strip()
    return bed


def _remove(group: Path) -> None:
    """Everything in the group has been killed; the kernel takes a moment to see it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while group.exists():
        assert time.monotonic() < deadline, f"{group} is still in use"
        for directory in (*sorted(group.rglob("*/"), reverse=True), group):
            with suppress(OSError):
                directory.rmdir()
        select.select((), (), (), POLL_SECONDS)


@dataclass
class Sprints(Home):
    """A home inside the bed, of `user`, under a name that units and crontabs must quote."""

    bed: Bed = field(kw_only=True)
    owner: str = "root"

    @property
    def path(self) -> Path:
        return self.root / "my 100%home \"$HOME\" 'sprints'"

    @property
    def name(self) -> str:
        return home_name(self.path)

    @property
    def service(self) -> str:
        return f"{self.name}.service"

    @property
    def timer(self) -> str:
        return f"{self.name}.timer"

    @cached_property
    def uid(self) -> int:
        return int(self.bed.must("id", "-u", self.owner))

    def give(self) -> None:
        """What the test wrote belongs to the owner."""
        for path in (self.root, *self.root.rglob("*")):
            os.chown(path, self.uid, self.uid, follow_symlinks=False)

    def awm(self, *arguments: str, path: str = SCHEDULERS_PATH) -> Said:
        """`awm` as typed by the owner in a shell that has `path` and knows of no manager."""
        program = (sys.executable, "-m", "awm_loop.cli.main", "--home", str(self.path))
        environment = {"HOME": str(self.user), "PATH": path, "LANG": "C.UTF-8"}
        return self.bed.run(*program, *arguments, user=self.owner, **environment)

    def systemctl(self, *arguments: str) -> Said:
        """The owner's manager: the system's for root."""
        manager = "--user" if self.uid else "--system"
        runtime = f"/run/user/{self.uid}"
        return self.bed.run("systemctl", manager, *arguments, user=self.owner, XDG_RUNTIME_DIR=runtime)

    def property(self, unit: str, name: str) -> str:
        return self.systemctl("show", unit, f"--property={name}", "--value").out.strip()

    def drop_in(self, unit: str, text: str) -> None:
        """What `systemctl edit` would put beside a system unit."""
        directory = f"/run/systemd/system/{unit}.d"
        self.bed.must("sh", "-c", 'mkdir -p "$0" && printf "%s" "$1" > "$0/test.conf"', directory, text)
        self.bed.must("systemctl", "daemon-reload")

    def units(self) -> list[str]:
        """Every unit that bears a name of AWM, loaded or in a file."""
        listed = self.systemctl("list-units", "--all", "--plain", "--no-legend", "awm-*").out
        files = self.systemctl("list-unit-files", "--plain", "--no-legend", "awm-*").out
        return sorted({line.split()[0] for line in (listed + files).splitlines()})
