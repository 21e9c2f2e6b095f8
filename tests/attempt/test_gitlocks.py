"""Lock files of a killed git, in real repositories, beside real git processes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from awm_loop.attempt.gitlocks import Repository, remove_git_locks, repository

GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "core.hooksPath=/dev/null")
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def git(directory: Path, *words: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    subprocess.run([*GIT, *words], cwd=directory, env=environment, check=True, capture_output=True)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with one commit."""
    path = tmp_path / "repo"
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    git(path, "commit", "-q", "--allow-empty", "-m", "first")
    return path


@pytest.fixture
def linked(repo: Path, tmp_path: Path) -> Path:
    """A linked worktree of `repo`."""
    git(repo, "worktree", "add", "-q", "-b", "side", str(tmp_path / "linked"))
    return tmp_path / "linked"


class LiveGit:
    """`git cat-file --batch`, which lives until its stdin is closed."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, directory: Path, *options: str, **environment: str) -> None:
        process = subprocess.Popen(
            ["git", *options, "cat-file", "--batch"],
            cwd=directory,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._started.append(process)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"HEAD\n")
        process.stdin.flush()
        assert b"commit" in process.stdout.readline()  # it is up, where it wants to be

    def end(self) -> None:
        for process in self._started:
            process.communicate(timeout=10)


@pytest.fixture
def live_git() -> Iterator[LiveGit]:
    started = LiveGit()
    yield started
    started.end()


def make(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_every_lock_git_itself_takes_is_removed_and_named(repo: Path) -> None:
    """SPEC 8.3: locks an attempt left are removed, and returned for the journal; other files stay."""
    names = ["index.lock", "HEAD.lock", "packed-refs.lock", "config.lock", "shallow.lock", "refs/heads/a/b.lock"]
    make(*(repo / ".git" / name for name in names), repo / ".git" / "my.lock", repo / "poetry.lock")

    removed = remove_git_locks(repo, LONG_AGO)

    assert sorted(removed) == sorted(names)
    assert [path.name for path in sorted(repo.rglob("*.lock"))] == ["my.lock", "poetry.lock"]


def test_a_repository_locked_by_a_dead_git_works_again(repo: Path) -> None:
    """SPEC 8.3: that is what it is for."""
    make(repo / ".git" / "index.lock")
    with pytest.raises(subprocess.CalledProcessError):
        git(repo, "commit", "-q", "--allow-empty", "-m", "second")

    remove_git_locks(repo, LONG_AGO)

    git(repo, "commit", "-q", "--allow-empty", "-m", "second")


def test_a_lock_older_than_the_attempt_is_not_ours_to_remove(repo: Path) -> None:
    """SPEC 8.3: only those made during it."""
    lock = repo / ".git" / "index.lock"
    make(lock)
    made_at = datetime.fromtimestamp(lock.stat().st_ctime, UTC)

    assert remove_git_locks(repo, made_at + timedelta(milliseconds=1)) == []
    assert remove_git_locks(repo, made_at - timedelta(milliseconds=1)) == ["index.lock"]


def test_a_subdirectory_finds_the_repository_above_it(repo: Path) -> None:
    """A project may be a folder of a repository."""
    (repo / "a" / "b").mkdir(parents=True)
    make(repo / ".git" / "index.lock")

    assert remove_git_locks(repo / "a" / "b", LONG_AGO) == ["index.lock"]


def test_a_linked_worktree_has_its_own_index_and_shares_the_refs(repo: Path, linked: Path) -> None:
    """SPEC 8.3, 10.3: both directories are cleared, names are relative to the common one."""
    make(repo / ".git" / "worktrees" / "linked" / "index.lock", repo / ".git" / "refs" / "heads" / "side.lock")

    removed = remove_git_locks(linked, LONG_AGO)

    assert sorted(removed) == ["refs/heads/side.lock", "worktrees/linked/index.lock"]
    assert repository(linked) == Repository(repo / ".git" / "worktrees" / "linked", repo / ".git")


def test_outside_of_a_repository_nothing_happens(tmp_path: Path) -> None:
    """A workspace needs no git."""
    assert remove_git_locks(tmp_path, LONG_AGO) == []
    assert repository(tmp_path / "missing") is None


def test_a_fifo_in_place_of_git_metadata_is_not_waited_for(tmp_path: Path) -> None:
    """SPEC 17: what an agent leaves behind is data; a FIFO opened to read would hang the supervisor."""
    os.mkfifo(tmp_path / ".git")

    assert remove_git_locks(tmp_path, LONG_AGO) == []


def test_a_lock_that_cannot_be_removed_stays_and_is_not_named(repo: Path) -> None:
    """Here a directory of that name; what is named in the result was removed (SPEC 8.3)."""
    make(repo / ".git" / "HEAD.lock")
    (repo / ".git" / "index.lock").mkdir()

    assert remove_git_locks(repo, LONG_AGO) == ["HEAD.lock"]
    assert (repo / ".git" / "index.lock").is_dir()


@pytest.mark.parametrize("how", ["cwd", "linked worktree", "--git-dir=", "--git-dir", "GIT_DIR"])
def test_a_live_git_of_the_repository_keeps_its_locks(
    how: str, repo: Path, linked: Path, live_git: LiveGit, tmp_path: Path
) -> None:
    """SPEC 8.3: only when no git process of that repository is alive, wherever it stands."""
    make(repo / ".git" / "index.lock")
    match how:
        case "cwd":
            live_git.start(repo)
        case "linked worktree":
            live_git.start(linked)
        case "--git-dir=":
            live_git.start(tmp_path, "--git-dir=repo/.git")
        case "--git-dir":
            live_git.start(tmp_path, "--git-dir", str(repo / ".git"))
        case "GIT_DIR":
            live_git.start(tmp_path, GIT_DIR=str(repo / ".git"))

    assert remove_git_locks(repo, LONG_AGO) == []
    live_git.end()
    assert remove_git_locks(repo, LONG_AGO) == ["index.lock"]


def test_a_live_git_of_another_repository_does_not_matter(repo: Path, live_git: LiveGit, tmp_path: Path) -> None:
    """SPEC 8.3: of that repository. The other may even lie inside this one."""
    other = repo / "vendored"
    other.mkdir()
    git(other, "init", "-q")
    git(other, "commit", "-q", "--allow-empty", "-m", "first")
    live_git.start(other)
    make(repo / ".git" / "index.lock")

    assert remove_git_locks(repo, LONG_AGO) == ["index.lock"]
