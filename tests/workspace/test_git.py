"""The commit an attempt starts from and what it left, read from real repositories (SPEC 10.1)."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from awm_loop.errors import AwmError
from awm_loop.workspace import git as adapter
from awm_loop.workspace.git import Ran, branch, commits_since, head, run


def git(directory: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "init.defaultBranch=main", *words]
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "-q")
    git(path, "commit", "-q", "--allow-empty", "-m", "first")
    git(path, "commit", "-q", "--allow-empty", "-m", "second")
    return path


def loose(repository: Path) -> Path:
    return repository


def packed(repository: Path) -> Path:
    git(repository, "pack-refs", "--all")
    return repository


def packed_then_loose(repository: Path) -> Path:
    git(repository, "pack-refs", "--all")
    git(repository, "commit", "-q", "--allow-empty", "-m", "third")
    return repository


def detached(repository: Path) -> Path:
    git(repository, "checkout", "-q", "--detach", "HEAD~1")
    return repository


def branch_with_a_slash(repository: Path) -> Path:
    git(repository, "checkout", "-q", "-b", "awm/S1")
    git(repository, "commit", "-q", "--allow-empty", "-m", "third")
    return repository


def symbolic_branch(repository: Path) -> Path:
    git(repository, "symbolic-ref", "refs/heads/alias", "refs/heads/main")
    git(repository, "symbolic-ref", "HEAD", "refs/heads/alias")
    return repository


def worktree(repository: Path) -> Path:
    git(repository, "worktree", "add", "-q", "-b", "side", "../side", "HEAD~1")
    return repository.parent / "side"


def subdirectory(repository: Path) -> Path:
    (repository / "a" / "b").mkdir(parents=True)
    return repository / "a" / "b"


def torn_ref(repository: Path) -> Path:
    """A power loss can leave a ref empty: git says that there is no commit."""
    (repository / ".git" / "refs" / "heads" / "main").write_bytes(b"")
    return repository


STATES = [
    loose,
    packed,
    packed_then_loose,
    detached,
    branch_with_a_slash,
    symbolic_branch,
    worktree,
    subdirectory,
]


@pytest.mark.parametrize("state", STATES)
def test_the_head_is_the_commit_git_names(repository, state):
    """Whatever form the refs have (SPEC 10.1)."""
    where = state(repository)

    assert head(where) == git(where, "rev-parse", "HEAD")


def test_a_torn_ref_is_no_commit(repository):
    """What git cannot resolve is no base, and no crash (SPEC 10.1)."""
    assert head(torn_ref(repository)) == ""


def test_before_the_first_commit_the_head_is_empty(tmp_path):
    """So that the first commit of all counts as new work (SPEC 10.1)."""
    git(tmp_path, "init", "-q")

    assert head(tmp_path) == ""


def test_outside_of_git_there_is_no_head(tmp_path):
    """None: no commit is asked of a project without git (SPEC 10.1)."""
    assert head(tmp_path) is None


def test_on_a_branch_no_git_process_is_started(repository, monkeypatch):
    """Two of them stood in the gap between two agents (docs/MEASURED.md 6)."""
    tip = git(repository, "rev-parse", "HEAD")
    monkeypatch.setenv("PATH", str(repository))

    assert head(repository) == tip


def test_where_git_has_to_be_asked_and_is_missing_that_is_said(repository, monkeypatch):
    """One clear line, not a traceback (SPEC 6.3)."""
    packed(repository)
    monkeypatch.setenv("PATH", str(repository))

    with pytest.raises(AwmError, match="no `git` on PATH"):
        head(repository)


def test_the_new_commits_are_listed_oldest_first(repository):
    """From the base to HEAD (SPEC 10.1)."""
    base = git(repository, "rev-parse", "HEAD~1")
    second = git(repository, "rev-parse", "HEAD")
    git(repository, "commit", "-q", "--allow-empty", "-m", "third")

    assert commits_since(repository, base) == (second, git(repository, "rev-parse", "HEAD"))


def test_at_the_base_nothing_is_new(repository):
    """An agent that committed nothing did no work (SPEC 7.2, 10.1)."""
    assert commits_since(repository, git(repository, "rev-parse", "HEAD")) == ()


@pytest.mark.parametrize(
    ("state", "name"),
    [(loose, "main"), (packed, "main"), (detached, ""), (branch_with_a_slash, "awm/S1"), (worktree, "side")],
)
def test_the_branch_checked_out_is_named(repository, state, name):
    """By its short name, "" when HEAD is detached (SPEC 10.3)."""
    assert branch(state(repository)) == name


def test_a_tag_of_the_same_name_does_not_change_the_branchs(repository):
    """Git's own short name would be heads/main (SPEC 10.3)."""
    git(repository, "tag", "main")

    assert branch(repository) == "main"


def test_outside_of_git_there_is_no_branch(tmp_path):
    """Nor before the first commit is there none: it has a name by then (SPEC 10.3)."""
    assert branch(tmp_path) == ""
    git(tmp_path, "init", "-q")
    assert branch(tmp_path) == "main"


def test_a_git_that_hangs_is_ended_with_its_children(repository, tmp_path, monkeypatch):
    """A filter waits for the network, say: no git call is without a bound (SPEC 17)."""
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\nsleep 600 &\necho $! >{tmp_path}/pid\nwait\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    monkeypatch.setattr(adapter, "GIT_SECONDS_MAX", 0.5)

    assert run(repository, "status") == Ran(-15, "", "fatal: git status took longer than 0.5 s")
    child = int((tmp_path / "pid").read_text())
    with suppress(FileNotFoundError):
        while ") Z" not in Path(f"/proc/{child}/stat").read_text():
            pass


def test_a_directory_that_is_gone_is_said(tmp_path):
    """As git would, had it begun (SPEC 10.3)."""
    assert run(tmp_path / "gone", "status").err == f"fatal: cannot work in {tmp_path}/gone: No such file or directory"


@pytest.mark.parametrize(("before", "after"), [("", "kept/\n"), ("a", "a\nkept/\n"), ("kept/\nb\n", "kept/\nb\n")])
def test_what_a_program_keeps_for_itself_is_passed_over_in_all_worktrees(
    before: str, after: str, repository: Path
) -> None:
    """Told to git once, behind what a person wrote there, and in no commit (SPEC 10.3)."""
    exclude, tree = repository / ".git" / "info" / "exclude", repository.parent / "tree"
    exclude.write_text(before)
    git(repository, "worktree", "add", "-q", "--detach", str(tree))

    for _ in range(2):
        adapter.pass_over(adapter.written_paths(tree), ["kept/"])

    for path in (repository, tree):
        (path / "kept").mkdir()
        (path / "kept" / "file").touch()
    assert (exclude.read_text(), git(repository, "status", "--porcelain"), git(tree, "status", "--porcelain")) == (
        (after, "", "")
    )


def test_where_git_cannot_be_told_what_to_pass_over_nothing_fails(repository: Path, tmp_path: Path) -> None:
    """A FIFO in the place of its file is not waited for; outside of git there is nobody to tell."""
    exclude = repository / ".git" / "info" / "exclude"
    exclude.unlink()
    os.mkfifo(exclude)

    for path in (repository, tmp_path):
        adapter.pass_over(adapter.written_paths(path), ["kept/"])

    assert exclude.is_fifo()
