"""docs/LIVE.md from the results of the live tests: `table.py RESULTS.xml ...`, as pytest's --junitxml writes them; of
several runs of a test the last counts.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path

from clis import ALONE, KNOWN, Cli

HEAD = """\
# What was proved with the real CLIs

Written by `scripts/live` on {date}. Each CLI ran as its own program, in a network that had nothing but a model server of
the tests' own (tests/live/servers), with a heartbeat, supervisor, gate and notices as in use. Not proved: real accounts,
logins and models, none of which was used.
"""


def main() -> None:
    found: dict[tuple[str, str, str], str] = {}
    for case in (case for path in sys.argv[1:] for case in ET.parse(path).getroot().iter("testcase")):
        name, _, variant = case.get("name", "").rstrip("]").partition("[")
        cli = next((one for one in variant.split("-") if one in KNOWN), "")
        found[name, ", ".join(one for one in variant.split("-") if one != cli), cli] = _word(case)
    lines = [HEAD.format(date=datetime.now(UTC).date())]
    lines.append("| fact | " + " | ".join(f"{cli.name} {_version(cli)}" for cli in KNOWN.values()) + " |")
    lines.append("|---" * (len(KNOWN) + 1) + "|")
    meanings = _meanings()
    for name, variant in sorted({key[:2] for key in found}, key=lambda row: (list(meanings).index(row[0]), row[1])):
        words = (found.get((name, variant, cli), "not run") for cli in KNOWN)
        lines.append(f"| {_plain(name)}{variant and ': ' + variant} | " + " | ".join(words) + " |")
    lines += ["", "What each fact means:", "", *(f"- *{_plain(name)}*: {text}" for name, text in meanings.items())]
    print("\n".join(lines))


def _word(case: ET.Element) -> str:
    skipped = case.find("skipped")
    if skipped is not None:
        return "none: " + re.sub(r"^.*?: ", "", skipped.get("message", ""))
    is_bad = case.find("failure") is not None or case.find("error") is not None
    return "**failed**" if is_bad else f"proved, {float(case.get('time', 0)):.0f} s"


def _version(cli: Cli) -> str:
    if not cli.path.exists():
        return "not installed"
    done = subprocess.run([*ALONE, cli.path, "--version"], capture_output=True, text=True, check=False)
    return (re.findall(r"\d+\.\d+\.\d+", done.stdout) or ["?"])[0]


def _plain(name: str) -> str:
    return name.removeprefix("test_").replace("_", " ")


def _meanings() -> dict[str, str]:
    """What each test's docstring says, by its name, in the order of the files."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found[node.name] = " ".join((ast.get_docstring(node) or "").split())
    return found


main()
