"""Run the suite against planted faults (`scripts/mutants`): a fault that no test finds is a missing test.

Each fault stands in a copy of the tree of its own; the tests named with it run there until the first fails.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parents[2]
FAULTS_PATH = Path(__file__).with_name("faults.toml")
PATIENCE_SECONDS = 600.0  # a fault that makes the loop wait for ever is found as well
TESTS_FAILED = 1  # the exit code of pytest; others say that it could not run


class Fault(NamedTuple):
    """One line that is wrong: `old`, which stands once in `file`, becomes `new`; `tests` are pytest's arguments."""

    name: str
    file: str
    old: str
    new: str
    tests: str


def faults() -> list[Fault]:
    return [Fault(**one) for one in tomllib.loads(FAULTS_PATH.read_text(encoding="utf-8"))["fault"]]


def planted(text: str, fault: Fault) -> str:
    """The file's text with the fault in it. Raises ValueError where the code has moved on, SyntaxError for no Python."""
    if text.count(fault.old) != 1:
        raise ValueError(f"`{fault.name}`: {fault.file} has {text.count(fault.old)} times:\n{fault.old}")
    found = text.replace(fault.old, fault.new)
    compile(found, fault.file, "exec")  # one that is no Python would be found by every test
    return found


def find(fault: Fault) -> tuple[Fault, str, float]:
    """The fault, what became of it ("found", "SURVIVED" or an error), and how long that took in seconds."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="awm-mutant-", ignore_cleanup_errors=True) as scratch:
        tree = Path(scratch, "tree")
        tree.mkdir()
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        for name in subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.split(
            "\0"
        ):
            if name and (CHECKOUT / name).is_file():
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(CHECKOUT / name, tree / name)
        path = tree / fault.file
        path.write_text(planted(path.read_text(encoding="utf-8"), fault), encoding="utf-8")
        return fault, _run(tree, fault.tests), time.monotonic() - began


def _run(tree: Path, tests: str) -> str:
    arguments = ["-x", "-q", "-n0", "-p", "no:cacheprovider", "--basetemp", str(tree.parent / "pytest")]
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "pytest", *arguments, *tests.split()],
            cwd=tree,
            env=os.environ | {"PYTHONPATH": str(tree)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "found (by a test that does not end)"
    if done.returncode == TESTS_FAILED:
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return "found by " + failed[0].split(" ")[1].rpartition("::")[2] if failed else "found"
    return "SURVIVED" if done.returncode == 0 else f"pytest ended with {done.returncode}:\n{done.stdout[-2000:]}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/mutants", description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, metavar="N")
    parser.add_argument("words", nargs="*", metavar="WORDS", help="of a fault's name or file")
    options = parser.parse_args()
    wanted = [
        one for one in faults() if not options.words or any(word in f"{one.name} {one.file}" for word in options.words)
    ]
    for fault in wanted:
        planted((CHECKOUT / fault.file).read_text(encoding="utf-8"), fault)
    bad = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for count, (fault, verdict, seconds) in enumerate(pool.map(find, wanted), start=1):
            bad += not verdict.startswith("found")
            print(f"{count:3}/{len(wanted)}  {seconds:4.0f} s  {fault.name}: {verdict}", flush=True)
    print(f"{len(wanted) - bad} of {len(wanted)} faults found")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
