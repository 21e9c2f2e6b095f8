"""Work goes to the base branch whole or not at all, and a person's own is never touched (SPEC 10.3)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from awm_loop.workspace import locks, unfinished
from awm_loop.workspace.integration import Behind, Integrated, Refused, integrate, rebase
from awm_loop.workspace.worktree import ensure


def git(directory: Path, *words: str, check: bool = True) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "init.defaultBranch=main", *words]
    return subprocess.run(command, cwd=directory, check=check, capture_output=True, text=True).stdout.strip()


def commit(directory: Path, name: str, text: str) -> str:
    (directory / name).parent.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(text)
    git(directory, "add", "-f", "--", name)
    git(directory, "commit", "-q", "-m", f"{name}: {text[:20].strip()}")
    return git(directory, "rev-parse", "HEAD")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    path.mkdir()
    git(path, "init", "-q")
    commit(path, ".gitignore", "*.log\n")
    commit(path, "a.txt", "one\n")
    return path


@pytest.fixture
def worktree(project: Path, tmp_path: Path) -> Path:
    ensure(project, tmp_path / "worktrees" / "S1", "awm/S1", git(project, "rev-parse", "HEAD"))
    return tmp_path / "worktrees" / "S1"


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "integration.lock"


def main(project: Path) -> str:
    return git(project, "rev-parse", "main")


def test_the_checked_out_base_branch_goes_forward_with_its_files(project, worktree, lock):
    """Again: the same answer (SPEC 10.3)."""
    made = commit(worktree, "sub/new.txt", "new")

    answers = [integrate(worktree, project, "main", lock) for _ in range(2)]

    assert answers == [Integrated(made)] * 2
    assert (main(project), (project / "sub/new.txt").read_text(), git(project, "status", "--porcelain")) == (
        made,
        "new",
        "",
    )


def test_a_base_branch_that_is_not_checked_out_goes_forward(project, worktree, lock):
    """Without a file touched (SPEC 10.3)."""
    git(project, "checkout", "-q", "-b", "mine")
    made = commit(worktree, "new.txt", "new")

    assert integrate(worktree, project, "main", lock) == Integrated(made)
    assert (main(project), (project / "new.txt").exists()) == (made, False)


def test_a_base_branch_checked_out_in_another_worktree_goes_forward_there(project, worktree, lock, tmp_path):
    """`merge --ff-only` where it is checked out (SPEC 10.3)."""
    git(project, "checkout", "-q", "-b", "mine")
    git(project, "worktree", "add", "-q", str(tmp_path / "elsewhere"), "main")
    made = commit(worktree, "new.txt", "new")

    assert integrate(worktree, project, "main", lock) == Integrated(made)
    assert (tmp_path / "elsewhere" / "new.txt").read_text() == "new"


def test_a_worktree_removed_by_hand_does_not_hold_the_branch(project, worktree, lock, tmp_path):
    """There are no files to go forward with it (SPEC 10.3)."""
    git(project, "checkout", "-q", "-b", "mine")
    git(project, "worktree", "add", "-q", str(tmp_path / "elsewhere"), "main")
    (tmp_path / "elsewhere").rename(tmp_path / "gone")
    made = commit(worktree, "new.txt", "new")

    assert integrate(worktree, project, "main", lock) == Integrated(made)


def test_a_base_branch_that_has_gone_on_is_said_with_its_tip(project, worktree, lock):
    """Nothing moves: rebase, and gate again (SPEC 10.3)."""
    commit(worktree, "new.txt", "new")
    theirs = commit(project, "b.txt", "theirs")

    assert integrate(worktree, project, "main", lock) == Behind(theirs)
    assert main(project) == theirs


def dirty(project: Path) -> None:
    (project / "a.txt").write_text("a person's\n")


def staged(project: Path) -> None:
    dirty(project)
    git(project, "add", "a.txt")


def automatic(project: Path) -> None:
    """A person's own configuration would stash and merge."""
    dirty(project)
    git(project, "config", "merge.autoStash", "true")


def untracked(project: Path) -> None:
    (project / "new.txt").write_text("a person's\n")


def ignored(project: Path) -> None:
    (project / "x.log").write_text("a person's\n")


@pytest.mark.parametrize(
    ("work", "name"),
    [(dirty, "a.txt"), (staged, "a.txt"), (automatic, "a.txt"), (untracked, "new.txt"), (ignored, "x.log")],
)
def test_a_persons_uncommitted_work_is_refused_by_name_and_intact(project, worktree, lock, work, name):
    """Changed, staged, new or ignored (SPEC 10.3)."""
    before = main(project)
    for changed in ("a.txt", "new.txt", "x.log"):
        commit(worktree, changed, "an agent's\n")
    work(project)
    status = git(project, "status", "--porcelain", "--ignored")

    refused = integrate(worktree, project, "main", lock)

    why = f"uncommitted work in {project} is in the way: {name}; commit it, stash it, or move it away"
    assert (refused, main(project)) == (Refused(why), before)
    assert ((project / name).read_text(), git(project, "status", "--porcelain", "--ignored")) == (
        "a person's\n",
        status,
    )


def test_a_persons_work_on_other_files_is_carried_along(project, worktree, lock):
    """Staged as it was (SPEC 10.3)."""
    commit(project, "b.txt", "b")
    git(worktree, "merge", "-q", "main")
    made = commit(worktree, "a.txt", "an agent's\n")
    (project / "b.txt").write_text("a person's")
    git(project, "add", "b.txt")
    (project / "new.txt").write_text("a person's")

    assert integrate(worktree, project, "main", lock) == Integrated(made)
    assert git(project, "status", "--porcelain") == "M  b.txt\n?? new.txt"


def in_a_merge(project: Path) -> None:
    git(project, "merge", "--no-commit", "--no-ff", "side")


def in_a_rebase(project: Path) -> None:
    git(project, "rebase", "--exec", "false", "HEAD~1", check=False)


def in_an_apply_rebase(project: Path) -> None:
    commit(project, "s.txt", "conflict")
    git(project, "rebase", "--apply", "side", check=False)


@pytest.mark.parametrize(
    ("begin", "what"), [(in_a_merge, "merge"), (in_a_rebase, "rebase"), (in_an_apply_rebase, "rebase")]
)
def test_nothing_moves_while_a_person_is_in_the_middle_of_something(project, worktree, lock, begin, what):
    """They would finish it on another commit than they began with (SPEC 10.3)."""
    git(project, "checkout", "-q", "-b", "side")
    commit(project, "s.txt", "side")
    git(project, "checkout", "-q", "main")
    begin(project)
    git(worktree, "reset", "-q", "--hard", "main")
    commit(worktree, "new.txt", "new")
    before, status = main(project), git(project, "status")

    refused = integrate(worktree, project, "main", lock)

    assert refused == Refused(f"a {what} is under way in {project}: finish or abort it there")
    assert (main(project), git(project, "status")) == (before, status)


def test_a_base_branch_checked_out_twice_is_refused(project, worktree, lock, tmp_path):
    """The files of one of them would be left behind (SPEC 10.3)."""
    git(project, "worktree", "add", "-q", "--force", str(tmp_path / "twice"), "main")
    commit(worktree, "new.txt", "new")

    assert integrate(worktree, project, "main", lock) == Refused(
        f"main is checked out more than once: {project}, {tmp_path / 'twice'}"
    )


def test_a_base_branch_that_is_gone_is_said(project, worktree, lock):
    """In plain words, by rebase too (SPEC 10.3)."""
    commit(worktree, "new.txt", "new")
    git(project, "branch", "-m", "main", "trunk")
    why = "the base branch main is not there any more: it was deleted or renamed"

    assert (integrate(worktree, project, "main", lock), rebase(worktree, "main")) == (Refused(why), why)


def test_a_git_at_work_in_the_project_is_named(project, worktree, lock, monkeypatch):
    """Its lock is a person's, and stays (SPEC 10.3)."""
    monkeypatch.setattr("awm_loop.workspace.integration.INDEX_SECONDS_MAX", 0.2)
    commit(worktree, "new.txt", "new")
    (project / ".git" / "index.lock").touch()

    refused = integrate(worktree, project, "main", lock)

    assert isinstance(refused, Refused)
    assert "index.lock': File exists" in refused.reason
    assert (project / ".git" / "index.lock").exists()


def test_a_lock_held_for_too_long_is_a_refusal(project, worktree, lock, monkeypatch):
    """The wait has a bound (SPEC 10.3)."""
    monkeypatch.setattr(locks, "LOCK_SECONDS_MAX", 0.1)
    with locks.exclusive(lock):
        assert integrate(worktree, project, "main", lock) == Refused(f"{lock} was locked by another process for 0.1 s")


def test_two_integrations_at_once_end_one_after_the_other(project, tmp_path, lock):
    """Both tasks get in, by rebase where needed, whoever is first (SPEC 10.3)."""
    paths = [tmp_path / "worktrees" / f"T{number}" for number in range(4)]
    for path in paths:
        ensure(project, path, f"awm/{path.name}", main(project))
        commit(path, f"{path.name}.txt", "new")

    def through(path: Path) -> str | None:
        while isinstance(integrate(path, project, "main", lock), Behind):
            if (why := rebase(path, "main")) is not None:
                return why
        return None

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(through, paths)) == [None] * 4
    assert sorted(path.name for path in project.glob("T*.txt")) == ["T0.txt", "T1.txt", "T2.txt", "T3.txt"]
    assert git(project, "status", "--porcelain") == ""


def tree(directory: Path) -> dict[str, bytes]:
    """All files but git's own."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else b"link"
        for path in directory.rglob("*")
        if ".git" not in path.parts and (path.is_file() or path.is_symlink())
    }


CHILD = """
import sys
from pathlib import Path
from awm_loop.workspace.integration import integrate, rebase
arguments = [Path(argument) for argument in sys.argv[2:]]
print("ready", flush=True)
integrate(*arguments[:2], "main", arguments[2]) if sys.argv[1] == "integrate" else rebase(*arguments, "main")
"""


@contextmanager
def started(*words: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """`integrate` or `rebase` in a process of its own, ready to begin; at the end it is dead."""
    with subprocess.Popen([sys.executable, "-c", CHILD, *words], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        yield child
        child.kill()


def kill_with_git(child: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a child and to what it started, as when a unit or the power goes."""
    child.send_signal(signal.SIGSTOP)
    with suppress(FileNotFoundError):  # it had ended
        for pid in Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
    child.kill()


def big_change(worktree: Path) -> str:
    """Many files: new, changed, removed, a mode, a link, a file that becomes a directory, line ends."""
    (worktree / "a.txt").unlink()
    (worktree / "link").symlink_to("f1.txt")
    (worktree / "file").unlink()
    (worktree / "file").mkdir()
    (worktree / "file" / "inner").write_text("inner")
    (worktree / "f2.txt").chmod(0o755)
    (worktree / "f3.txt").unlink()
    for number in range(4, 300):
        (worktree / f"f{number}.txt").write_text(f"{number} new\n" * 2000)
    git(worktree, "add", "-A")
    git(worktree, "commit", "-q", "-m", "big")
    for path in worktree.glob("f5*.txt"):
        path.unlink()
    git(worktree, "checkout", "-q", ".")
    return git(worktree, "rev-parse", "HEAD")


def big_base(project: Path, worktree: Path) -> None:
    (project / ".gitattributes").write_text("f5*.txt text eol=crlf\n")
    (project / "file").write_text("file")
    for number in range(200):
        (project / f"f{number}.txt").write_text(f"{number} old\n" * 1000)
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "base")
    for path in project.glob("f5*.txt"):
        path.unlink()
    git(project, "checkout", "-q", ".")  # with the line ends of a checkout
    git(worktree, "reset", "-q", "--hard", "main")


def is_written(path: Path) -> bool:
    """Whether git has begun to write the new version of a file."""
    try:
        return b" new" in path.read_bytes()[:12]
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("name", ["f10.txt", "f150.txt", "f55.txt"])
def test_a_kill_among_the_files_is_repaired_by_the_next_call(project, worktree, lock, name):
    """Files half gone forward, the index locked: then all is as if it had been done at once (SPEC 10.3)."""
    big_base(project, worktree)
    made = big_change(worktree)
    with started("integrate", worktree, project, lock) as child:
        while not is_written(project / name):
            assert child.poll() is None
        kill_with_git(child)
    (project / "mine.txt").write_text("a person's")

    assert integrate(worktree, project, "main", lock) == Integrated(made)
    assert git(project, "status", "--porcelain") == "?? mine.txt"
    assert tree(project) == tree(worktree) | {"mine.txt": b"a person's"}


def test_kills_at_random_moments_are_repaired(project, worktree, lock):
    """Several in a row, of AWM alone or with its git (SPEC 10.3)."""
    big_base(project, worktree)
    made = big_change(worktree)
    chance = random.Random(10)
    for _ in range(8):
        with started("integrate", worktree, project, lock) as child:
            until = time.monotonic() + chance.uniform(0, 0.12)
            while time.monotonic() < until:
                pass
            kill_with_git(child) if chance.random() < 0.7 else child.kill()

    assert integrate(worktree, project, "main", lock) == Integrated(made)
    assert (git(project, "status", "--porcelain"), tree(project)) == ("", tree(worktree))


def test_a_persons_edit_after_a_kill_is_theirs(project, worktree, lock):
    """It is refused by name like any other, and what the dead git did is undone (SPEC 10.3)."""
    big_base(project, worktree)
    before, files = main(project), tree(project)
    big_change(worktree)
    with started("integrate", worktree, project, lock) as child:
        while not is_written(project / "f150.txt"):
            assert child.poll() is None
        kill_with_git(child)
    (project / "f7.txt").write_text("a person's")

    refused = integrate(worktree, project, "main", lock)

    why = f"uncommitted work in {project} is in the way: f7.txt; commit it, stash it, or move it away"
    assert (refused, main(project)) == (Refused(why), before)
    assert (git(project, "status", "--porcelain"), tree(project)) == ("M f7.txt", files | {"f7.txt": b"a person's"})


def test_after_a_kill_the_lock_is_held_until_its_git_has_ended(project, worktree, lock, tmp_path, monkeypatch):
    """Nobody repairs what is still being done (SPEC 10.3)."""
    commit(worktree, "new.txt", "new")
    real, fake = git(project, "--exec-path") + "/git", tmp_path / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text(
        f'#!/bin/sh\ncase "$*" in *merge*--ff-only*) echo >{tmp_path}/merging; read line <{tmp_path}/go;; esac\nexec {real} "$@"\n'
    )
    fake.chmod(0o755)
    os.mkfifo(tmp_path / "go")
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    with started("integrate", worktree, project, lock) as child:
        while not (tmp_path / "merging").exists():
            assert child.poll() is None

    monkeypatch.setattr(locks, "LOCK_SECONDS_MAX", 0.2)
    while_it_runs = integrate(worktree, project, "main", lock)
    (tmp_path / "go").write_text("\n")
    monkeypatch.setattr(locks, "LOCK_SECONDS_MAX", 20.0)

    assert isinstance(while_it_runs, Refused)
    assert isinstance(integrate(worktree, project, "main", lock), Integrated)


def half_done(project: Path, worktree: Path, lock: Path) -> str:
    """The note of a step to what `worktree` has committed now, as a killed git leaves it; the commit."""
    git(worktree, "add", "-A")
    git(worktree, "commit", "-q", "-m", "work")
    made = git(worktree, "rev-parse", "HEAD")
    with locks.exclusive(lock) as descriptor:
        unfinished.note(descriptor, project, unfinished.Step("refs/heads/main", main(project), made))
    return made


def becomes_a_directory(worktree: Path) -> None:
    (worktree / "a.txt").unlink()
    (worktree / "a.txt" / "deep").mkdir(parents=True)
    (worktree / "a.txt" / "deep" / "inner").write_text("inner")


@pytest.mark.parametrize("reached", ["", "a.txt/", "a.txt/deep/", "a.txt/deep/inner"])
def test_a_file_that_was_becoming_a_directory_is_one_afterwards(project, worktree, lock, reached):
    """However far the git that was killed had come (SPEC 10.3)."""
    becomes_a_directory(worktree)
    made = half_done(project, worktree, lock)
    (project / "a.txt").unlink()
    if reached:
        (project / reached).parent.mkdir(parents=True, exist_ok=True)
        (project / reached).mkdir() if reached.endswith("/") else (project / reached).write_text("inner")

    assert integrate(worktree, project, "main", lock) == Integrated(made)
    assert (git(project, "status", "--porcelain"), tree(project)) == ("", tree(worktree))


def test_what_a_person_puts_into_the_directory_of_a_dead_step_stays(project, worktree, lock):
    """It is refused by name (SPEC 10.3)."""
    becomes_a_directory(worktree)
    half_done(project, worktree, lock)
    (project / "a.txt").unlink()
    (project / "a.txt" / "deep").mkdir(parents=True)
    (project / "a.txt" / "mine").write_text("a person's")

    assert isinstance(integrate(worktree, project, "main", lock), Refused)
    assert tree(project)["a.txt/mine"] == b"a person's"


@pytest.mark.parametrize("theirs", ["", "a person's"])
def test_a_directory_that_was_becoming_a_file_is_one_afterwards_but_for_a_persons(project, worktree, lock, theirs):
    """What a person makes of the file meanwhile stays, and is refused by name (SPEC 10.3)."""
    commit(project, "d/x", "x")
    git(worktree, "reset", "-q", "--hard", "main")
    git(worktree, "rm", "-q", "-r", "d")
    (worktree / "d").write_text("new")
    made = half_done(project, worktree, lock)
    (project / "d" / "x").unlink()
    (project / "d").rmdir()
    (project / "d").write_text(theirs or "new")

    done = integrate(worktree, project, "main", lock)

    assert (project / "d").read_text() == (theirs or "new")
    assert isinstance(done, Refused) if theirs else done == Integrated(made)


def test_a_directory_that_was_becoming_a_link_is_one_again_where_other_work_comes_first(
    project, worktree, lock, tmp_path
):
    """What the base has below it is no file of the person's that is gone (SPEC 10.3)."""
    commit(project, "old/x", "x")
    git(worktree, "reset", "-q", "--hard", "main")
    git(worktree, "mv", "old", "new")
    (worktree / "old").symlink_to("new")
    half_done(project, worktree, lock)
    (project / "old").rename(project / "new")
    (project / "old").symlink_to("new")
    ensure(project, tmp_path / "worktrees" / "S2", "awm/S2", main(project))
    made = commit(tmp_path / "worktrees" / "S2", "other.txt", "other")

    assert integrate(tmp_path / "worktrees" / "S2", project, "main", lock) == Integrated(made)
    assert (git(project, "status", "--porcelain"), (project / "old" / "x").read_text()) == ("", "x")


def test_nothing_is_touched_behind_a_persons_link(project, worktree, lock, tmp_path):
    """Not even folders without a file in them (SPEC 10.3)."""
    commit(project, "d/x", "x")
    git(worktree, "reset", "-q", "--hard", "main")
    git(worktree, "rm", "-q", "-r", "d")
    half_done(project, worktree, lock)
    (project / "d" / "x").unlink()
    (project / "d").rmdir()
    (tmp_path / "elsewhere" / "x" / "empty").mkdir(parents=True)
    (project / "d").symlink_to(tmp_path / "elsewhere")

    integrate(worktree, project, "main", lock)

    assert (tmp_path / "elsewhere" / "x" / "empty").is_dir()
    assert (project / "d").is_symlink()


def test_the_lock_of_a_living_git_is_not_taken_for_a_dead_ones(project, worktree, lock):
    """While a git works in the project its files are not repaired, and that is said (SPEC 8.3)."""
    made = commit(worktree, "new.txt", "new")
    with locks.exclusive(lock) as descriptor:
        unfinished.note(descriptor, project, unfinished.Step("refs/heads/main", main(project), made))
    (project / ".git" / "index.lock").touch()
    batch = ["git", "cat-file", "--batch"]
    with subprocess.Popen(batch, cwd=project, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL):
        refused = integrate(worktree, project, "main", lock)

    why = f"git is at work, or died, in {project}: {project}/.git/index.lock is there; remove it when no git runs there"
    assert refused == Refused(why)
    assert integrate(worktree, project, "main", lock) == Integrated(made)


def test_a_lock_from_before_the_step_is_not_the_steps(project, worktree, lock):
    """It stays, whoever made it (SPEC 8.3)."""
    made = commit(worktree, "new.txt", "new")
    (project / ".git" / "index.lock").touch()
    born_at_ns = (project / ".git" / "index.lock").stat().st_ctime_ns
    with locks.exclusive(lock) as descriptor:
        while os.fstat(descriptor).st_mtime_ns <= born_at_ns:
            unfinished.note(descriptor, project, unfinished.Step("refs/heads/main", main(project), made))

    assert isinstance(integrate(worktree, project, "main", lock), Refused)
    assert (project / ".git" / "index.lock").exists()


def test_a_rebase_leaves_the_work_on_the_tip(project, worktree, lock):
    """Author kept, committed by AWM (SPEC 10.3)."""
    commit(worktree, "new.txt", "new")
    theirs = commit(project, "b.txt", "theirs")

    assert rebase(worktree, "main") is None
    assert git(worktree, "log", "-1", "--format=%P %s %an %cn") == f"{theirs} new.txt: new t AWM"
    assert isinstance(integrate(worktree, project, "main", lock), Integrated)


def test_a_conflict_names_both_sides_and_leaves_everything(project, worktree):
    """Files, and each side's commits that touch them; nothing half-done, the leftovers where they were (SPEC 10.3)."""
    commit(worktree, "new.txt", "new")
    ours = commit(worktree, "a.txt", "ours\n")
    commit(project, "b.txt", "theirs")
    theirs = commit(project, "a.txt", "theirs\n")
    (worktree / "left.txt").write_text("over")

    why = rebase(worktree, "main")

    assert why == (f"conflict in a.txt: main has {theirs[:7]} a.txt: theirs; this task has {ours[:7]} a.txt: ours")
    assert (git(worktree, "rev-parse", "awm/S1", "HEAD"), git(worktree, "status", "--porcelain")) == (
        f"{ours}\n{ours}",
        "?? left.txt",
    )


def test_uncommitted_files_neither_stop_a_rebase_nor_get_lost(project, worktree):
    """But those that the base has changed as well, which are the salvage's (SPEC 10.3)."""
    for name in ("deleted.txt", "changed.txt"):
        commit(worktree, name, "x")
    commit(project, "both.txt", "theirs")
    for name in ("changed.txt", "both.txt", "new.txt", "x.log"):
        (worktree / name).write_text("over")
    (worktree / "deleted.txt").unlink()

    assert rebase(worktree, "main") is None
    assert git(worktree, "status", "--porcelain") == "M changed.txt\n D deleted.txt\n?? new.txt"
    assert [(worktree / name).read_text() for name in ("both.txt", "x.log")] == ["theirs", "over"]
    assert git(worktree, "stash", "list") == ""


def test_a_killed_rebase_is_repeated(project, worktree, lock):
    """At random moments; the leftovers come back (SPEC 10.3)."""
    for number in range(8):
        commit(worktree, f"n{number}.txt", "new")
    commit(project, "b.txt", "theirs")
    (worktree / "left.txt").write_text("over")
    (worktree / "n0.txt").write_text("over")
    chance = random.Random(3)
    for _ in range(6):
        with started("rebase", worktree) as child:
            until = time.monotonic() + chance.uniform(0, 0.12)
            while time.monotonic() < until:
                pass
            kill_with_git(child)
        ensure(project, worktree, "awm/S1", main(project))

        assert git(worktree, "status", "--porcelain") == "M n0.txt\n?? left.txt"
    assert rebase(worktree, "main") is None
    assert isinstance(integrate(worktree, project, "main", lock), Integrated)
    assert len(list(project.glob("n*.txt"))) == 8
