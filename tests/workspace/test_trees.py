"""Directories removed, whatever an agent left in them (SPEC 17)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from awm_loop import trees
from awm_loop.attempt.gitlocks import remove_git_locks
from awm_loop.workspace import gatefiles, worktree

DEEP = sys.getrecursionlimit() + 100


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """What a test leaves of it, pytest could not remove."""
    path = tmp_path / "folder"
    path.mkdir()
    yield path
    subprocess.run(["rm", "-rf", "--", path], check=True)


@pytest.fixture
def project(folder: Path) -> Path:
    path = folder / "project"
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    git(path, "commit", "-q", "--allow-empty", "-m", "Begin")
    return path


def git(directory: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *words]
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout.strip()


def dig(path: Path) -> None:
    """A file at the end of very many directories, each in the one before."""
    fd = os.open(path, os.O_RDONLY)
    for _ in range(DEEP):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=fd))
    os.close(fd)


def test_a_tree_deeper_than_python_calls_itself_is_removed(folder: Path) -> None:
    """With a branch and a file beside each other on the way; Python's own `shutil.rmtree` raises RecursionError."""
    (folder / "a").mkdir()
    dig(folder)
    dig(folder / "a")

    trees.remove(folder / "a")
    assert [path.name for path in folder.iterdir()] == ["d"]
    trees.remove(folder)
    assert not folder.exists()
    folder.mkdir()


def test_what_a_link_leads_to_stays(folder: Path, tmp_path: Path) -> None:
    """An agent's link is removed, not followed; one in the place of the directory is refused."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    (folder / "in" / "it").mkdir(parents=True)
    (folder / "in" / "it" / "link").symlink_to(tmp_path / "mine")
    (folder / "link").symlink_to(tmp_path / "mine")

    with pytest.raises(NotADirectoryError):
        trees.remove(folder / "link")
    trees.remove(folder / "in")

    assert ([*folder.iterdir()], (tmp_path / "mine" / "file").read_text()) == ([folder / "link"], "mine")


def test_a_worktree_is_removed_however_deep_it_is(folder: Path, project: Path) -> None:
    """And one that is to be used again is settled whatever lies deep in its git directory (SPEC 10.3)."""
    path, base = folder / "S1", git(project, "rev-parse", "HEAD")
    worktree.ensure(project, path, "awm/S1", base)
    dig(path)
    dig(project / ".git" / "worktrees" / "S1")

    assert not worktree.ensure(project, path, "awm/S1", base)
    worktree.remove(project, path, "awm/S1")

    assert (path.exists(), (project / ".git" / "worktrees" / "S1").exists()) == (False, False)


def test_no_gate_file_lies_deeper_than_a_hundred_folders(folder: Path) -> None:
    """Those of a folder that was named are found all the same (SPEC 10.2)."""
    dig(folder)
    (folder / "test_x.py").write_text("judge")
    (folder / "z").mkdir()
    (folder / "z" / "test_y.py").write_text("judge")

    assert gatefiles.named("", (".",), folder) == ("test_x.py", "z/test_y.py")


def test_locks_are_looked_for_however_deep_the_refs_are(folder: Path, project: Path) -> None:
    """Git's lock of a branch is removed (SPEC 8.3)."""
    dig(project / ".git" / "refs")
    (project / ".git" / "refs" / "heads" / "main.lock").write_text("")

    assert remove_git_locks(project, datetime.fromtimestamp(0, UTC)) == ["refs/heads/main.lock"]
