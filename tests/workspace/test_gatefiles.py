"""Gates judged by the files they had when the task began, and the workspace left as it was (SPEC 10.2)."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awm_loop.errors import DiskError
from awm_loop.workspace import gatefiles
from awm_loop.workspace.gatefiles import keep, named, swap_in, swap_out


def write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def tree(directory: Path) -> dict[str, tuple[str, ...]]:
    """Everything in a directory: kind, mode and contents."""
    found: dict[str, tuple[str, ...]] = {}
    for path in sorted(directory.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(directory))] = ("link", str(path.readlink()))
        elif path.is_file():
            found[str(path.relative_to(directory))] = ("file", oct(path.stat().st_mode & 0o777), path.read_text())
        else:
            found[str(path.relative_to(directory))] = ("directory" if path.is_dir() else "other",)
    return found


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    path = tmp_path / "workspace"
    write(path / "tests" / "test_x.py", "judge")
    write(path / "tests" / "sub" / "test_y.py", "other judge")
    write(path / "tests" / ".git" / "HEAD", "ref")
    write(path / "check.sh", "exit 1", 0o755)
    write(path / "with space.cfg", "")
    (path / "alias").symlink_to("tests")
    (path / "hard").symlink_to("alias/test_x.py")
    (path / "loop").symlink_to("loop")
    write(tmp_path / "outside.py", "secret")
    (path / "out").symlink_to("../outside.py")
    (path / "out_directory").symlink_to("..")
    return path


@pytest.mark.parametrize(
    ("verify", "names"),
    [
        ("pytest -q", ()),
        ("pytest -q tests/test_x.py", ("tests/test_x.py",)),
        ("pytest tests/test_x.py::test_a[1]", ("tests/test_x.py",)),
        ("tool --config='with space.cfg' && ./check.sh;", ("check.sh", "with space.cfg")),
        ("CHECK=check.sh sh -c 'sh $CHECK; pytest tests/sub/test_y.py'", ("check.sh", "tests/sub/test_y.py")),
        ("sh check.sh 'it is not closed", ("check.sh",)),
        ("# ./check.sh", ("check.sh",)),
        ("pytest tests", ()),
        ("pytest tests/../check.sh", ("check.sh",)),
        ("cat {workspace}/check.sh", ("check.sh",)),
        ("cat ../outside.py out out_directory/outside.py loop tests/.git/HEAD nothing /etc/passwd a\0b", ()),
        ("cat " + "x" * 300 + " check.sh", ("check.sh",)),
        ("pytest alias/test_x.py", ("alias", "tests/test_x.py")),
        ("pytest hard", ("alias", "hard", "tests/test_x.py")),
    ],
)
def test_the_gate_line_names_its_files(workspace, verify, names):
    """Words that are files of the workspace, and the links on the way; nothing outside of it (SPEC 10.2, 17)."""
    assert named(verify.format(workspace=workspace), (), workspace) == names


def test_declared_files_are_the_gate_files(workspace):
    """Directories with all in them, links followed; then the line's words do not count (SPEC 10.2)."""
    declared = ["alias", "check.sh", "..", "/", "out_directory", "nothing"]

    found = named("cat 'with space.cfg'", declared, workspace)

    assert found == ("alias", "check.sh", "tests/sub/test_y.py", "tests/test_x.py")


def test_gate_files_are_bounded(workspace, monkeypatch):
    """In number and in size (SPEC 17)."""
    monkeypatch.setattr(gatefiles, "GATE_FILE_BYTES_MAX", 10)
    assert named("", ["tests"], workspace) == ("tests/test_x.py",)
    monkeypatch.setattr(gatefiles, "GATE_FILE_BYTES_MAX", 11)
    monkeypatch.setattr(gatefiles, "GATE_FILES_MAX", 1)
    assert len(named("", ["tests"], workspace)) == 1


@given(st.text())
def test_any_gate_line_can_be_read(verify):
    """The owner's line may be anything that a shell takes, and more (SPEC 10.1)."""
    with tempfile.TemporaryDirectory() as directory:
        assert named(verify, (), Path(directory)) == ()


NAMES = ("tests/test_x.py", "check.sh", "hard", "alias")


@pytest.fixture
def kept(workspace: Path, tmp_path: Path) -> Path:
    keep(workspace, NAMES, tmp_path / "kept")
    return tmp_path / "kept"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return tmp_path / "saved"


JUDGES = {
    "tests/test_x.py": ("file", "0o644", "judge"),
    "check.sh": ("file", "0o755", "exit 1"),
    "hard": ("link", "alias/test_x.py"),
    "alias": ("link", "tests"),
}


def test_the_first_version_is_kept_with_its_mode(workspace, kept):
    """Later ones are not (SPEC 10.2)."""
    write(workspace / "check.sh", "exit 0")
    keep(workspace, NAMES, kept)

    assert tree(kept) == {"tests": ("directory",)} | JUDGES


def test_a_half_made_copy_is_made_again(workspace, tmp_path):
    """It has another name until it is whole (SPEC 10.2)."""
    write(tmp_path / "kept.half-made" / "check.sh" / "inner", "torn")

    keep(workspace, ("check.sh", "vanished"), tmp_path / "kept")

    assert tree(tmp_path / "kept") == {"check.sh": ("file", "0o755", "exit 1")}
    assert not (tmp_path / "kept.half-made").exists()


def edited(workspace: Path) -> None:
    write(workspace / "tests" / "test_x.py", "bribed")


def same_size(workspace: Path) -> None:
    write(workspace / "tests" / "test_x.py", "JUDGE")


def other_mode(workspace: Path) -> None:
    (workspace / "check.sh").chmod(0o644)


def deleted(workspace: Path) -> None:
    (workspace / "check.sh").unlink()


def directory_deleted(workspace: Path) -> None:
    shutil.rmtree(workspace / "tests")


def linked_out(workspace: Path) -> None:
    (workspace / "check.sh").unlink()
    (workspace / "check.sh").symlink_to("../outside.py")


def link_moved(workspace: Path) -> None:
    write(workspace / "mine" / "test_x.py", "bribed")
    (workspace / "alias").unlink()
    (workspace / "alias").symlink_to("mine")


def directory_instead(workspace: Path) -> None:
    (workspace / "check.sh").unlink()
    write(workspace / "check.sh" / "deep" / "file", "x")


def fifo_instead(workspace: Path) -> None:
    (workspace / "check.sh").unlink()
    os.mkfifo(workspace / "check.sh")


def parent_linked_out(workspace: Path) -> None:
    shutil.move(workspace / "tests", workspace / "moved")
    write(workspace.parent / "trap" / "test_x.py", "a person's")
    (workspace / "tests").symlink_to("../trap")


def parent_is_a_file(workspace: Path) -> None:
    shutil.rmtree(workspace / "tests")
    write(workspace / "tests", "file")


def all_at_once(workspace: Path) -> None:
    parent_linked_out(workspace)
    link_moved(workspace)
    directory_instead(workspace)


CHANGES = {
    edited: ("tests/test_x.py",),
    same_size: ("tests/test_x.py",),
    other_mode: ("check.sh",),
    deleted: ("check.sh",),
    directory_deleted: ("tests/test_x.py",),
    linked_out: ("check.sh",),
    link_moved: ("alias",),
    directory_instead: ("check.sh",),
    fifo_instead: ("check.sh",),
    parent_linked_out: ("tests/test_x.py",),
    parent_is_a_file: ("tests/test_x.py",),
    all_at_once: ("alias", "check.sh", "tests/test_x.py"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_judge_is_swapped_for_the_kept_one_and_back(workspace, kept, saved, change):
    """Nothing outside of the workspace is touched; afterwards all is as the agent left it (SPEC 10.2, 17)."""
    change(workspace)
    before, outside = tree(workspace), tree(workspace.parent / "trap")

    changed = swap_in(workspace, kept, saved)
    judged_by = {name: tree(workspace)[name] for name in NAMES}
    swap_out(workspace, saved)
    swap_out(workspace, saved)

    assert (changed, judged_by) == (CHANGES[change], JUDGES)
    assert (tree(workspace), tree(workspace.parent / "trap"), tree(saved)) == (before, outside, {})


def test_unchanged_judges_are_left_alone(workspace, kept, saved):
    """Not even written again (SPEC 10.2)."""
    before = (workspace / "check.sh").stat()

    assert swap_in(workspace, kept, saved) == ()
    assert ((workspace / "check.sh").stat(), saved.exists()) == (before, False)


def test_an_edit_made_during_the_gate_stays(workspace, kept, saved):
    """And the agent's version stays beside; the other files go back (SPEC 10.3)."""
    edited(workspace)
    other_mode(workspace)
    swap_in(workspace, kept, saved)
    write(workspace / "tests" / "test_x.py", "a person's")

    swap_out(workspace, saved)
    swap_out(workspace, saved)

    assert (workspace / "tests" / "test_x.py").read_text() == "a person's"
    assert oct((workspace / "check.sh").stat().st_mode & 0o777) == "0o644"
    assert [path.read_text() for path in saved.glob("*/files/tests/test_x.py")] == ["bribed"]
    assert list(saved.glob("*/swap.json")) == []


def test_a_swap_that_is_still_in_is_swapped_out_before_the_next(workspace, kept, saved):
    """Else the kept version would be saved as if it were the agent's (SPEC 10.2)."""
    edited(workspace)
    swap_in(workspace, kept, saved)

    assert swap_in(workspace, kept, saved) == ("tests/test_x.py",)
    swap_out(workspace, saved)
    assert (workspace / "tests" / "test_x.py").read_text() == "bribed"


def test_a_directory_made_during_the_gate_stays(workspace, kept, saved):
    """And the agent's stays aside (SPEC 10.3)."""
    directory_instead(workspace)
    swap_in(workspace, kept, saved)
    directory_instead(workspace)
    write(workspace / "check.sh" / "mine", "a person's")

    swap_out(workspace, saved)

    assert (workspace / "check.sh" / "mine").read_text() == "a person's"
    assert [path.name for path in workspace.glob(".awm-*/deep/*")] == ["file"]
    assert len(list(saved.iterdir())) == 1


def test_a_symlink_made_during_the_gate_is_not_followed(workspace, kept, saved):
    """What lies behind it is somebody's (SPEC 17)."""
    edited(workspace)
    swap_in(workspace, kept, saved)
    parent_linked_out(workspace)

    swap_out(workspace, saved)

    assert tree(workspace.parent / "trap") == {"test_x.py": ("file", "0o644", "a person's")}


def test_a_gate_that_leaves_files_in_a_directory_put_there_does_not_lose_them(workspace, kept, saved):
    """Bytecode, say; the directory then stays (SPEC 10.2)."""
    directory_deleted(workspace)
    swap_in(workspace, kept, saved)
    write(workspace / "tests" / "__pycache__" / "x.pyc", "x")

    swap_out(workspace, saved)

    assert {name for name in tree(workspace) if name.startswith("tests")} == {
        "tests",
        "tests/__pycache__",
        "tests/__pycache__/x.pyc",
    }


def test_a_workspace_that_is_gone_is_not_made_again(workspace, kept, saved):
    """A file in its place would keep the next one from being made (SPEC 10.3)."""
    edited(workspace)
    swap_in(workspace, kept, saved)
    shutil.rmtree(workspace)

    swap_out(workspace, saved)

    assert not workspace.exists()


def test_the_kept_version_has_a_second_of_its_own(workspace, kept, saved):
    """Else Python would run the bytecode of a changed test of the same size (SPEC 10.2)."""
    same_size(workspace)
    theirs = int((workspace / "tests" / "test_x.py").stat().st_mtime)

    swap_in(workspace, kept, saved)

    assert int((workspace / "tests" / "test_x.py").stat().st_mtime) != theirs


def test_a_disk_that_refuses_is_said_and_nothing_is_changed(workspace, kept, saved):
    """No judge is swapped before what was there is safe (SPEC 4.8)."""
    edited(workspace)
    before = tree(workspace)
    saved.write_text("in the way")

    with pytest.raises(DiskError, match="saved"):
        swap_in(workspace, kept, saved)

    assert tree(workspace) == before


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Run `work` in a child that is killed before its `step`-th file operation; whether it was."""
    count = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event.startswith(("os.", "shutil.")) or (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
        ):
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()
    if pid == 0:
        sys.addaudithook(hook)
        work()
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("change", [all_at_once, parent_is_a_file, fifo_instead])
def test_a_kill_at_any_step_is_finished_by_swapping_out(workspace, kept, saved, change):
    """SIGKILL before each file operation of in and out, and of the out that repairs (SPEC 10.3)."""
    change(workspace)
    before, trap = tree(workspace), tree(workspace.parent / "trap")

    step, was_killed = 0, True
    while was_killed:
        assert step < 300
        step += 1
        here = saved / str(step)
        was_killed = killed_at(step, lambda here=here: (swap_in(workspace, kept, here), swap_out(workspace, here)))
        killed_at(step % 7 + 1, partial(swap_out, workspace, here))
        swap_out(workspace, here)

        assert (tree(workspace), list(here.glob("*/swap.json"))) == (before, [])
    assert step > 20
    assert tree(workspace.parent / "trap") == trap
