"""The house rules that matter, as tests over the source (docs/SPEC.md; TigerBeetle's `tidy` is the model)."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
FILE_LINES_MAX = 400
TEST_LINES_MAX = 600
FUNCTION_LINES_MAX = 60
CORE_LINES_MAX = 1900  # a long sitting: docs/decisions/0007-projects-in-the-core.md
README_LINES_MAX = 200
DECISION_LINES_MAX = 60  # a page
VAGUE = {"util", "utils", "helper", "helpers", "manager", "managers", "common", "misc"}
MARKERS = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")  # put together, so that this file is clean as well
MACHINE = re.compile(
    r"/work/|/root/|/tmp/(?!\{)[\w.-]+/|/Users/\w|/home/(?!you\b)\w"
    r"|pypi\.org|pythonhosted|registry\.npmjs|artifactory|\b(?:10|192\.168|172\.(?:1[6-9]|2\d|3[01]))(?:\.\d{1,3}){2,3}\b"
)


@cache
def project_files() -> tuple[Path, ...]:
    """Every file that belongs to the project, relative to the checkout: tracked, or new and not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    return tuple(sorted(path for path in map(Path, listed.split("\0")) if path.name and (CHECKOUT / path).is_file()))


def sources(*suffixes: str) -> Iterator[tuple[Path, str]]:
    """The project's text files with one of `suffixes`, or all."""
    for path in project_files():
        if not suffixes or path.suffix in suffixes:
            yield path, (CHECKOUT / path).read_text(encoding="utf-8")


def functions() -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path, text in sources(".py"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


def is_test(path: Path) -> bool:
    return path.parts[0] == "tests"


def lines_count(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_files_are_short() -> None:
    """A source file has 400 lines at most, a test 600: more is two things in one."""
    long = {
        str(path): len(text.splitlines())
        for path, text in sources(".py", ".c")
        if len(text.splitlines()) > (TEST_LINES_MAX if is_test(path) else FILE_LINES_MAX)
    }

    assert long == {}


def test_functions_are_short() -> None:
    """A function has 60 lines at most."""
    long = {
        f"{path}:{node.name}": lines_count(node) for path, node in functions() if lines_count(node) > FUNCTION_LINES_MAX
    }

    assert long == {}


def test_the_core_can_be_read_in_one_sitting() -> None:
    """The core has 1,000 lines at most in all, as the README says."""
    counts = {
        str(path): len(text.splitlines()) for path, text in sources(".py") if path.parts[:2] == ("awm_loop", "core")
    }

    assert sum(counts.values()) <= CORE_LINES_MAX, counts


def test_no_name_is_vague() -> None:
    """No file, class or function is named for its shape: utils, helper, manager, common, misc."""
    words = {str(path): re.split(r"[^a-z]+", path.as_posix().lower()) for path in project_files()}
    for path, text in sources(".py"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                words[f"{path}:{node.name}"] = re.findall(r"[A-Z]?[a-z]+", node.name)

    assert [name for name, parts in words.items() if VAGUE & {part.lower() for part in parts}] == []


def test_only_named_errors_are_caught() -> None:
    """Nothing catches Exception or everything: what cannot be named cannot be answered."""
    broad = []
    for path, text in sources(".py"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ExceptHandler) and (node.type is None or "Exception" in names_in(node.type)):
                broad.append(f"{path}:{node.lineno}")
            if isinstance(node, ast.Call) and "suppress" in names_in(node.func) and "Exception" in names_in(*node.args):
                broad.append(f"{path}:{node.lineno}")

    assert broad == []


def names_in(*nodes: ast.expr) -> set[str]:
    """The names in an expression, of a tuple of errors too; BaseException counts as Exception."""
    found = {part.id for node in nodes for part in ast.walk(node) if isinstance(part, ast.Name)}
    found |= {part.attr for node in nodes for part in ast.walk(node) if isinstance(part, ast.Attribute)}
    return {name.removeprefix("Base") for name in found}


def test_nothing_is_left_for_later() -> None:
    """No file holds a note that something is still to be done: it is done, or an issue."""
    pattern = re.compile(rf"\b(?:{'|'.join(MARKERS)})\b")
    left = [f"{path}:{number}" for path, number, line in all_lines() if pattern.search(line)]

    assert left == []


def test_nothing_names_the_machine_it_was_written_on() -> None:
    """No file holds a path of somebody's machine, a private address or the host of a package registry."""
    found = [f"{path}:{number}: {line.strip()}" for path, number, line in all_lines() if MACHINE.search(line)]

    assert found == []


def all_lines() -> Iterator[tuple[Path, int, str]]:
    for path, text in sources():
        if path != Path(__file__).relative_to(CHECKOUT):
            yield from ((path, number, line) for number, line in enumerate(text.splitlines(), start=1))


@pytest.mark.parametrize(
    "line",
    ["cd /work/main", "/root/.pyenv", "'/tmp/try/x'", "/home/jane/src", "https://pypi.org/simple", "http://10.1.2.3/"],
)
def test_a_machines_name_is_found(line: str) -> None:
    """The rule above can fail."""
    assert MACHINE.search(line)


def test_every_test_states_its_fact() -> None:
    """Every test has a docstring of one fact, and its name is a sentence: three words at least."""
    tests = [
        (path, node) for path, node in functions() if path.name.startswith("test_") and node.name.startswith("test_")
    ]
    silent = [f"{path}:{node.name}" for path, node in tests if not ast.get_docstring(node)]
    curt = [f"{path}:{node.name}" for path, node in tests if len(node.name.split("_")) < 4]

    assert (silent, curt) == ([], [])


def test_every_module_says_what_it_is_for() -> None:
    """Every Python file that has code begins with a docstring."""
    silent = [str(path) for path, text in sources(".py") if text.strip() and not ast.get_docstring(ast.parse(text))]

    assert silent == []


def test_the_readme_is_short_and_plain() -> None:
    """The README has 200 lines at most, no badges and no emoji in its headings; a decision has one page."""
    text = (CHECKOUT / "README.md").read_text()
    headings = re.findall(r"^#+ .*", text, re.M)
    decisions = {str(path): len(text.splitlines()) for path, text in sources(".md") if "decisions" in path.parts}

    assert len(text.splitlines()) <= README_LINES_MAX
    assert "![" not in text
    assert [heading for heading in headings if not heading.isascii()] == []
    assert {path: count for path, count in decisions.items() if count > DECISION_LINES_MAX} == {}
