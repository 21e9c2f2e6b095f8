"""`awm check` on what calls for work: what a trigger or a window would stumble over is named before its time (SPEC 13)."""

from __future__ import annotations

import json

from home import Home
from test_verbs import awm

from awm_loop.triggers.templates import SHIPPED_PATH

UNFIT = (
    "the spec has no ```sh run block for agent local (kind shell) to run; agents that could do it: none"
    " (`**Model:** …`)"
)
MINE = '[agents.mine]\nkind = "command"\ncommand = ["sh"]\n'


def put(home: Home, name: str, entries: list[dict[str, object]]) -> None:
    (home.path / "state" / f"{name}.json").write_text(json.dumps({name: entries}))


def test_triggers_and_windows_that_cannot_work_are_named(home: Home) -> None:
    """Each with what is wrong; a template whose values the caller brings is right (SPEC 13.2, 13.3)."""
    site = {"path": str(home.project)}
    put(
        home,
        "projects",
        [
            {**site, "id": "mars", "window": "22:00-07:00 Mars/Olympus"},
            {**site, "id": "old", "status": "archived"},
            {"id": "gone", "path": "/nowhere/at/all"},
        ],
    )
    at = {"type": "time", "trigger": "0 2 * * *"}
    put(
        home,
        "triggers",
        [
            {**at, "id": "no-spec", "spec": "none.md"},
            {**at, "id": "no-template", "template": "nighly-review"},
            {**at, "id": "no-value", "template": "broken-build"},
            {**at, "id": "no-zone", "template": "nightly-review", "timezone": "Mars/Olympus"},
            {**at, "id": "never", "template": "nightly-review", "trigger": "0 0 31 2 *"},
            {**at, "id": "no-project", "template": "nightly-review", "projectId": "x"},
            {**at, "id": "over", "template": "nightly-review", "projectId": "old"},
            {**at, "id": "off", "spec": "none.md", "enabled": False},
            {**at, "id": "right", "template": "nightly-review"},
            {"id": "brought", "type": "webhook", "template": "broken-build"},
        ],
    )
    home.config(
        '[loop]\ndefault_agent = "mine"\n' + MINE + '[hook.triggers]\nbrougt = ["env:X"]\nbrought = ["env:Y"]\n'
    )
    home.queue()
    done = awm(home, "check", "--json")
    said = json.loads(done.out)

    assert done.code == 78
    wrong = [
        line.partition(" (")[0].partition(": a name")[0]
        for line in said["problems"]
        if "project directory /nowhere/at/all" not in line
    ]
    assert [line.replace(str(SHIPPED_PATH), "") for line in wrong] == [
        "project mars: its window never opens: this machine knows no time zone Mars/Olympus",
        "trigger no-spec: the spec 'none.md' cannot be read: No such file or directory",
        "trigger no-template: there is no template 'nighly-review'",
        "trigger no-value: /broken-build.md: no value is given for $branch, $commit, $repository, $run, $url, $workflow",
        "trigger no-zone: this machine knows no zone Mars/Olympus",
        "trigger never: '0 0 31 2 *' never comes",
        "trigger no-project: there is no project x",
    ]
    assert said["warnings"] == [
        "trigger over queues nothing: project old is archived",
        "[hook.triggers] brougt: no enabled trigger of type webhook has that id",
    ]


def test_what_can_work_is_no_problem(home: Home) -> None:
    """A home with a trigger and a window that are right."""
    home.config(f'[loop]\ndefault_agent = "mine"\n{MINE}')
    put(home, "projects", [{"id": "site", "path": str(home.project), "window": "22:00-07:00 Europe/Berlin"}])
    put(
        home,
        "triggers",
        [{"id": "n", "type": "time", "trigger": "0 2 * * *", "template": "nightly-review", "projectId": "site"}],
    )
    home.queue()

    assert awm(home, "check").code == 0


def test_a_trigger_whose_task_nobody_could_do_is_named(home: Home) -> None:
    """Prose in a home with none but shell agents: it would be blocked each time, as `awm add` says of a spec (SPEC 5.1)."""
    put(home, "triggers", [{"id": "n", "type": "time", "trigger": "0 2 * * *", "template": "nightly-review"}])
    home.queue()
    done = awm(home, "check", "--json")

    assert (done.code, json.loads(done.out)["warnings"]) == (0, [f"trigger n: its task would be blocked: {UNFIT}"])
