"""`awm add --template`: a task made of a template, from the command line to its end (SPEC 13.5, 14)."""

from __future__ import annotations

import json

from home import Home
from test_verbs import awm

GREET = """\
# Greet $whom

**Est:** 1 min

Say it to $whom.

```sh run
git commit -q --allow-empty -m "greeted at $$HOME"
```
"""


def add(home: Home, *arguments: str) -> tuple[int, str, str]:
    done = awm(home, "add", *arguments)
    return done.code, done.out, done.err


def test_a_template_becomes_a_task_that_is_done(home: Home) -> None:
    """The home's template, filled, queued under its own id, and worked at like any spec."""
    (home.path / "templates").mkdir()
    (home.path / "templates" / "greet.md").write_text(GREET)
    home.queue()

    done = awm(home, "add", "--template", "greet", "--set", "whom=`id` = $(id)", "--id", "G1", "--json")
    home.finish()

    assert json.loads(done.out) == {"added": ["G1"], "queue": ["G1"], "problems": [], "warnings": []}
    spec = home.path / "state" / "specs" / "G1.md"
    assert spec.read_text().splitlines()[::4] == [
        r"# Greet \x60id\x60 = $(id)",
        r"Say it to `\x60id\x60 = $(id)`.",
        "```",
    ]
    assert (home.state()["completed"], home.git("log", "-1", "--format=%s")) == (["G1"], f"greeted at {home.user}")


def test_a_template_gives_its_name_to_its_task(home: Home) -> None:
    """As often as wanted: the second is numbered, and the first one's spec is not touched."""
    codes = [add(home, "--template", "dependency-audit")[0] for _ in range(3)]
    names = ["dependency-audit", "dependency-audit-2", "dependency-audit-3"]

    assert (codes, home.state()["queue"]) == ([0, 0, 0], names)
    assert home.state()["specFiles"] == {name: str(home.path / "state" / "specs" / f"{name}.md") for name in names}


def test_a_spec_of_a_task_that_is_there_is_not_replaced(home: Home) -> None:
    """Its agent may be reading it."""
    add(home, "--template", "nightly-review", "--id", "N")
    spec = home.path / "state" / "specs" / "N.md"
    spec.write_text("# Mine\n")

    assert add(home, "--template", "dependency-audit", "--id", "N") == (
        78,
        "",
        "awm: N is already there (queue)\nhint: --id NAME gives it another id; `awm retry N` runs the old one again\n",
    )
    assert spec.read_text() == "# Mine\n"


def test_a_template_says_what_it_lacks(home: Home) -> None:
    """An unknown name lists those there are, a missing value is named, a wrong --set is shown (SPEC 14)."""
    known = "broken-build, dependency-audit, docs-on-change, nightly-review"

    assert [add(home, *one)[2] for one in (["--template", "x"], ["--template", "nightly-review", "--set", "a"])] == [
        f"awm: there is no template 'x'\nhint: there are: {known}\n",
        "awm: --set a: is no NAME=VALUE\nhint: --set branch=main\n",
    ]
    assert "no value is given for $branch, $commit, $repository" in add(home, "--template", "broken-build")[2]


def test_specs_and_a_template_do_not_go_together(home: Home) -> None:
    """One or the other, and not neither (SPEC 14)."""
    spec = home.spec("S1")

    assert [
        add(home, *one)[0] for one in ([str(spec), "--template", "nightly-review"], [], [str(spec), "--set", "a=b"])
    ] == [2, 2, 2]
