"""What a night needs, each thing looked at and told as one finding. Nothing is written, and nothing costs.

A gate is not run: it may take minutes, change the project, and is red until the work is done. As `brew doctor` and
`borgmatic config validate` do, only what it needs is looked for: a shell that can parse it, and its programs.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from awm_loop import clock
from awm_loop.attempt import procfs
from awm_loop.cli import checking, standing, timers, waiting
from awm_loop.cli.look import BEAT_LATE_SECONDS
from awm_loop.cli.setting_up import CONFIG_NAME
from awm_loop.config import GATEWAY_KIND
from awm_loop.core import choice
from awm_loop.core.model import Work, task_key
from awm_loop.core.notice import counted
from awm_loop.core.project import DEFAULT_PROJECT
from awm_loop.errors import AwmError
from awm_loop.ports import Loaded
from awm_loop.store import metrics
from awm_loop.wiring import Home
from awm_loop.workspace import git, locks

LOGIN_PATH = "AWM_LOGIN_PATH"  # the PATH of the shell that asked for `--as-scheduler`, for the remedies
MIB = 1024 * 1024
FREE_BYTES_MIN = 200 * MIB  # docs/MEASURED.md: room for an attempt's logs and the state's history
FREE_INODES_MIN = 1000
GIT_LOCK_SECONDS_MAX = 60.0  # no honest git holds its index longer
CLOCK_BACK_SECONDS_MAX = 300.0
FAR = {"nfs", "cifs", "smb", "smb2", "v9fs", "afs", "ceph", "coda", "gfs/gfs2", "gpfs", "lustre", "ocfs2", "fuseblk"}


class Mark(StrEnum):
    """How bad it is: a problem cannot work, a warning may be meant."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, and what to do about it: "" where it is well."""

    mark: Mark
    what: str
    remedy: str = ""


def ok(what: str) -> Finding:
    return Finding(Mark.OK, what)


def warning(what: str, remedy: str) -> Finding:
    return Finding(Mark.WARNING, what, remedy)


def problem(what: str, remedy: str) -> Finding:
    return Finding(Mark.PROBLEM, what, remedy)


def findings(path: Path) -> Iterator[Finding]:
    """All there is to say of the home at `path`, whatever is wrong with its files."""
    yield from _machine()
    yield from _directory(path)
    home, loaded = None, None
    try:
        home = Home.open(path)
        yield ok(f"{path / CONFIG_NAME} can be read")
        loaded = home.store.load(clock.now())
    except AwmError as error:
        yield problem(error.message, error.hint)
    if home is not None:
        yield from _configured(home, home.project_path(loaded.work.project) if loaded else None)
    if home is not None and loaded is not None:
        yield from _work(home, loaded)
        yield from _project(home, loaded.work)
        yield from _leftovers(home, loaded.work)
    yield from _beaten(path)
    if home is not None and loaded is not None:
        yield _last_beat(home, loaded)


def _machine() -> Iterator[Finding]:
    yield ok(f"Python {platform.python_version()} ({sys.executable})")
    version = timers.said("git", "--version").strip()
    yield ok(version) if version else problem("there is no `git` on this PATH", "install git")
    if os.geteuid() == 0:
        remedy = "give AWM a user of its own, and chown home and project to it"
        yield warning("this is root: an agent may do anything to this machine", remedy)


def _directory(path: Path) -> Iterator[Finding]:
    if not path.is_dir():
        return  # told when it is opened
    state = path / "state"
    found = [(one, one.stat()) for one in (path, state) if one.is_dir()]
    if strange := [one for one, status in found if status.st_uid != os.geteuid()]:
        yield problem(f"{strange[0]} belongs to another user", f"run as that user, or: chown -R {os.geteuid()} {path}")
    elif path.stat().st_mode & stat.S_IWOTH:
        yield problem(f"{path}: anyone on this machine may change it", f"chmod o-w {path}")
    elif shut := [one for one in (path, state, state / "history") if _is_shut(one)]:
        yield problem(f"{shut[0]} cannot be written", f"ls -ld {shut[0]}; chmod u+rwx {shut[0]}")
    elif state.is_dir() and state.stat().st_mode & 0o077:
        yield warning(f"{state} can be read by others", f"chmod 700 {state}")
    else:
        yield ok(f"{path} is yours alone to change")
    kind = timers.said("stat", "-f", "-c", "%T", "--", str(path)).strip()
    if kind in FAR:
        yield problem(f"{path} is on {kind}, where locks may not hold", "move the home to a local disk")
    yield _space(path)


def _is_shut(path: Path) -> bool:
    """Whether what is there is no directory that we can write to; a link that leads nowhere is there."""
    return os.path.lexists(path) and not (path.is_dir() and os.access(path, os.W_OK | os.X_OK))


def _space(path: Path) -> Finding:
    disk = os.statvfs(path / "state" if (path / "state").is_dir() else path)
    free_bytes = disk.f_bavail * disk.f_frsize
    if free_bytes < FREE_BYTES_MIN:
        need = f"{FREE_BYTES_MIN // MIB} MiB are wanted"
        return problem(f"only {free_bytes // MIB} MiB free on the disk of {path}; {need}", f"make room: df -h {path}")
    if disk.f_files and disk.f_favail < FREE_INODES_MIN:
        return problem(f"only {disk.f_favail} inodes free on the disk of {path}", f"remove files: df -i {path}")
    return ok(f"{free_bytes // MIB} MiB free")


def _configured(home: Home, project: Path | None) -> Iterator[Finding]:
    """Agents and channels (SPEC 8.6, 12.2)."""
    for name, agent in home.config.agents.items():
        verdict = checking.Verdict()
        install = checking.check_agent(home, name, project, verdict)
        program = checking.program(agent)
        at = "a sub-agent of the gateway" if agent.kind == GATEWAY_KIND else shutil.which(program) or program
        remedy = _to_find(program, "awm.toml", install or "install it", "`awm install` takes that along, or ")
        yield from _of(verdict, f"agent {name}: {at}", remedy)
    verdict = checking.Verdict()
    checking.check_notify(home, verdict)
    notify = home.config.notify
    count = len(notify.urls) + bool(notify.command) + bool(home.config.openclaw.channel)
    well = f"{counted(count, 'channel')} besides the console; `awm doctor --notify` sends each a test"
    if not count:
        yield warning("nobody is told of the night: notices go to the console alone", "set [notify] in awm.toml")
    yield from _of(verdict, well if count else "", "correct [notify] in awm.toml; `env:` names are set in the unit")


def _of(verdict: checking.Verdict, well: str, remedy: str) -> Iterator[Finding]:
    yield from (problem(line, remedy) for line in verdict.problems)
    yield from (warning(line, remedy) for line in verdict.warnings)
    if well and not verdict.lines():
        yield ok(well)


def _to_find(program: str, place: str, install: str = "install it", how: str = "") -> str:
    """What to do about a program that is not on this PATH."""
    elsewhere = shutil.which(program, path=os.environ.get(LOGIN_PATH, ""))
    if elsewhere is None:
        return f"{install}, or write its whole path in {place}"
    return f"your shell finds {elsewhere}: {how}write that path in {place}"


def _work(home: Home, loaded: Loaded) -> Iterator[Finding]:
    """The state and the queued specs, as a beat would take them (SPEC 4.7, 5.1), and what stands in the way."""
    work, found = loaded.work, standing.standing(home, loaded.work)
    yield ok(f"{home.store.path}: {counted(found.queued_count, 'task')} queued, {len(work.attempts)} running")
    if found.loop == "paused":
        yield warning("the loop is paused: nothing new starts", "awm resume")
    for name, why in work.agents_off.items():
        yield warning(f"agent {name} is turned off: {why}", f"when that is mended: awm agents on {name}")
    if work.blocked:
        yield warning(f"blocked until you decide: {', '.join(work.blocked)}", f"awm why {work.blocked[0]}")
    for task_id in work.queue:
        verdict = checking.verdict(home, work, loaded.settings, [task_id])
        yield from (problem(line, f"mend that; `awm skip {task_id}` gives it up") for line in verdict.problems)
        spec_path = home.spec_path(work, task_id)
        yield from (warning(line, f"where it is not meant so: correct {spec_path}") for line in verdict.warnings)
    try:
        metrics.load(home.metrics_path)
    except AwmError as error:
        yield warning(f"{error.message}: no estimate is learnt from it", "mend it; else the next entry sets it aside")
    for channel in found.channels:
        if channel.get("problem"):
            what = f"{channel['channel']} did not take {counted(int(str(channel['waiting'])), 'notice')}"
            yield warning(f"{what}: {channel['problem']}", "correct [notify] in awm.toml; a beat tries again")
    yield from _gates(home, work)
    holder = _holder(home.store.directory / f"{home.store.path.name}.lock")
    if holder is not None and holder.state in "Tt":
        what = f"pid {holder.pid} holds the state's lock and is stopped by a signal: no beat gets on"
        yield problem(what, f"kill -CONT {holder.pid}")


def _holder(lock: Path) -> procfs.Process | None:
    """Who holds a flock, by the kernel's word; None where nobody does. Taking it to find out would disturb a beat."""
    try:
        status = lock.stat()
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    name = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    holders = [words[4] for words in map(str.split, lines) if words[1] == "FLOCK" and words[5] == name]
    return procfs.read(int(holders[0])) if holders else None


def _gates(home: Home, work: Work) -> Iterator[Finding]:
    """Of each distinct gate, whether a shell can parse it and its programs are found (SPEC 10.1)."""
    for gate in checking.gates(home, work):
        verdict = checking.Verdict()
        missing = checking.check_gate(gate, home.project_path(work.project), verdict)
        remedy = _to_find(missing, "the gate") if missing else "correct `Verify:` in the spec, or [project]"
        yield from (problem(line, remedy) for line in verdict.problems)
        yield from (warning(line, "correct the gate, unless a task is to make it") for line in verdict.warnings)
        if not verdict.lines():
            yield ok(f"gate `{gate}`: its programs are there")


def _project(home: Home, work: Work) -> Iterator[Finding]:
    """The directory agents work in: there, in git, with a name to commit under, and nobody at it (SPEC 10)."""
    project, loop = home.project_path(work.project), home.config.loop
    try:
        head = home.head(work, DEFAULT_PROJECT).head
        dirs = locks.git_dirs(project) if head is not None else None
        if head is None or dirs is None:
            what = f"{project} is no git repository: what agents change there cannot be told apart or taken back"
            yield warning(what, f"git -C {project} init")
            return
        is_apart = loop.isolation == "worktree" or (loop.isolation == "auto" and loop.max_parallel > 1)
        untracked = "--untracked-files=" + ("no" if is_apart else "normal")
        changed = (git.said(project, "status", "--porcelain", untracked) or "").splitlines()
    except AwmError as error:
        yield problem(error.message, error.hint)
        return
    old = [path for path in locks.tree_locks(dirs) if _age_seconds(path) > GIT_LOCK_SECONDS_MAX]
    if old:
        yield problem(f"{old[0]} was left by a git that is gone: no agent can commit", f"rm {old[0]}")
    is_named = _can_commit(project)
    if not is_named:
        remedy = "git config --global user.name …, and user.email"
        yield warning("git does not know whose a commit would be: agents cannot commit", remedy)
    if changed:
        what = f"{project} has {counted(len(changed), 'change')} not committed: "
        what += "work on the same files cannot be integrated" if is_apart else "agents will find, and may commit, that"
        yield warning(what, _to_put_away(project, changed))
    if is_named and not (old or changed):
        yield ok(f"{project} is ready to be worked in")


def _can_commit(project: Path) -> bool:
    """As the agents' git can, which reads the machine's configuration too, and sees nothing of this environment."""
    bare = [f"{name}={os.environ.get(name, '')}" for name in ("PATH", "HOME")]
    asked = ["git", "-c", "safe.directory=*", "-C", str(project), "var", "GIT_COMMITTER_IDENT"]
    return bool(timers.said("env", "-i", *bare, *asked))


def _to_put_away(project: Path, changed: Sequence[str]) -> str:
    """`changed` are lines of `git status --porcelain`."""
    stash = f"git -C {shlex.quote(str(project))} stash"
    is_any_new = any(line.startswith("??") for line in changed)  # which a bare `git stash` leaves
    return f"{stash} --include-untracked, or commit, or .gitignore" if is_any_new else f"{stash}, or commit"


def _age_seconds(path: Path) -> float:
    try:
        return clock.now().wall.timestamp() - path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def _leftovers(home: Home, work: Work) -> Iterator[Finding]:
    """What crashes and ended tasks left: harmless, but it fills the disk."""
    torn = [path for path in home.store.directory.glob(".*.tmp") if _age_seconds(path) > BEAT_LATE_SECONDS]
    if torn:
        what = f"{counted(len(torn), 'temporary file')} of writes that were killed"
        yield warning(what, f"a beat takes back what counts in them; after one: rm {torn[0].parent}/.*.tmp")
    kept = {task_key(task_id) for task_id in (*work.queue, *(attempt.task for attempt in work.attempts))}
    folder = home.path / "worktrees"
    over: list[Path] = []
    with suppress(OSError):  # there are none, or they are not ours to look at
        over = [path for path in folder.iterdir() if path.name not in kept]
    if over:
        remedy = f"look into them, then: git -C {home.project_path(work.project)} worktree remove {over[0]}"
        yield warning(f"{counted(len(over), 'worktree')} of tasks that are over", remedy)


def _beaten(path: Path) -> Iterator[Finding]:
    """Who beats it while nobody looks (SPEC 6.5)."""
    found = timers.of(path)
    active = [timer for timer in found if timer.is_active]
    if not found:
        yield warning("nothing beats this home by itself", "awm install; until then: awm run")
    elif not active:
        flag = "--user " if found[0].scheduler == "user" else ""
        is_job = found[0].scheduler == "openclaw"
        what = f"{found[0]} is there, but not active: nothing beats this home"
        yield warning(what, f"{'openclaw cron enable' if is_job else f'systemctl {flag}enable --now'} {found[0].unit}")
    for timer in active:
        program = next((word for word in timer.command if word.startswith("/")), "/")
        if not Path(program).exists():
            yield problem(f"{timer} runs {program}, which is not there", "awm install")
        elif timer.scheduler == "user" and not _lingers():
            yield warning(f"{timer} ends when you log out", "loginctl enable-linger")
        elif timer.scheduler == "cron" and not timers.said("pgrep", "-x", "cron|crond|fcron"):
            yield warning(f"{timer} beats this home, but no cron runs", "systemctl enable --now cron")
        else:
            yield ok(f"{timer} beats this home")


def _lingers() -> bool:
    return "yes" in timers.said("loginctl", "show-user", str(os.getuid()), "--property=Linger")


def _last_beat(home: Home, loaded: Loaded) -> Finding:
    """A beat with nothing new leaves no trace (SPEC 6.4); so one is missed only where it had something to do."""
    work, now = loaded.work, clock.now()
    first = next(iter(choice.in_order(work)), None)
    age_seconds = _age_seconds(home.store.path)
    age = standing.length_text(max(age_seconds, 0))
    if age_seconds < -CLOCK_BACK_SECONDS_MAX:
        behind = standing.length_text(-age_seconds)
        return warning(f"the clock is {behind} behind the last change of the state", "timedatectl")
    is_due = first is not None and not work.attempts and not waiting.waits(home, loaded, first, now)
    if is_due and age_seconds > BEAT_LATE_SECONDS:
        return problem(f"{first} is due, and no beat has come for {age}", "awm beat; is there a timer? awm install")
    return ok(f"no beat is missing: the state changed {age} ago")
