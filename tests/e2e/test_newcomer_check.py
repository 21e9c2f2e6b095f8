"""What a new user got wrong and `awm check` called right: found before the night (SPEC 4.7, 5.1, 16)."""

from __future__ import annotations

import json

import pytest
from home import QUICK, Done, Home
from test_verbs import awm

AGENT = QUICK + '[agents.mine]\nkind = "command"\ncommand = ["{program}"]\n'


def checked(home: Home, **environment: str) -> tuple[int, list[str], list[str]]:
    """The exit code, problems and warnings of `awm check --json`."""
    done = awm(home, "check", "--json", **environment)
    said = json.loads(done.out)
    assert said["ok"] == (not said["problems"]) == (done.code == 0)
    assert (done.err == "") == said["ok"]
    return done.code, said["problems"], said["warnings"]


def test_a_project_that_is_not_there_is_a_problem(home: Home) -> None:
    """SPEC 6.3: each beat with work would exit with 78."""
    home.spec("S1")
    home.queue("S1", project=str(home.root / "gone"))
    missing = checked(home)
    home.queue("S1", project="")
    empty = checked(home)

    assert missing == (78, [f"{home.state_path}: project directory {home.root}/gone does not exist"], [])
    assert empty == (78, [f"{home.state_path}: `project` is empty"], [])


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("cladue", "`cladue` is not on this PATH"),
        ("./agent.sh", "`./agent.sh`: there is no file {project}/agent.sh"),
        ("~/agent.sh", "`~/agent.sh`: nobody expands the `~`; write the path out"),
        ("./notes.txt", "`./notes.txt`: {project}/notes.txt is not executable"),
    ],
)
def test_an_agents_program_that_cannot_start_is_a_problem(home: Home, program: str, said: str) -> None:
    """SPEC 8.6: as the attempt would look for it: PATH, or a path that starts at the project."""
    (home.project / "notes.txt").write_text("no program")
    home.config(AGENT.replace("{program}", program))
    home.queue()

    assert checked(home) == (78, [f"agents.mine.command: {said.format(project=home.project)}"], [])


def test_an_agents_program_that_can_start_is_none(home: Home) -> None:
    """SPEC 8.6: on PATH, by its path, below the project."""
    (home.project / "agent.sh").write_text("#!/bin/sh\n")
    (home.project / "agent.sh").chmod(0o755)
    for program in ("git", "/bin/sh", "./agent.sh", "{workspace}/made-later.sh"):
        home.config(AGENT.replace("{program}", program))
        home.queue()

        assert checked(home) == (0, [], []), program


def test_a_placeholder_that_is_none_is_a_warning(home: Home) -> None:
    """SPEC 8.6: it may be meant as it stands; it is told, and the exit code is 0."""
    home.config(QUICK + '[agents.mine]\nkind = "command"\ncommand = ["git", "{promt_file}", "{task}"]\n')
    home.queue()

    done = awm(home, "check")

    warning = (
        "warning: agents.mine.command: {promt_file} is not filled in; "
        "these are: attempt, model, prompt_file, result_file, task, workspace"
    )
    assert (done.code, done.err, done.out.splitlines()[2:]) == (0, "", [warning])


def test_urls_that_nobody_understands_are_problems_and_unset_names_are_warnings(home: Home) -> None:
    """SPEC 12.2, 12.5, 17: the secret part of a URL is not repeated; the timer may have a name that is not set here."""
    urls = 'urls = ["discord://x", "env:NOPE", "env:BAD"]\nping_url = "ftp://x"\ncommand = ["nobody-has-this"]\n'
    home.config(QUICK + "[notify]\n" + urls)
    home.queue()

    code, problems, warnings = checked(home, BAD="secret-without-a-scheme")

    assert (code, problems) == (
        78,
        [
            "notify.urls, number 1: discord: not a URL that Apprise understands",
            "notify.urls, number 3: a value without a scheme: not a URL that Apprise understands",
            "notify.ping_url: not an http or https URL",
            "notify.command: `nobody-has-this` is not on this PATH",
        ],
    )
    assert warnings == ["awm.toml names env:NOPE, and the environment has no NOPE"]


def test_slips_in_a_spec_are_told_when_it_is_added_and_checked(home: Home) -> None:
    """SPEC 5.1: it is queued all the same: all of it may be meant."""
    home.queue()
    path = home.spec("S1", header="**Prioritty:** P9\n**Est:** a while")
    said = [
        "warning: S1: `Prioritty:` is no header of a spec and changes nothing; `Priority:` is",
        "warning: S1: `Est: a while` is not a length such as `45 min`; it counts as not given",
    ]

    added, check = awm(home, "add", str(path)), awm(home, "check")

    assert added == Done(0, "\n".join(["queued S1 (1 in the queue)", *said, ""]), "")
    assert (check.code, check.out.splitlines()[2:]) == (0, said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "**Model:** gpt-9\n\n```sh run\ntrue\n```",
            "`Model: gpt-9` names no agent and no model of one; agents: local",
        ),
        ("**Depends:** S9\n\n```sh run\ntrue\n```", "it depends on S9, which is not there"),
        (
            "```sh\ntrue\n```",
            (
                "the spec has no ```sh run block for agent local (kind shell) to run; "
                "agents that could do it: none (`**Model:** …`)"
            ),
        ),
    ],
)
def test_a_spec_that_would_be_blocked_is_told_when_it_is_added(home: Home, text: str, said: str) -> None:
    """SPEC 5.1: the verdict of `awm check`, in time; it is queued all the same."""
    home.queue()
    path = home.root / "S2.md"
    path.write_text(f"# Sprint S2: Thing\n\n{text}\n")

    done = awm(home, "add", str(path))

    assert done == Done(0, f"queued S2 (1 in the queue)\nwould be blocked: S2: {said}\n", "")
    assert home.state()["queue"] == ["S2"]


def test_a_block_for_another_shell_is_told_how_to_be_run(home: Home) -> None:
    """SPEC 8.7: only `sh run` is."""
    home.queue()
    path = home.root / "S2.md"
    path.write_text("# Sprint S2: Thing\n\n```bash run\ntrue\n```\n")

    done = awm(home, "add", str(path))

    assert done.out.splitlines()[-1] == "warning: S2: a block ```bash run is not run: only ```sh run is"


def test_what_a_spec_for_a_worktree_needs_is_looked_at(home: Home) -> None:
    """SPEC 10.3: the project is in git, so the spec can be done and is no problem."""
    home.spec("S1", header="**Isolation:** worktree")
    home.queue("S1")

    assert checked(home) == (0, [], [])


def test_a_table_that_is_none_is_named_by_its_line(home: Home) -> None:
    """SPEC 16: where it stands, not line 1."""
    home.config("[loop]\nstall_minutes = 15\n\n[agent.hang]\nkind = 'shell'\n")

    done = awm(home, "check")

    assert done == Done(78, "", f"awm: {home.path}/awm.toml:4: agent: unknown key\nhint: did you mean `agents`?\n")
