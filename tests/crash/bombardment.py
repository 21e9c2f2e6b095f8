"""Real beats, supervisors and agents, killed and paused at the points of `awm_loop.fault`; the truth is the agents' own.

    ./scripts/bombard --runs 2000 --jobs 2        prints the table; exit 1 where a guarantee did not hold

One run is a home of its own with one or two short tasks, or more as the plan needs. Under fire, `heartbeat.py` is invoked again and again, often
twice at once, and each process it starts may die or wait at any point. Then calm: beats without faults until the queue
is done. What happened is judged by what the agents wrote and by what is on disk, not by what AWM thinks (SPEC 15).
"""

from __future__ import annotations

import argparse
import json
import random
import re
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from home import PATIENCE_SECONDS, REPOSITORY, Home, lock_holder
from plan import OUTLASTING, Plan
from warm import Warm

from awm_loop import clock
from awm_loop.cli.replaying import difference
from awm_loop.store import recording
from awm_loop.triggers import inbox
from awm_loop.wiring import Home as Wired

GROUP = 6  # points that one run strikes
BEATS_MAX = 7  # under fire
EAGER_SECONDS = 2.5
POLL_SECONDS = 0.03
TIMER_SECONDS = 2.0  # between two beats of the calm, unless all rests
ATTEMPTS_SEEN_MAX = 100  # numbers whose fate is drawn beforehand
TASKS_MAX = 20
CALLING = 0.2
WATCHED = "w-"  # how the tasks of the trigger begin
DOUBLE = 0.3
POINT = re.compile(r'fault\.point\("([^"]+)"\)')
# Their supervisor lives on, and each agent it ever starts would die again.
IN_CHILDREN = {"spawn.agent:before-exec", "spawn.spare:waits"}
PAUSING = "seed=0 pause=1 pause_seconds=0.001"
WHERE_BUSY = {"pulse.busy:before-mark", "pulse.busy:marked", "store.mark:before-leave", "store.mark:left"}
PRELUDES = {  # what must have been struck before a point is passed at all, by the beginning of its name
    "abandoned.": "supervise.agent:begun",
    "attempt.look:no-result": "supervise.agent:begun",
    "beat.redo:": "beat.effect:before",
    "launch.stop:": "supervise.agent:begun",
    "store.catch-up:": "store.save:before-journal",
    "unfinished.": "integration.move:noted",
}
IN_WORKTREES = ("gatefiles.", "integration.", "supervise.stage:", "tending.", "unfinished.", "worktree.")
GUARANTEES = ("started twice", "two at once", "lost", "good result ignored", "other")
ENDED_WELL = {0, -signal.SIGKILL}
WARM = Warm()


def points() -> list[str]:
    """The names of all points, from the source."""
    sources = sorted((REPOSITORY / "awm_loop").rglob("*.py"))
    return [name for path in sources for name in POINT.findall(path.read_text(encoding="utf-8"))]


def drawn(seed: int) -> Plan:
    """The plan of a random run."""
    chance = random.Random(seed)
    worktrees = chance.random() < 0.2
    groups = sorted({name.partition(".")[0] for name in points()})
    among = chance.choice(groups) if chance.random() < 0.5 else ""
    return Plan(
        seed=seed,
        tasks=chance.choice((2, 4, 6) if worktrees else (1, 1, 2)),
        kill=chance.choice((0.05, 0.2, 0.4) if among else (0.005, 0.01, 0.03)),
        among=among,
        pause=chance.choice((0.0, 0.05, 0.2, 0.5)),
        retries=1 if chance.random() < 0.15 else 1000,
        worktrees=worktrees,
        eager=chance.random() < 0.4,
        told=chance.random() < 0.15,
        resets=chance.random() < 0.15,
        cold=chance.random() < 0.15,
        recalls=not worktrees and chance.random() < 0.15,
        rival=worktrees and chance.random() < 0.5,
    )


@dataclass(frozen=True)
class Verdict:
    """What a run showed. `broken` holds the guarantee of GUARANTEES and how it was broken."""

    plan: Plan
    broken: tuple[tuple[str, str], ...]
    struck: Counter[str]  # "point mode"
    beats: int
    starts: int
    story: str
    names: tuple[str, ...] = ()  # the points that were to be struck

    @property
    def again(self) -> str:
        return self.names[-1] if self.names else str(self.plan.seed)


@dataclass
class Run:
    """One home under fire, then calm."""

    home: Home
    plan: Plan
    tasks: list[str] = field(default_factory=list)
    beats: int = 0
    ended: int = 0  # processes that the run itself killed
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        plan, home = self.plan, self.home
        loop = f"max_retries = {plan.retries}\nstrikes_max = 1000\nretry_backoff_seconds = [0]\nstop_grace_seconds = 0.05\n"
        if plan.worktrees:
            loop += 'isolation = "worktree"\nmax_parallel = 2\n[project]\nprepare = ["true"]\n'
        else:
            loop += "require_commit = false\n"
        if plan.told:
            loop += f"[notify]\ncommand = [{json.dumps(home.agent(f'cat >> {self.told_path}'))}]\n"
        home.config(f"[loop]\n{loop}")
        if plan.worktrees:
            for number in range(1, TASKS_MAX):
                (home.project / f"check-T{number}.sh").write_text(f"touch gate-ran; test -f out-T{number}\n")
            home.git("add", ".")
            home.git("commit", "-q", "-m", "gates")
        home.queue(maxRetries=plan.retries, **{"autoNewAfterSprints": 2} if plan.resets else {})
        self._watch()
        for _ in range(plan.tasks):
            self.add()

    def _watch(self) -> None:
        """A trigger of a file, which `change` fires."""
        spec = self.home.path / "WATCH.md"
        spec.write_text(f"# Watched\n\n```sh run\n{self._script('watched')}\n```\n")
        trigger = {"id": "w", "type": "file", "trigger": "watched/*", "spec": str(spec), "debounceSeconds": 0}
        (self.home.path / "state" / "triggers.json").write_text(json.dumps({"version": 1, "triggers": [trigger]}))
        (self.home.project / "watched").mkdir()
        (self.home.project / ".git" / "info" / "exclude").write_text("watched/\n")
        self.change()

    def change(self) -> None:
        (self.home.project / "watched" / "file").write_text(str(time.monotonic_ns()))

    def request(self) -> None:
        """One task more, through the inbox."""
        task = f"T{len(self.tasks) + 1}"
        spec = self.home.path / f"{task}.md"
        spec.write_text(f"# Sprint {task}: Asked for\n\n```sh run\n{self._script(task)}\n```\n")
        inbox.write_request(self.home.path, {"spec": str(spec), "id": task})
        self.tasks.append(task)

    def add(self) -> None:
        """One task more, by hand."""
        task = f"T{len(self.tasks) + 1}"
        header = f"**Verify:** sh check-{task}.sh\n**Gate-files:** check-{task}.sh" if self.plan.worktrees else ""
        path = self.home.spec(task, self._script(task), header=header)
        self.tasks.append(task)
        self.home.edit(lambda state: (state["queue"].append(task), state["specFiles"].update({task: str(path)})))

    def _script(self, task: str) -> str:
        """An agent that tells the truth; it holds a lock as long as anything of its tree lives."""
        plan, truth = self.plan, self.home.truth_path
        chance = random.Random(f"{plan.seed} {task}")
        failing = [str(number) for number in range(1, ATTEMPTS_SEEN_MAX) if chance.random() < plan.failing]
        company = f"{self.home.root}/live" + (".$AWM_TASK" if plan.worktrees else "")
        lines = [
            f"exec 9>>{company}",
            f'flock -n 9 || echo "double $AWM_TASK $AWM_ATTEMPT" >> {truth}',
            f'echo "begin $AWM_TASK $AWM_ATTEMPT $$" >> {truth}',
            f'[ -z "${{AWM_FAULT-}}" ] || echo "inherited $AWM_TASK $AWM_ATTEMPT" >> {truth}',
            f"sleep {chance.choice(plan.sleeps)}",
        ]
        if chance.random() < plan.straggling:
            lines.insert(3, "setsid -f sleep 60")
        if failing:
            lines.append(f"case ${{AWM_ATTEMPT##*.}} in {'|'.join(failing)}) exit 1;; esac")
        if plan.worktrees:
            lines += [
                "echo $AWM_ATTEMPT > out-$AWM_TASK; echo '#' >> check-$AWM_TASK.sh",
                'git add out-$AWM_TASK check-$AWM_TASK.sh; git commit -q -m "$AWM_TASK"; touch left-over',
            ]
        if plan.rival:
            lines.append(f"git -C {self.home.project} commit -q --allow-empty -m rival || :")
        return "\n".join([*lines, f'echo "end $AWM_TASK $AWM_ATTEMPT" >> {truth}'])

    @property
    def log_path(self) -> Path:
        return self.home.root / "faults"

    @property
    def told_path(self) -> Path:
        return self.home.root / "told"

    def struck(self) -> list[str]:
        """What the fault points did, as "point mode"."""
        with suppress(FileNotFoundError):
            return self.log_path.read_text().splitlines()
        return []

    # The two phases

    def under_fire(self) -> None:
        """Beats of which each process may die or wait at any point."""
        plan, chance = self.plan, random.Random(f"{self.plan.seed} fire")
        self.fault(f"seed={plan.seed} among={plan.among} kill={plan.kill} pause={plan.pause}")
        gaps = (0, 0.02, 0.05) if plan.eager else (0, 0, 0.1, 0.3)
        over_at = time.monotonic() + EAGER_SECONDS
        left = chance.randrange(2, BEATS_MAX)
        while left > 0 or (plan.eager and time.monotonic() < over_at):
            left -= 1
            self.beat(2 if chance.random() < DOUBLE else 1)
            if plan.recalls and chance.random() < 0.5:
                self.home.edit(_recall)
            if not plan.worktrees and chance.random() < CALLING:
                chance.choice((self.change, self.request))()
            select.select((), (), (), chance.choice(gaps))
            if self.home.is_idle:
                break

    def fault(self, setting: str) -> None:
        """Let what is started from now on meet faults: a form of `awm_loop.fault` without its log; "" for none."""
        self.home.environment.pop("AWM_FAULT", None)
        if setting:
            self.home.environment["AWM_FAULT"] = f"{setting} log={self.log_path}"

    def beat(self, count: int = 1) -> None:
        """So many beats at once, to their end; keeps what they should not have said."""
        if self.plan.cold:
            begun = [self.home.begin_beat() for _ in range(count)]
            for process in begun:
                with process:
                    _, err = process.communicate(timeout=PATIENCE_SECONDS)
                self._count(process.returncode, err)
            return
        arguments, err_path = ["--home", str(self.home.path)], self.home.root / "stderr"
        for pid in [WARM.begin(arguments, self.home.environ(), err_path) for _ in range(count)]:
            code = WARM.wait(pid)
            self._count(code, err_path.read_text())
            err_path.write_text("")

    def _count(self, code: int, err: str) -> None:
        self.beats += 1
        if code not in ENDED_WELL or err:
            self.complaints.append(f"a beat ended with {code}: {err}")

    def strike(self, name: str) -> None:
        """Beats of which each process is killed at its first passage of `name`, until one was."""
        before = next((point for begins, point in PRELUDES.items() if name.startswith(begins)), None)
        if before is not None:
            self.strike(before)
        if name == "store.mark:taken":
            self.home.mark_path.touch()
        self.fault(f"at={name} do=kill")
        kills = self._kills(name)
        with self._busy() if name in WHERE_BUSY else nullcontext():
            deadline = time.monotonic() + PATIENCE_SECONDS
            while self._kills(name) == kills and time.monotonic() < deadline:
                if self.is_done():
                    self.request() if name.startswith("beat.calls:") else self.add()
                    if name.startswith("supervision."):  # of one task none comes after it
                        self.add()
                if name.startswith("triggers."):
                    self.change()
                self.beat()
                self._wait(lambda: self._kills(name) > kills)

        if name in IN_CHILDREN:
            self.ended += len(self.home.processes())
            self.home.end_all()

    def _kills(self, name: str) -> int:
        return self.struck().count(f"{name} kill")

    def _busy(self) -> AbstractContextManager[bool]:
        """Another process is at it."""
        return Wired.open(self.home.path).store.locked(PATIENCE_SECONDS)

    def _wait(self, condition: Callable[[], bool]) -> None:
        """Until `condition`, or the next beat of the timer, or all rests."""
        until = time.monotonic() + TIMER_SECONDS
        while time.monotonic() < until and not condition() and self.home.processes():
            select.select((), (), (), POLL_SECONDS)

    def calm(self, fault: str = "") -> None:
        """As a timer does, without new kills, until the queue is done and nothing runs any more."""
        self.fault(fault)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.is_done():
            if time.monotonic() > deadline:
                self.complaints.append("the queue does not end")
                return
            self.beat()
            self._wait(self.is_done)
        while self.home.processes() and time.monotonic() < deadline:
            select.select((), (), (), POLL_SECONDS)

    def is_done(self) -> bool:
        state = self.home.state()
        waits = [*state["queue"], *state.get("attempts", ()), *state.get("outbox", ()), state.get("pending")]
        waits += (self.home.path / "state" / "inbox").glob("*.json")
        return bool(state.get("idleSince")) and not any(waits)

    # What became of it

    def verdict(self) -> Verdict:
        return Verdict(
            plan=self.plan,
            broken=tuple(self.broken()),
            struck=Counter(self.struck()),
            beats=self.beats,
            starts=len(self.home.begun()),
            story=self.home.story(),
        )

    def broken(self) -> Iterator[tuple[str, str]]:
        """The guarantees that did not hold, by the agents' words and the files (SPEC 15)."""
        truth = self.home.truth()
        begun = [(line[1], line[2]) for line in truth if line[0] == "begin"]
        for (task, key), count in Counter(begun).items():
            if count > 1:
                yield "started twice", f"{task} {key}: {count} times"
        for line in truth:
            if line[0] == "double":
                yield "two at once", " ".join(line)
            if line[0] == "inherited":
                yield "other", f"the agent {line[2]} inherited AWM_FAULT"
        yield from self._lost()
        good = {path.name for path in self.home.attempts() if _outcome(path) == "succeeded"}
        for at, (task, key) in enumerate(begun):
            later = [other for name, other in begun[at + 1 :] if name == task]
            if key in good and later:
                yield "good result ignored", f"{task}: {key} succeeded, {later} followed"
        for complaint in (*self.complaints, *self._left(), *self._swept(), *self._told(), *self._unreplayed()):
            yield "other", complaint

    def _lost(self) -> Iterator[tuple[str, str]]:
        """Each task ends once, and as it says it did."""
        state, truth = self.home.state(), self.home.truth()
        ended = [*state["completed"], *state["failed"]]
        if sorted(task for task in ended if not task.startswith(WATCHED)) != sorted(self.tasks):
            yield "lost", f"ended: {ended}, of {self.tasks}"
        for task in state["completed"]:
            good = {path.name for path in self._attempts(task) if _outcome(path) == "succeeded"}
            if not good & {line[2] for line in truth if line[0] == "end"}:
                yield "other", f"{task} is completed without a durable success"
            if self.plan.worktrees and not (self.home.project / f"out-{task}").is_file():
                yield "lost", f"the work on {task} is not in the project"
        for task in state["failed"]:
            tries = [path.name for path in self._attempts(task) if _outcome(path) in {"failed", "hollow", "lost"}]
            if len(tries) != self.plan.retries + 1:
                yield "lost", f"{task} has failed after {tries}, with {self.plan.retries} retries"

    def _attempts(self, task: str) -> list[Path]:
        return [path for path in self.home.attempts() if _order_task(path) == task]

    def _left(self) -> Iterator[str]:
        """Nothing runs, nothing is locked, nothing is torn."""
        home = self.home
        if home.processes():
            yield f"left over: {home.processes()}"
        state = home.path / "state"
        held = [str(path) for path in state.rglob("*.lock") if lock_holder(path) is not None]
        if held:
            yield f"locked: {held}"
        loaded = Wired.open(home.path).store.load(clock.now())
        numbers = [line["seq"] for line in home.journal()]
        if loaded is None or numbers != list(range(1, loaded.work.seq + 1)):
            yield f"the journal has gaps: {numbers}"
        for log in state.glob("attempts/*/supervisor.log"):
            if log.read_text():
                yield f"{log.parent.name}: {log.read_text()}"
        if self.plan.worktrees:
            if home.git("status", "--porcelain") or home.git("fsck", "--no-dangling", "--no-progress"):
                yield f"the project is not clean: {home.git('status', '--porcelain')}"
            there = any((home.path / "worktrees").glob("*")) or home.git("branch", "--list", "awm/*")
            if there and not home.state()["failed"]:  # the work of a failed task stays for a person
                yield f"left over: {list((home.path / 'worktrees').glob('*'))} {home.git('branch', '--list', 'awm/*')}"

    def _swept(self) -> Iterator[str]:
        """An attempt is lost where its supervisor was killed, and nowhere else: another one's sweep passes it over."""
        lost = [path.name for path in self.home.attempts() if _outcome(path) == "lost"]
        if len(lost) > self._crashes() + self.ended:
            yield f"lost: {lost}, with {self._crashes()} crashes"

    def _crashes(self) -> int:
        return sum(line.endswith(" kill") for line in self.struck())

    def _told(self) -> Iterator[str]:
        """Each end was told by each channel, and no more often than there were crashes (SPEC 15.11)."""
        if not self.plan.told:
            return
        told = [json.loads(line) for line in self.told_path.read_text().splitlines()]
        ended = {line["task"] for line in told if line["kind"] in {"completed", "failed"}}
        if {task for task in ended if not task.startswith(WATCHED)} != set(self.tasks):
            yield f"told of {ended} only"
        sent = Counter(line["id"] for line in told)
        often = {name: count for name, count in sent.items() if count > 1 + self._crashes()}
        if often:
            yield f"told too often: {often}"

    def _unreplayed(self) -> Iterator[str]:
        """Each recorded beat decides the same again (SPEC 15.12)."""
        for path in recording.paths(self.home.path / "state"):
            for parted in filter(None, map(difference, recording.read(path))):
                yield f"{path.name}: {parted}"


def _recall(state: dict[str, object]) -> None:
    """By hand: what is being worked on shall be begun anew."""
    live, queue = state.get("inProgress"), state["queue"]
    if live and isinstance(queue, list) and live not in queue:
        queue.insert(0, live)


def _outcome(attempt: Path) -> str | None:
    with suppress(FileNotFoundError):
        found: str = json.loads((attempt / "result.json").read_text())["outcome"]
        return found
    return None


def _order_task(attempt: Path) -> str | None:
    with suppress(FileNotFoundError):
        found: str = json.loads((attempt / "order.json").read_text())["task"]
        return found
    return None


def bombard(root: Path, plan: Plan) -> Verdict:
    """One run in the empty directory `root`; nothing of it runs afterwards."""
    home = Home(root)
    try:
        run = Run(home, plan)
        run.under_fire()
        run.calm()
        return run.verdict()
    finally:
        home.end_all()


def groups(size: int) -> list[tuple[str, ...]]:
    """All points, so many together as one run strikes one after the other; those of worktrees apart."""
    names = sorted(points(), key=lambda name: (name.startswith(IN_WORKTREES), name))
    plain = sum(not name.startswith(IN_WORKTREES) for name in names)
    bounds = [*range(0, plain, size), *range(plain, len(names), size), len(names)]
    return [tuple(names[first:last]) for first, last in pairwise(bounds)]


def strike_each(root: Path, names: Sequence[str]) -> Verdict:
    """One run in which processes are killed at their first passage of each point, then pause at every point they pass."""
    home = Home(root)
    worktrees = names[0].startswith(IN_WORKTREES)
    straggling = float(any(name.startswith(("abandoned.", "reap.")) for name in names))
    plan = Plan(
        seed=0,
        tasks=1 if worktrees else 2,
        worktrees=worktrees,
        rival=worktrees,
        failing=0.0,
        straggling=straggling,
        sleeps=(OUTLASTING if "supervision.exec:before" in names else 0,),
    )
    try:
        run = Run(home, plan)
        for name in names:
            run.strike(name)
        run.calm(PAUSING)
        return replace(run.verdict(), names=tuple(names))
    finally:
        home.end_all()


def pause_everywhere(root: Path, *, worktrees: bool) -> Verdict:
    """One run in which all processes pause at all points; what only comes after a crash is brought about."""
    home = Home(root)
    try:
        plan = Plan(seed=0, worktrees=worktrees, rival=worktrees, failing=0.0, straggling=1.0, sleeps=(OUTLASTING,))
        run = Run(home, plan)
        run.fault(PAUSING)
        with run._busy():
            run.beat()
        if not worktrees:
            run.request()
            run.change()
        run.calm(PAUSING)
        for name in sorted(set(PRELUDES.values())):
            if name.startswith(IN_WORKTREES) is worktrees:
                run.add()
                run.strike(name)
                run.calm(PAUSING)
        return run.verdict()
    finally:
        home.end_all()


def table(verdicts: Sequence[Verdict]) -> str:
    """The table of docs/MEASURED.md 2 for this tree."""
    broken = Counter(guarantee for verdict in verdicts for guarantee, _ in verdict.broken)
    struck = Counter[str]()
    for verdict in verdicts:
        struck.update(verdict.struck)
    by_mode = Counter[str]()
    for what, count in struck.items():
        by_mode[what.rpartition(" ")[2]] += count
    figures = {
        "runs": len(verdicts),
        "beats": sum(verdict.beats for verdict in verdicts),
        "agents started": sum(verdict.starts for verdict in verdicts),
        "crashes injected": by_mode["kill"],
        "pauses": by_mode["pause"],
        **{guarantee: broken[guarantee] for guarantee in GUARANTEES},
    }
    head = [f"| {' | '.join(figures)} |", f"|{'---|' * len(figures)}", f"| {' | '.join(map(str, figures.values()))} |"]
    rows = [f"| {name} | {struck[f'{name} kill']} | {struck[f'{name} pause']} |" for name in points()]
    return "\n".join([*head, "", "| point | killed | paused |", "|---|---|---|", *rows])


def never_struck(verdicts: Sequence[Verdict], modes: Sequence[str] = ("kill", "pause")) -> list[str]:
    """The "point mode" that no run came to."""
    seen: set[str] = set().union(*(verdict.struck for verdict in verdicts))
    return [f"{name} {mode}" for name in points() for mode in modes if f"{name} {mode}" not in seen]


Work = Plan | tuple[str, ...] | bool  # a run: drawn, striking these points, or pausing at all (in worktrees or not)


def main(arguments: Sequence[str]) -> int:
    """A night: each point once, then random runs; 1 where a guarantee was broken or a point never struck."""
    options = _parser().parse_args(arguments)
    if options.only:
        work: list[Work] = [drawn(int(options.only)) if options.only.isdigit() else (options.only,)]
    else:
        work = [
            *([] if options.no_sweep else (*groups(GROUP), False, True)),
            *map(drawn, range(options.seed, options.seed + options.runs)),
        ]
    verdicts: list[Verdict] = []
    begun = time.monotonic()
    with ProcessPoolExecutor(options.jobs) as pool:
        try:
            for verdict in pool.map(_one, work):
                verdicts.append(verdict)
                _say(verdict, f"{len(verdicts)}/{len(work)}, {time.monotonic() - begun:.0f} s")
        except KeyboardInterrupt:  # what was seen so far counts
            pool.shutdown(wait=False, cancel_futures=True)
    print(table(verdicts))
    missing = [] if options.only or options.no_sweep else never_struck(verdicts)
    if missing:
        print(f"\nnever struck: {', '.join(missing)}")
    return int(bool(missing) or any(verdict.broken for verdict in verdicts))


def _one(work: Work) -> Verdict:
    root = Path(tempfile.mkdtemp(prefix="awm-bombard-"))
    try:
        if isinstance(work, bool):
            return pause_everywhere(root, worktrees=work)
        return bombard(root, work) if isinstance(work, Plan) else strike_each(root, work)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _say(verdict: Verdict, progress: str) -> None:
    for guarantee, what in verdict.broken:
        print(f"{progress}: {guarantee}: {what}\n{verdict.plan}", file=sys.stderr)
    if verdict.broken:
        print(f"{verdict.story}\nagain, alike: ./scripts/bombard --only {verdict.again}", file=sys.stderr)
    if sys.stderr.isatty():
        print(progress, end="\r", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="bombard", description="Kill and pause real processes; print what held.")
    found.add_argument("--runs", type=int, default=100, help="random runs, after each point was struck once")
    found.add_argument("--seed", type=int, default=1, help="of the first random run")
    found.add_argument("--jobs", type=int, default=1, help="runs at once")
    found.add_argument("--only", metavar="SEED|POINT", default="", help="one run: of a seed, or that strikes a point")
    found.add_argument("--no-sweep", action="store_true", help="random runs alone")
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
