"""A task's spec: whatever stands at its path, the answer is a spec or the reason why not (SPEC 5.1, 8.7)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awm_loop.core.model import Spec
from awm_loop.core.observation import SpecBad
from awm_loop.core.project import Priority
from awm_loop.store import specfile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "SPRINT_S1_SPEC.md"


def read(path: Path, text: str | bytes) -> Spec | SpecBad:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return specfile.read(path, "S1", path.parent)


def spec(path: Path, text: str | bytes) -> Spec:
    found = read(path, text)
    assert isinstance(found, Spec), found
    return found


def under(path: Path, header: str) -> Spec:
    """A spec with these header lines under its title."""
    return spec(path, f"# Sprint S1: Thing\n{header}\n\nProse.\n")


def test_the_published_form_is_read_whole(path: Path) -> None:
    """Title, priority, estimate, files and model of the published header, and ours (SPEC 5.1)."""
    text = (
        "# Sprint S1: Search bar\n\n**Priority:** P1 — HIGH\n**Est:** 30 min\n**Files:** a.py, `b.py`\n"
        "**Model:** codex\n**Type:** Coding\n**Timeout:** 45 min\n**Commit:** no\n"
        "**Verify:** `pytest -q`\n**Gate-files:** tests/test_x.py, conftest.py\n**Isolation:** worktree\n\n## Goal\nA bar.\n"
    )
    (path.parent / "a.py").touch()

    assert read(path, text) == Spec(
        path=str(path),
        text=text,
        title="Search bar",
        priority=Priority.HIGH,
        estimate_minutes=30.0,
        files=("a.py", "b.py"),
        missing_files=("b.py",),
        model="codex",
        type="coding",
        timeout_minutes=45.0,
        commit=False,
        verify="pytest -q",
        gate_files=("tests/test_x.py", "conftest.py"),
        isolation="worktree",
    )


def test_a_spec_without_a_header_is_a_task_with_all_defaults(path: Path) -> None:
    """Each header is optional; without a title the id is one (SPEC 5.1)."""
    assert read(path, "Do it.\n") == Spec(path=str(path), text="Do it.\n", title="S1")


@pytest.mark.parametrize(
    ("heading", "title"),
    [
        ("# Sprint S1: Search bar", "Search bar"),
        ("# SPRINT S1 — Search bar", "Search bar"),
        ("# Sprint S1 - Search: the bar ##", "Search: the bar"),
        ("#\tsprint S2.a:  Search bar  ", "Search bar"),
        ("# s1: Search bar", "Search bar"),
        ("# Sprint: Search bar", "Search bar"),
        ("# Search bar", "Search bar"),
        ("# Fix - the bar", "Fix - the bar"),
        ("# Refactor: split it", "Refactor: split it"),
        ("# Learn C#", "Learn C#"),
        ("# Sprint S1", "Sprint S1"),
        ("# Sprint S1: a \x1b]0;evil\x07\u202ebar 🚀", "a ]0;evilbar 🚀"),
        ("# Sprint S1: " + "x" * 5000, "x" * 199 + "…"),
        ("#Search bar", "S1"),
        ("## Search bar", "S1"),
    ],
)
def test_a_title_is_what_people_would_call_the_task(path: Path, heading: str, title: str) -> None:
    """Without `Sprint`, its own id and what is not for print, and short enough for a message (SPEC 5.1, 12.1)."""
    assert spec(path, f"\n{heading}\n\ntext\n").title == title


@pytest.mark.parametrize(
    "line",
    [
        "**Model:** codex",
        "**model** : codex",
        "** MODEL: **codex",
        "**Model :**   `codex`  ",
        "- **Model:** codex",
        "*  **Model:** codex",
        "   **Model:**\tcodex\r",
        "**Model:** codex\n**Model:** opus",
        "**Model:** -\n**Model:** codex",
        "<!-- **Model:** opus -->\n**Model:** codex",
        "<!--\n**Model:** opus\n```\n-->\n**Model:** codex",
    ],
)
def test_a_header_is_free_in_case_and_spacing(path: Path, line: str) -> None:
    """The first that says something counts; what is commented out says nothing (SPEC 5.1)."""
    assert under(path, line).model == "codex"


@pytest.mark.parametrize(
    "text",
    [
        "```\n**Model:** codex\n```",
        "~~~ md\n**Model:** codex\n~~~",
        "````\n```\n````\n**Model:** codex",
        "    **Model:** codex",
        "\t**Model:** codex",
        "## Notes\n**Model:** codex",
        "# Another heading\n**Model:** codex",
        "> **Model:** codex",
        "The line **Model:** codex is an example.",
        "Model: codex",
        "**Model** codex",
        "<!-- **Model:** codex",
        "**Model:** none",
        "a\u2028**Model:** codex",
    ],
)
def test_code_prose_and_comments_hold_no_settings(path: Path, text: str) -> None:
    """Nothing is guessed from what is no header line of the head (SPEC 5.1)."""
    assert under(path, text).model == ""


@pytest.mark.parametrize(
    ("value", "priority"),
    [
        ("P0", Priority.CRITICAL),
        ("P1 — HIGH", Priority.HIGH),
        ("low", Priority.LOW),
        ("p2", Priority.MEDIUM),
        ("(Critical)", Priority.CRITICAL),
        ("P3 because it is high", Priority.LOW),
        ("P10", None),
        ("urgent", None),
        ("", None),
    ],
)
def test_a_priority_is_its_number_or_its_word(path: Path, value: str, priority: Priority | None) -> None:
    """P0 to P3; what is none says nothing, and its project's counts (SPEC 5.1, 13.1)."""
    assert under(path, f"**Priority:** {value}").priority is priority


@pytest.mark.parametrize(
    ("value", "minutes"),
    [
        ("30 min", 30.0),
        ("30min", 30.0),
        ("~1.5 h", 90.0),
        ("1,5 Hours", 90.0),
        ("1h 30m", 90.0),
        ("1h30m", 90.0),
        ("1 hour, 30 minutes", 90.0),
        ("90 s", 1.5),
        ("30-45 min", 45.0),
        ("30 min \u2013 1 h", 60.0),
        ("20 to 30 mins", 30.0),
        ("30 min (was 90 min)", 30.0),
        ("30 min - if lucky", 30.0),
        ("about 2 hrs", 120.0),
        ("45", None),
        ("soon", None),
        ("0 min", None),
        ("-5 min", None),
        ("500 ms", None),
        ("2 days", None),
        ("10000000 h", None),
        ("12345678901 min", None),
        ("9" * 400 + " h", None),
    ],
)
def test_a_length_is_read_as_people_write_it(path: Path, value: str, minutes: float | None) -> None:
    """Of a range the far end; what is none leaves the estimate open and blocks a `Timeout:` (SPEC 5.1)."""
    assert under(path, f"**Est:** {value}").estimate_minutes == minutes

    limited = read(path, f"# T\n**Timeout:** {value}\n")
    if minutes is None:
        assert limited == SpecBad(reason=f"spec file {path}: `Timeout: {value[:200]}` is not a length such as `45 min`")
    else:
        assert isinstance(limited, Spec)
        assert limited.timeout_minutes == minutes


@pytest.mark.parametrize(
    ("value", "commit"),
    [("no", False), ("`no`", False), ("No (docs only)", False), ("none", False), ("yes", True), ("notes", True)],
)
def test_commit_no_is_said_with_its_first_word(path: Path, value: str, commit: bool) -> None:
    """SPEC 10.1."""
    assert under(path, f"**Commit:** {value}").commit is commit


@pytest.mark.parametrize(
    ("line", "depends"),
    [
        ("**Depends:** S0", ("S0",)),
        ("**depends :** `S0, S1`", ("S0", "S1")),
        ("**Depends:** sprint S0 and S1, S0", ("S0", "S1")),
        ("**Depends:** none", ()),
        ("**Depends:** " + "x" * 64, ("x" * 64,)),
    ],
)
def test_what_a_task_depends_on_are_ids(path: Path, line: str, depends: tuple[str, ...]) -> None:
    """With commas or blanks between them, each once, in the order they stand in (SPEC 5.1, 13.5)."""
    assert under(path, line).depends == depends


@pytest.mark.parametrize("word", ["the/search", "x" * 65, "S0;", "-S0", "\N{CYRILLIC CAPITAL LETTER ES}1"])
def test_a_dependency_that_can_be_no_task_blocks_the_task(path: Path, word: str) -> None:
    """Nobody would wait for it, and that would be a false start (SPEC 5.1, 17)."""
    found = read(path, f"# S1\n**Depends:** S0, {word}\n")

    shown = f"S0, {word}"
    assert found == SpecBad(reason=f"spec file {path}: `Depends: {shown}`: {word!r} is not a task id")


@pytest.mark.parametrize(
    ("value", "verify"),
    [
        ("pytest -q", "pytest -q"),
        ("`pytest -q`", "pytest -q"),
        ("` pytest -q `  ", "pytest -q"),
        ("``echo `date` > a``", "echo `date` > a"),
        ("`date` && echo `date`", "`date` && echo `date`"),
        ("test -f a.py && grep -q 'x, **y**' \"a.py\" # done: yes", "test -f a.py && grep -q 'x, **y**' \"a.py\" # done: yes"),
        ("make check <!-- the slow one -->", "make check"),
        ("x" * 4096, "x" * 4096),
        ("`" + "x" * 4000 + "`", "x" * 4000),
        ("none-of-these-fail", "none-of-these-fail"),
        ("none", ""),
        ("`none`", ""),
        ("—", ""),
        ("`", ""),
        ("``", ""),
        ("` `", ""),
    ],
)  # fmt: skip
def test_a_gate_is_the_whole_line(path: Path, value: str, verify: str) -> None:
    """As `sh -c` is to run it; out of a code span, and nothing where nothing is said (SPEC 5.1, 10.1)."""
    assert under(path, f"**Verify:** {value}").verify == verify


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("tests/test_x.py", ("tests/test_x.py",)),
        ("`tests/test_x.py`,tests/,  `my tests/b.py` ", ("tests/test_x.py", "tests/", "my tests/b.py")),
        ("`a.py, b.py`", ("a.py", "b.py")),
        ("a.py,, `` ,", ("a.py",)),
        ("None", ()),
        (",", ()),
    ],
)
def test_gate_files_are_named_one_by_one(path: Path, value: str, names: tuple[str, ...]) -> None:
    """With commas between them; an empty name would be the whole project (SPEC 5.1, 10.2)."""
    assert under(path, f"**Gate-files:** {value}").gate_files == names


@pytest.mark.parametrize("name", ["Verify", "Gate-files"])
@pytest.mark.parametrize("value", ["x" * 4097, "`" + "x" * 10_000 + "`", "a\x00b"], ids=["long", "very long", "NUL"])
def test_a_gate_that_cannot_be_taken_whole_is_refused(path: Path, name: str, value: str) -> None:
    """Half of a shell line is another one, perhaps one that is always green (SPEC 10.1, 15.7)."""
    what = f"spec file {path}: `{name}:` is longer than 4096 characters or holds a NUL byte"

    assert read(path, f"# T\n**{name}:** {value}\n") == SpecBad(reason=what)


@pytest.mark.parametrize(
    ("value", "isolation"),
    [
        ("worktree", "worktree"),
        ("`Worktree`", "worktree"),
        ("In-Place", "in-place"),
        ("auto", ""),
        ("none", ""),
        ("", ""),
    ],
)
def test_the_workspace_is_named_by_its_kind(path: Path, value: str, isolation: str) -> None:
    """Where the spec says nothing, the configuration does (SPEC 5.1, 10.3)."""
    assert under(path, f"**Isolation:** {value}").isolation == isolation


@pytest.mark.parametrize("value", ["work tree", "container", "worktree, please", "in place"])
def test_another_kind_of_workspace_is_refused(path: Path, value: str) -> None:
    """Who asked for one of its own is not to be put into the project's (SPEC 10.3)."""
    assert read(path, f"# T\n**Isolation:** {value}\n") == SpecBad(
        reason=f"spec file {path}: `Isolation: {value}` is neither in-place nor worktree"
    )


def test_a_second_gate_is_refused_instead_of_ignored(path: Path) -> None:
    """SPEC 10.1: a task never passes for done without a gate that its spec names."""
    text = "# T\n**Verify:** make test\n**Verify:** make lint\n"

    assert read(path, text) == SpecBad(
        reason=f"spec file {path}: `Verify:` stands there twice; make one line of them: `Verify: first && second`"
    )


def test_a_byte_order_mark_and_crlf_are_accepted(path: Path) -> None:
    """As editors of other systems write them; the script has plain line ends (SPEC 5.1, 8.7)."""
    found = spec(path, b"\xef\xbb\xbf# Sprint S1: Thing\r\n**Model:** codex\r\n\r\n```sh run\r\ntrue\r\n```\r\n")

    assert (found.title, found.model, specfile.run_blocks(found.text)) == ("Thing", "codex", "true\n")


# Scripts


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("```sh run\na\n```", "a\n"),
        ("~~~ sh run\na\n~~~", "a\n"),
        ("```   sh \t  run   \na\n```", "a\n"),
        ("``````sh run\n```sh\na\n```\n``````", "```sh\na\n```\n"),
        ("````\n```sh run\na\n```\n````", ""),
        ("- item\n\n  ```sh run\n  a\n    b\n  ```", "a\n  b\n"),
        ("> ```sh run\n> a\n> ```", "a\n"),
        ("```sh run\na\n```\n\n```python\nb\n```\n\n```sh run\nc\n```", "a\n\nc\n"),
        ("```sh run\nnever closed", "never closed"),
        ("    ```sh run\n    a\n    ```", ""),
        ("<!--\n```sh run\na\n```\n-->", ""),
        ("```sh\na\n```\n```run sh\nb\n```\n```sh run now\nc\n```", ""),
        ("Use `sh run` blocks.", ""),
        ("```sh run\n```\n", ""),
        ("```sh run\n```\n\n````\n```sh run\na\n```\n````", ""),
    ],
)
def test_the_script_is_what_stands_in_sh_run_blocks(path: Path, text: str, script: str) -> None:
    """By the rules of Markdown: fences of either kind and any length, joined in order; examples are text (SPEC 8.7)."""
    found = spec(path, f"# T\n\n{text}\n")

    assert specfile.run_blocks(found.text).rstrip("\n") == script.rstrip("\n")
    assert found.has_script is bool(script)


@given(
    st.lists(st.sampled_from(["```", "~~~", "```sh run", "~~~~ sh run", "<!--", "-->", "> ", "- x", "    ", "a", ""]))
)
def test_a_spec_has_a_script_where_its_blocks_are_one(lines: list[str]) -> None:
    """The look that spares a beat the Markdown parser agrees with the parser (SPEC 8.7)."""
    text = "\n".join([*lines, "```sh run", "a"])

    assert specfile.has_run_block(text) is bool(specfile.run_blocks(text))


# What is no spec


def loop(path: Path) -> None:
    path.symlink_to(path.name)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything, so it becomes somebody else for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda path: None, "does not exist"),
    "FIFO": (os.mkfifo, "is not a regular file"),
    "directory": (Path.mkdir, "is not a regular file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is not a regular file"),
    "terminal": (lambda path: path.symlink_to("/dev/ptmx"), "is not a regular file"),
    "loop": (loop, "cannot be read: Too many levels of symbolic links"),
    "empty": (Path.touch, "is empty"),
    "blank": (lambda path: path.write_bytes(b"\xef\xbb\xbf \r\n\t"), "is empty"),
    "not UTF-8": (lambda path: path.write_bytes(b"# B\xfcro"), "is not UTF-8 (byte 3)"),
    "over 1 MiB": (lambda path: path.write_bytes(b"x" * 2**20 + b"y"), "is over 1 MiB"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_spec_is_told_and_never_raises_or_waits(path: Path, name: str) -> None:
    """It blocks its own task only (SPEC 5.1)."""
    make, reason = BAD[name]
    make(path)

    assert specfile.read(path, "S1", path.parent) == SpecBad(reason=f"spec file {path} {reason}")


def test_a_name_that_is_too_long_is_told(path: Path) -> None:
    """What the system cannot open is a reason, not a crash (SPEC 5.1)."""
    long = path.parent / ("x" * 300)

    assert specfile.read(long, "S1", path.parent) == SpecBad(
        reason=f"spec file {long} cannot be read: File name too long"
    )


def test_one_mebibyte_is_still_a_spec(path: Path) -> None:
    """The limit itself is allowed (SPEC 5.1)."""
    assert spec(path, b"# T\n" + b"x" * (2**20 - 4)).title == "T"


def test_a_spec_nobody_may_read_is_told(path: Path) -> None:
    """SPEC 5.1."""
    path.write_text("# T\n")
    path.chmod(0)

    with as_nobody():
        found = specfile.read(path, "S1", path.parent)

    assert found == SpecBad(reason=f"spec file {path} cannot be read: Permission denied")


def test_files_that_cannot_be_looked_for_count_as_missing(path: Path) -> None:
    """A name that no system has stopped the beat with a traceback once (SPEC 5.2, 6.3)."""
    names = ("x" * 300, "a\x00b", "ok.py")
    (path.parent / "ok.py").touch()

    assert under(path, f"**Files:** {', '.join(names)}").missing_files == names[:2]


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("# *:-~`>\n\tabSMlo1h,.<!"), max_size=200), st.booleans())
def test_no_text_is_too_strange(tmp_path_factory: pytest.TempPathFactory, text: str, is_header: bool) -> None:
    """Whatever it is made of, it is read, or refused with a reason (SPEC 5.1)."""
    path = tmp_path_factory.mktemp("spec") / "spec.md"

    found = read(path, f"# Sprint S1: T\n**Est:** {text}" if is_header else text)

    assert isinstance(found, SpecBad) or (found.text == path.read_bytes().decode() and found.title)


@pytest.mark.parametrize(
    "line",
    ["# " + "#" * 10**6 + "x", "# " + " " * 10**6 + "x", "**Est:** " + "1" * 10**6, "**Est:** " + " " * 10**6 + "x",
     "**Est:** " + "1 " * 500_000, " " * 10**6, "**" + "a" * 10**6, "**A:" + " " * 10**6, "<!--" * 250_000,
     "sh" + " run sh" * 140_000, "# Sprint " + "a-" * 500_000, "**Files:** " + "a," * 500_000,
     "**Verify:** " + "`" * 10**6, "**Verify:** `" + "a``" * 300_000, "**Gate-files:** " + " `" * 500_000],
    ids=range(15),
)  # fmt: skip
def test_a_line_of_a_mebibyte_takes_no_time(path: Path, line: str) -> None:
    """A pattern that looks again and again at the same spaces would hold the beat for hours (SPEC 6.3, 17)."""
    begun = time.process_time()
    read(path, f"# Sprint S1: T\n{line}\n")

    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    ("text", "renamed"),
    [
        ("# A\n", "# A\n"),
        ("# A\n\n**Depends:** S1, S2\r\n**Est:** S1\n", "# A\n\n**Depends:** x-S1, S2\r\n**Est:** S1\n"),
        (
            "# A\n- **Depends**: `S1`\n\n## B\n**Depends:** S1\n",
            "# A\n- **Depends**: `x-S1`\n\n## B\n**Depends:** S1\n",
        ),
        ("# A\n**Depends:** S11 S1.b S1\n", "# A\n**Depends:** S11 S1.b x-S1\n"),
    ],
)
def test_the_tasks_of_a_depends_line_are_renamed_and_nothing_else(text: str, renamed: str) -> None:
    """As `awm import --as` does, whose other tasks of those names stay (SPEC 13.5)."""
    assert specfile.with_depends(text, {"S1": "x-S1"}) == renamed


def test_a_depends_line_that_comments_hide_is_not_renamed_in_silence() -> None:
    """It would wait for another task."""
    with pytest.raises(ValueError, match="no plain"):
        specfile.with_depends("# A\n<!-- a\n-->**Depends:** S1\n", {"S1": "x-S1"})
