"""Worktrees made, mended and taken away, and uncommitted work kept, in real repositories (SPEC 10.3)."""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from awm_loop.errors import AwmError
from awm_loop.workspace import locks
from awm_loop.workspace.git import branch
from awm_loop.workspace.worktree import clean, ensure, put_back, remove, salvage, set_aside

SALVAGED = "refs/awm/salvage/S1/1"


def git(directory: Path, *words: str, check: bool = True) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "init.defaultBranch=main", *words]
    return subprocess.run(command, cwd=directory, check=check, capture_output=True, text=True).stdout.strip()


def commit(directory: Path, name: str, text: str) -> str:
    (directory / name).parent.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(text)
    git(directory, "add", "-A", "--", name)
    git(directory, "commit", "-q", "-m", f"{name}: {text[:20].strip()}")
    return git(directory, "rev-parse", "HEAD")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    path.mkdir()
    git(path, "init", "-q")
    (path / ".gitignore").write_text("*.log\n")
    commit(path, "a.txt", "one\n")
    git(path, "add", ".gitignore")
    git(path, "commit", "-q", "-m", "ignore")
    return path


@pytest.fixture
def base(project: Path) -> str:
    return git(project, "rev-parse", "HEAD")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "worktrees" / "S1"


@pytest.fixture
def worktree(project: Path, path: Path, base: str) -> Path:
    ensure(project, path, "awm/S1", base)
    return path


def state(path: Path) -> tuple[str, str, str]:
    """Branch, HEAD's subject, and what is not committed."""
    return branch(path), git(path, "log", "-1", "--format=%s"), git(path, "status", "--porcelain")


READY = ("awm/S1", "ignore", "")


def test_a_worktree_is_made_on_a_new_branch_at_the_base(project, path, base):
    """It says that it made it, and a second time that it was there (SPEC 10.3)."""
    first = ensure(project, path, "awm/S1", base)
    commit(project, "later.txt", "x")

    assert (first, ensure(project, path, "awm/S1", base), state(path)) == (True, False, READY)


def test_a_branch_that_is_there_keeps_its_commits(project, path, base):
    """An earlier attempt's work counts (SPEC 10.1)."""
    git(project, "branch", "awm/S1", base)
    git(project, "worktree", "add", "-q", str(path), "awm/S1")
    commit(path, "work.txt", "work")
    git(project, "worktree", "remove", str(path))

    assert ensure(project, path, "awm/S1", base)
    assert state(path) == ("awm/S1", "work.txt: work", "")


def test_a_directory_removed_by_hand_is_made_again(project, worktree, base):
    """On the branch with its commits (SPEC 10.3)."""
    commit(worktree, "work.txt", "work")
    shutil.rmtree(worktree)

    assert ensure(project, worktree, "awm/S1", base)
    assert state(worktree) == ("awm/S1", "work.txt: work", "")


def test_several_are_made_and_removed_at_once(project, tmp_path, base):
    """Attempts run in parallel in one repository (SPEC 7.5)."""
    paths = [tmp_path / "worktrees" / f"S{n}" for n in range(8)]

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda path: ensure(project, path, f"awm/{path.name}", base), paths))
        list(pool.map(lambda path: remove(project, path, f"awm/{path.name}"), paths[:4]))
        again = list(pool.map(lambda path: ensure(project, path, f"awm/{path.name}", base), paths))

    assert (made, again) == ([True] * 8, [True] * 4 + [False] * 4)
    assert [branch(path) for path in paths] == [f"awm/{path.name}" for path in paths]


def half_merge(worktree: Path) -> None:
    git(worktree, "merge", "side", check=False)


def half_rebase(worktree: Path) -> None:
    git(worktree, "rebase", "side", check=False)


def half_apply(worktree: Path) -> None:
    git(worktree, "rebase", "--apply", "side", check=False)


def half_cherry_pick(worktree: Path) -> None:
    git(worktree, "cherry-pick", "side", check=False)


def half_revert(worktree: Path) -> None:
    git(worktree, "revert", "--no-edit", "HEAD~1", check=False)


def half_bisect(worktree: Path) -> None:
    git(worktree, "bisect", "start", "HEAD", "HEAD~2")


def torn_rebase(worktree: Path) -> None:
    """Git was killed while it wrote down what it was to do."""
    git_dir = Path(git(worktree, "rev-parse", "--absolute-git-dir"))
    (git_dir / "rebase-merge").mkdir()


def killed_git(worktree: Path) -> None:
    """SIGKILL leaves every lock file, and a rebase besides."""
    half_rebase(worktree)
    git_dir, common = (
        Path(git(worktree, "rev-parse", "--absolute-git-dir")),
        git(worktree, "rev-parse", "--git-common-dir"),
    )
    for lock in (git_dir / "index.lock", git_dir / "HEAD.lock", Path(common, "refs/heads/awm/S1.lock")):
        lock.touch()


def detached(worktree: Path) -> None:
    git(worktree, "checkout", "-q", "--detach", "HEAD~1")


def other_branch(worktree: Path) -> None:
    git(worktree, "checkout", "-q", "-b", "elsewhere", "HEAD~1")


HALF_DONE = [
    half_merge,
    half_rebase,
    half_apply,
    half_cherry_pick,
    half_revert,
    half_bisect,
    torn_rebase,
    killed_git,
    detached,
    other_branch,
]


@pytest.mark.parametrize("half_done", HALF_DONE)
def test_what_was_left_half_done_is_undone(project, worktree, base, half_done):
    """The next attempt finds its branch with all its commits and no conflict (SPEC 10.3)."""
    git(project, "checkout", "-q", "-b", "side")
    commit(project, "a.txt", "theirs\n")
    git(project, "checkout", "-q", "main")
    commit(worktree, "a.txt", "ours\n")
    commit(worktree, "a.txt", "ours again\n")
    half_done(worktree)

    assert ensure(project, worktree, "awm/S1", base) is False
    assert state(worktree) == ("awm/S1", "a.txt: ours again", "")
    assert git(worktree, "rebase", "--show-current-patch", check=False) == ""


def test_commits_made_off_the_branch_become_the_branch(project, worktree, base):
    """An agent that worked on a detached HEAD has worked (SPEC 10.1)."""
    git(worktree, "checkout", "-q", "--detach")
    commit(worktree, "work.txt", "work")

    ensure(project, worktree, "awm/S1", base)

    assert state(worktree) == ("awm/S1", "work.txt: work", "")


def test_uncommitted_work_survives_the_way_back_to_the_branch(project, worktree, base):
    """Also where the file is of another version there (SPEC 10.3)."""
    commit(worktree, "work.txt", "work")
    git(worktree, "checkout", "-q", "-b", "elsewhere", "HEAD~1")
    (worktree / "a.txt").write_text("unfinished\n")
    (worktree / "new.txt").write_text("new\n")

    ensure(project, worktree, "awm/S1", base)

    assert state(worktree) == ("awm/S1", "work.txt: work", "M a.txt\n?? new.txt")


def test_uncommitted_work_on_another_version_of_a_file_does_not_bar_the_way(project, worktree, base):
    """It is the salvage's (SPEC 10.3)."""
    commit(worktree, "a.txt", "work\n")
    git(worktree, "checkout", "-q", "-b", "elsewhere", "HEAD~1")
    (worktree / "a.txt").write_text("unfinished\n")

    ensure(project, worktree, "awm/S1", base)

    assert state(worktree) == ("awm/S1", "a.txt: work", "")


def test_a_checkout_that_fails_leaves_nothing_to_mistake_for_a_worktree(project, path, base):
    """A filter that is not installed, say; once it is, the worktree is made (SPEC 10.3)."""
    commit(project, ".gitattributes", "*.big filter=big\n")
    tip = commit(project, "x.big", "x")
    git(project, "config", "filter.big.required", "true")
    git(project, "config", "filter.big.clean", "cat")
    git(project, "config", "filter.big.smudge", "false")

    with pytest.raises(AwmError, match=r"cannot make a worktree at .*x\.big"):
        ensure(project, path, "awm/S1", tip)
    git(project, "config", "filter.big.smudge", "cat")

    assert ensure(project, path, "awm/S1", tip)
    assert state(path) == ("awm/S1", "x.big: x", "")


def test_only_one_process_adds_or_removes_at_a_time(project, path, base, monkeypatch):
    """And the wait has a bound (SPEC 10.3)."""
    monkeypatch.setattr(locks, "LOCK_SECONDS_MAX", 0.1)

    with locks.exclusive(project / ".git"):
        for change in (lambda: ensure(project, path, "awm/S1", base), lambda: remove(project, path, "awm/S1")):
            with pytest.raises(AwmError, match=r"was locked by another process for 0\.1 s"):
                change()


def test_what_is_not_this_worktree_stays_and_is_named(project, tmp_path, base):
    """A file, a directory with something in it, another repository, another's worktree, a symlink to one (SPEC 10.3)."""
    names = ("file", "directory", "repository", "other", "link")
    file, directory, repository, other, link = (tmp_path / name for name in names)
    file.write_text("mine")
    directory.mkdir()
    (directory / "mine").write_text("mine")
    shutil.copytree(project, repository)
    git(repository, "worktree", "add", "-q", "-b", "x", str(other))
    link.symlink_to(project)

    for path in (file, directory, repository, other, link):
        with pytest.raises(AwmError, match=f"{path} is in the way"):
            ensure(project, path, "awm/S1", base)
        with pytest.raises(AwmError, match="it stays"):
            remove(project, path, "awm/S1")

    assert (directory / "mine").read_text() == file.read_text() == "mine"
    assert [state(path)[1] for path in (repository, other, project)] == ["ignore"] * 3


def test_a_branch_checked_out_elsewhere_is_said(project, path, base):
    """A person looks at what the agent did: nothing is taken from under them (SPEC 10.3)."""
    git(project, "checkout", "-q", "-b", "awm/S1")

    with pytest.raises(AwmError, match="already checked out"):
        ensure(project, path, "awm/S1", base)
    remove(project, path, "awm/S1")

    assert state(project) == READY


def test_without_a_repository_or_a_commit_that_is_said(tmp_path, path):
    """One clear line (SPEC 6.3)."""
    with pytest.raises(AwmError, match="not in a git repository"):
        ensure(tmp_path, path, "awm/S1", "HEAD")
    git(tmp_path, "init", "-q")
    with pytest.raises(AwmError, match="cannot make a worktree"):
        ensure(tmp_path, path, "awm/S1", "")

    assert not path.exists()


def test_a_repository_or_home_that_was_moved_is_joined_again(project, worktree, base, tmp_path):
    """With the work in it (SPEC 10.3)."""
    (worktree / "new.txt").write_text("new\n")
    project.rename(tmp_path / "moved")
    assert ensure(tmp_path / "moved", worktree, "awm/S1", base) is False
    (tmp_path / "home").rename(tmp_path / "home2")
    path = tmp_path / "home2" / "worktrees" / "S1"

    assert ensure(tmp_path / "moved", path, "awm/S1", base) is False
    assert state(path) == ("awm/S1", "ignore", "?? new.txt")


def half_removed(project: Path, path: Path) -> None:
    (path / ".git").unlink()


def removed_by_hand(project: Path, path: Path) -> None:
    shutil.rmtree(path)


def locked_half_added(project: Path, path: Path) -> None:
    (project / ".git" / "worktrees" / path.name / "locked").write_text("initializing")


def untouched(project: Path, path: Path) -> None:
    (path / "new.txt").write_text("new")


@pytest.mark.parametrize("found", [untouched, half_removed, removed_by_hand, locked_half_added])
def test_a_worktree_goes_with_its_entry_and_branch(project, worktree, found):
    """However it was left, and again without harm (SPEC 10.3)."""
    found(project, worktree)

    for _ in range(2):
        remove(project, worktree, "awm/S1")

        left = (
            worktree.exists(),
            git(project, "worktree", "list").count("\n"),
            git(project, "branch", "--list", "awm/*"),
        )
        assert left == (False, 0, "")


def test_a_worktree_added_half_way_is_added_again(project, worktree, base):
    """Git's own lock on it says that nobody has worked in it (SPEC 10.3)."""
    locked_half_added(project, worktree)
    (worktree / "a.txt").unlink()

    assert ensure(project, worktree, "awm/S1", base)
    assert state(worktree) == READY


def listing(project: Path, ref: str) -> dict[str, str]:
    """The files at `ref` with their text."""
    names = git(project, "ls-tree", "-r", "-z", "--name-only", ref).split("\0")
    return {name: git(project, "show", f"{ref}:{name}") for name in names if name}


def everything(path: Path) -> tuple[str, str, str]:
    """What a salvage may not change."""
    return git(path, "status", "--porcelain"), git(path, "rev-parse", "HEAD"), git(path, "diff", "--cached")


def test_uncommitted_work_is_kept_and_stays_as_it_is(project, worktree, base):
    """Changed, deleted, staged and new, not ignored, whatever its name; HEAD, index and files stay (SPEC 10.3)."""
    commit(worktree, "gone.txt", "x")
    (worktree / "gone.txt").unlink()
    (worktree / "a.txt").write_text("unfinished")
    names = ["new.txt", ":(top)odd", "*", "-rf", "sub/line\nbreak", "\u00fcml\u00e4ut"]
    for name in names:
        (worktree / name).parent.mkdir(exist_ok=True)
        (worktree / name).write_text("new")
    (worktree / os.fsdecode(b"\xff")).write_text("no UTF-8")
    (worktree / "staged.log").write_text("forced")
    git(worktree, "add", "-f", "staged.log")
    (worktree / "ignored.log").write_text("x")
    before = everything(worktree)

    saved = salvage(worktree, SALVAGED)

    assert everything(worktree) == before
    assert git(project, "rev-parse", SALVAGED, f"{SALVAGED}^") == f"{saved}\n{before[1]}"
    assert git(project, "log", "-1", "--format=%an %ae %cn %ce", SALVAGED) == "AWM awm@localhost AWM awm@localhost"
    git(project, "checkout", "-q", "--detach", SALVAGED)
    found = {name.name: name.read_text() for name in project.rglob("*") if name.is_file() and ".git/" not in str(name)}
    expected = {Path(name).name: "new" for name in names} | {os.fsdecode(b"\xff"): "no UTF-8", "staged.log": "forced"}
    assert found == expected | {"a.txt": "unfinished", ".gitignore": "*.log\n"}


def test_where_nothing_is_uncommitted_there_is_nothing_to_keep(worktree, tmp_path):
    """None, and no ref; ignored files are no work; the same outside of git (SPEC 10.3)."""
    (worktree / "ignored.log").write_text("x")

    assert (salvage(worktree, SALVAGED), salvage(tmp_path, SALVAGED)) == (None, None)
    assert git(worktree, "for-each-ref", "refs/awm") == ""


def test_work_before_the_first_commit_is_kept(tmp_path):
    """A commit without a parent (SPEC 10.3)."""
    git(tmp_path, "init", "-q")
    assert salvage(tmp_path, SALVAGED) is None
    (tmp_path / "new.txt").write_text("new")

    saved = salvage(tmp_path, SALVAGED)

    assert (listing(tmp_path, SALVAGED), git(tmp_path, "log", "--format=%H", SALVAGED)) == ({"new.txt": "new"}, saved)


def test_work_in_the_middle_of_a_conflict_is_kept(project, worktree):
    """With its markers; the merge stays half-done (SPEC 10.3)."""
    commit(project, "a.txt", "theirs\n")
    commit(worktree, "a.txt", "ours\n")
    git(worktree, "merge", "main", check=False)
    before = everything(worktree)

    salvage(worktree, SALVAGED)

    assert "<<<<<<<" in listing(project, SALVAGED)["a.txt"]
    assert everything(worktree) == before


def test_repositories_inside_do_not_stop_it(project, worktree):
    """One without a commit, a broken submodule, another worktree: their work is theirs (SPEC 10.3)."""
    git(worktree, "init", "-q", "empty")
    git(worktree, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(project), "module")
    git(worktree, "commit", "-q", "-m", "module")
    (worktree / "module" / ".git").write_text("gitdir: /nowhere\n")
    git(worktree, "worktree", "add", "-q", "-b", "inner", "inner")
    (worktree / "new.txt").write_text("new")

    salvage(worktree, SALVAGED)

    assert git(worktree, "diff-tree", "-r", "--name-only", "--no-commit-id", SALVAGED) == "new.txt"


def test_a_file_that_became_a_directory_and_back_is_kept(project, worktree):
    """A thousand files too (SPEC 10.3)."""
    commit(worktree, "was_directory/x", "x")
    shutil.rmtree(worktree / "was_directory")
    (worktree / "was_directory").write_text("file")
    (worktree / "a.txt").unlink()
    (worktree / "a.txt").mkdir()
    for number in range(1100):
        (worktree / "a.txt" / str(number)).write_text(str(number))

    salvage(worktree, SALVAGED)

    names = git(project, "ls-tree", "-r", "--name-only", SALVAGED).split()
    assert set(names) == {".gitignore", "was_directory", *(f"a.txt/{number}" for number in range(1100))}


def test_what_cannot_be_kept_is_an_error_and_not_nothing(worktree):
    """Whoever hears "nothing" removes the files (SPEC 10.3)."""
    (worktree / "new.txt").write_text("new")
    git_dir = Path(git(worktree, "rev-parse", "--absolute-git-dir"))
    (git_dir / "index").write_bytes(b"torn")

    with pytest.raises(AwmError, match=r"git failed: .*index"):
        salvage(worktree, SALVAGED)


def test_a_file_that_cannot_be_stored_is_an_error_and_not_nothing(worktree):
    """A required filter fails, say (SPEC 10.3)."""
    git(worktree, "config", "filter.big.required", "true")
    git(worktree, "config", "filter.big.clean", "false")
    (worktree / ".gitattributes").write_text("*.big filter=big\n")
    (worktree / "x.big").write_text("x")

    with pytest.raises(AwmError, match=r"git failed: .*x\.big"):
        salvage(worktree, SALVAGED)


def test_a_persons_care_for_line_ends_does_not_stop_it(worktree):
    """Their configuration is for their own commits (SPEC 10.3)."""
    git(worktree, "config", "core.autocrlf", "input")
    git(worktree, "config", "core.safecrlf", "true")
    (worktree / "new.txt").write_bytes(b"one\r\ntwo\n")

    assert salvage(worktree, SALVAGED) is not None


def test_what_a_killed_git_was_writing_is_not_taken_for_work(worktree):
    """All work had been set aside before (SPEC 10.3)."""
    (worktree / "a.txt").write_text("unfinished")
    set_aside(worktree)
    for name in ("a.txt", "half-written"):
        (worktree / name).write_text("a dead git's")

    put_back(worktree)

    assert ((worktree / "a.txt").read_text(), state(worktree)[2]) == ("unfinished", "M a.txt")


def test_an_overwritten_salvage_is_in_the_reflog(worktree):
    """Nothing that was kept is lost (SPEC 10.3)."""
    (worktree / "new.txt").write_text("first")
    first = salvage(worktree, SALVAGED)
    (worktree / "new.txt").write_text("second")
    salvage(worktree, SALVAGED)

    assert git(worktree, "rev-parse", f"{SALVAGED}@{{1}}") == first


def test_a_clean_worktree_has_what_is_committed_and_what_is_ignored(worktree):
    """What is judged is what will be integrated (SPEC 10.1)."""
    (worktree / "a.txt").write_text("unfinished")
    (worktree / "sub").mkdir()
    (worktree / "sub" / "new.txt").write_text("new")
    (worktree / "ignored.log").write_text("x")

    clean(worktree)

    assert sorted(path.name for path in worktree.iterdir()) == [".git", ".gitignore", "a.txt", "ignored.log"]
    assert state(worktree) == READY


def test_what_a_killed_rebase_had_set_aside_comes_back(project, worktree, base):
    """Changed, deleted and new; but a file that HEAD has changed since is HEAD's (SPEC 10.3)."""
    for name in ("deleted.txt", "both.txt"):
        commit(worktree, name, "x")
    for name in ("a.txt", "both.txt", "new.txt"):
        (worktree / name).write_text("unfinished")
    (worktree / "deleted.txt").unlink()
    set_aside(worktree)
    assert state(worktree)[2] == ""
    commit(worktree, "both.txt", "newer")

    ensure(project, worktree, "awm/S1", base)

    assert state(worktree) == ("awm/S1", "both.txt: newer", "M a.txt\n D deleted.txt\n?? new.txt")
