"""What a file trigger sees: contents, not times; what was there before is not news (SPEC 13.2)."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from awm_loop.trigger import glob_fault
from awm_loop.triggers import files
from awm_loop.triggers.files import Baseline, UnwatchableError, Watched

# Years from the files' own times, so that none is too young to be known by them.
NOW = datetime(2036, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    put(path / "src" / "a.ts", "a")
    put(path / "src" / "deep" / "b.ts", "b")
    put(path / "src" / "c.py", "c")
    return path


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def watched(project: Path, *globs: str, **extra: object) -> Watched:
    return Watched(project=project, globs=globs or ("src/**/*.ts",), **extra)  # type: ignore[arg-type]


def names(project: Path, *globs: str) -> list[str]:
    return sorted(files.look(watched(project, *globs), {}, NOW))


def after(project: Path, old: Baseline | None, seconds: float = 0.0) -> Baseline:
    return files.looked(old, watched(project), NOW + SECOND * seconds)


def test_the_globs_choose_the_files(project: Path) -> None:
    """`**` is any number of folders, also none; the rest is as in a shell (SPEC 13.2)."""
    put(project / "top.ts", "")
    put(project / "src" / ".hidden.ts", "")

    assert names(project, "src/**/*.ts") == ["src/.hidden.ts", "src/a.ts", "src/deep/b.ts"]
    assert names(project, "src/*.ts") == ["src/.hidden.ts", "src/a.ts"]
    assert names(project, "*.ts", "src/deep/?.[a-t]s") == ["src/deep/b.ts", "top.ts"]
    assert names(project, "**") == ["src/.hidden.ts", "src/a.ts", "src/c.py", "src/deep/b.ts", "top.ts"]
    assert names(project, "**/deep/**") == ["src/deep/b.ts"]


def test_folders_of_tools_are_seen_only_where_a_glob_names_them(project: Path) -> None:
    """`.git`, `node_modules` and their like are passed over, and AWM's own folders always."""
    put(project / "node_modules" / "x" / "i.ts", "")
    put(project / ".git" / "config.ts", "")
    put(project / "state" / "log.ts", "")
    ours = watched(project, "**/*.ts", "state/*", omitted=frozenset({str(project / "state")}))

    assert sorted(files.look(ours, {}, NOW)) == ["src/a.ts", "src/deep/b.ts"]
    assert names(project, "node_modules/**/*.ts", ".git/*") == [".git/config.ts", "node_modules/x/i.ts"]


def test_a_project_may_be_deeper_than_python_recurses(tmp_path: Path) -> None:
    """An agent may make a thousand folders in each other: no traceback, and what is in there counts (SPEC 13.2)."""
    here = os.open(".", os.O_RDONLY)
    os.chdir(tmp_path)
    try:
        for _ in range(1500):
            os.mkdir("d")  # noqa: PTH102  its whole path is too long for most calls
            os.chdir("d")
        put(Path("x.ts"), "")
        os.fchdir(here)
        found = [len(names(tmp_path, glob)) for glob in ("**/*.ts", "d/**/d/**/*.ts", "**/d/x.ts", "d/*/*.ts")]
    finally:
        os.fchdir(here)
        os.close(here)
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # Python's own way recurses

    assert found == [1, 1, 1, 0]


def test_no_symlink_is_followed(project: Path) -> None:
    """What lies outside of the project is none of it, whatever leads there (SPEC 17)."""
    outside = put(project.parent / "outside" / "secret.ts", "s")
    (project / "src" / "link.ts").symlink_to(outside)
    (project / "src" / "folder").symlink_to(outside.parent)
    (project / "src" / "loop").symlink_to(project)
    os.mkfifo(project / "src" / "fifo.ts")

    assert names(project) == ["src/a.ts", "src/deep/b.ts"]


def test_the_first_look_is_no_news(project: Path) -> None:
    """It takes a baseline and calls nothing."""
    first = after(project, None)

    assert (first.why, first.pending, sorted(first.files)) == ("the first look", None, ["src/a.ts", "src/deep/b.ts"])
    assert after(project, first, 60) == first


def test_touch_alone_is_no_change(project: Path) -> None:
    """New times, the same contents: nothing is pending, and the next look need not read the file again (SPEC 13.2)."""
    first = after(project, None)
    os.utime(project / "src" / "a.ts", (1, 1))
    second = after(project, first, 60)

    assert second.pending is None
    assert second.files["src/a.ts"][0] == first.files["src/a.ts"][0]
    assert second.files["src/a.ts"][1] != first.files["src/a.ts"][1]


def test_a_file_that_is_known_by_its_times_is_not_read_again(project: Path) -> None:
    """The mark that was known is taken where size, times and inode are as they were; else the contents are read."""
    first = after(project, None)
    digest, signature = first.files["src/a.ts"]

    assert files.look(watched(project), {"src/a.ts": ("0" * 32, signature)}, NOW)["src/a.ts"][0] == "0" * 32
    assert files.look(watched(project), {"src/a.ts": ("0" * 32, "other")}, NOW)["src/a.ts"] == (digest, signature)


def test_a_young_file_is_read_on_every_look(project: Path) -> None:
    """Within the grain of its times it could change without them: they are not kept yet."""
    young = datetime.fromtimestamp((project / "src" / "a.ts").stat().st_ctime, UTC)

    assert files.look(watched(project), {}, young)["src/a.ts"][1] == ""
    assert files.look(watched(project), {}, young + 3 * SECOND)["src/a.ts"][1] != ""


def test_what_was_created_changed_and_deleted_waits_for_the_debounce(project: Path) -> None:
    """It is due when it has stood still for that long, as one list; a change meanwhile begins the wait anew."""
    first = after(project, None)
    put(project / "src" / "a.ts", "A")
    put(project / "src" / "new.ts", "n")
    second = after(project, first, 10)
    (project / "src" / "deep" / "b.ts").unlink()
    third = after(project, second, 35)
    fourth = after(project, third, 60)

    assert [(one.pending and one.pending.at) for one in (second, third, fourth)] == [
        NOW + 10 * SECOND,
        NOW + 35 * SECOND,
        NOW + 35 * SECOND,
    ]
    assert fourth.told() == [("changed", "src/a.ts"), ("deleted", "src/deep/b.ts"), ("created", "src/new.ts")]
    assert fourth.pending is not None
    assert re.fullmatch(r"20360101T000035Z-[0-9a-f]{6}", fourth.pending.key)
    assert [files.is_due(fourth.pending, 30, NOW + SECOND * seconds) for seconds in (64, 65)] == [False, True]
    assert fourth.promoted(NOW).files == after(project, None).files


def test_a_change_that_is_taken_back_is_none(project: Path) -> None:
    """The contents are those of the baseline again: nothing is pending."""
    first = after(project, None)
    put(project / "src" / "a.ts", "A")
    second = after(project, first, 10)
    put(project / "src" / "a.ts", "a")

    assert second.told() == [("changed", "src/a.ts")]
    assert after(project, second, 20).pending is None


def test_a_clock_that_leaps_back_begins_the_debounce_anew(project: Path) -> None:
    """A change seen in the future was seen by a clock that was wrong."""
    first = after(project, None)
    put(project / "src" / "a.ts", "A")
    second = after(project, after(project, first, 3600), 10)

    assert second.pending is not None
    assert second.pending.at == NOW + 10 * SECOND


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        ({"since": NOW + 5 * SECOND}, "it was enabled"),
        ({"globs": ("**/*.ts",)}, "its globs or its project changed"),
        ({"since": NOW + 500 * SECOND}, ""),
    ],
)
def test_a_baseline_is_taken_anew_when_what_it_knows_is_void(project: Path, extra: dict[str, object], why: str) -> None:
    """When it is enabled again, when it looks elsewhere: without a call, and said why."""
    first = after(project, None)
    put(project / "src" / "a.ts", "A")
    other = Watched(**{"project": project, "globs": ("src/**/*.ts",), **extra})  # type: ignore[arg-type]
    second = files.looked(first, other, NOW + 10 * SECOND)

    assert (second.why, second.pending is None) == (why or "the first look", bool(why))
    assert files.looked(second, other, NOW + 20 * SECOND) == second


def test_a_baseline_is_read_back_as_it_was_written(tmp_path: Path, project: Path) -> None:
    """Also with changes pending, and names of any bytes; the file is nobody else's (SPEC 3.3)."""
    (tmp_path / "state").mkdir()
    first = after(project, None)
    put(project / "src" / "a.ts", "A")
    (project / "src" / "deep" / "b.ts").unlink()
    Path(os.fsdecode(os.fsencode(project / "src") + b"/\xff\n\x1b`.ts")).write_text("odd")
    second = after(project, first, 10)
    files.write(tmp_path, "docs", second)

    assert files.read(tmp_path, "docs") == second
    assert second.told()[-1] == ("deleted", "src/deep/b.ts")
    assert ("created", "src/\\xff\n\x1b`.ts") in second.told()
    assert files.path_of(tmp_path, "docs").stat().st_mode & 0o777 == 0o600


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.integers(0, 400), st.binary(max_size=4))
@example(b"[" * 100_000, b"")
@example(b'{"pending": null, "files": {"a": ["x", 1]}}', b"")
def test_a_torn_or_foreign_baseline_is_none(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes | int, put_in: bytes
) -> None:
    """Whatever stands in its file: it is read whole or not at all, and never an error."""
    home = tmp_path_factory.mktemp("home")
    (home / "state").mkdir()
    whole = Baseline(identity="x", taken_at=NOW, why="", files={"a": ("d", "s")})
    files.write(home, "docs", whole)
    path = files.path_of(home, "docs")
    data = path.read_bytes()
    path.write_bytes(junk if isinstance(junk, bytes) else data[:junk] + put_in + data[junk + len(put_in) :])
    found = files.read(home, "docs")

    assert found is None or isinstance(found, Baseline)


def test_too_many_files_are_a_trouble_with_a_name(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than the limit of files, of names or of bytes is refused; as many are not."""
    monkeypatch.setattr(files, "WATCHED_FILES_MAX", 2)
    assert names(project) == ["src/a.ts", "src/deep/b.ts"]
    put(project / "src" / "d.ts", "d")
    with pytest.raises(UnwatchableError, match="its globs match more than 2 files"):
        names(project)
    monkeypatch.setattr(files, "WATCHED_FILES_MAX", 10)
    monkeypatch.setattr(files, "WATCHED_BYTES_MAX", 3)
    assert len(names(project)) == 3
    put(project / "src" / "d.ts", "dd")
    with pytest.raises(UnwatchableError, match="narrow them"):
        names(project)
    monkeypatch.setattr(files, "WATCHED_NAMES_MAX", 3)
    with pytest.raises(UnwatchableError, match="there are more than 3 names to look at"):
        names(project)


def test_a_project_that_is_gone_is_not_one_whose_files_were_all_deleted(project: Path) -> None:
    """It is a trouble, and the baseline stays."""
    with pytest.raises(UnwatchableError, match="does not exist"):
        names(project / "gone")
    with pytest.raises(UnwatchableError, match="does not exist"):
        names(project / "src" / "a.ts")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_a_trouble(project: Path) -> None:
    """Its files were not deleted."""
    (project / "src" / "deep").chmod(0)
    try:
        with pytest.raises(UnwatchableError, match="Permission denied"):
            names(project)
    finally:
        (project / "src" / "deep").chmod(0o700)


@pytest.mark.parametrize(
    ("glob", "fault"),
    [
        ("", "it is empty, longer than 200 characters, or holds a NUL"),
        ("a" * 201, "it is empty, longer than 200 characters, or holds a NUL"),
        ("/etc/*", "it is to be relative to the project, without `..`, as src/**/*.ts"),
        ("../*", "it is to be relative to the project, without `..`, as src/**/*.ts"),
        ("src//a", "it is to be relative to the project, without `..`, as src/**/*.ts"),
        ("src/**.ts", "`**` stands alone between slashes, as in src/**/*.ts"),
        ("**/a/**/b/**/c/**", "more than 3 times `**`"),
        ("src/*.{ts,tsx}", "braces are not read: give one glob for each, as src/**/*.ts and src/**/*.tsx"),
        ("src/**/*.ts", ""),
        ("a" * 200, ""),
    ],
)
def test_a_wrong_glob_is_told(glob: str, fault: str) -> None:
    """What would never match what was meant is refused, with what to write."""
    assert glob_fault(glob) == fault
