"""The five CLIs through the whole loop: real processes that print what the real ones were heard to print (SPEC 7.2, 8, 9).

`fake_cli` is each of them, by name. What the real ones do is for `tests/live`.
"""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from home import QUICK, Home, only
from test_verbs import awm
from test_why import why

CLIS = ["claude", "codex", "gemini", "opencode", "aider"]
WITH_SESSIONS = CLIS[:4]
RESUMES = {"claude": ["--resume"], "codex": ["resume"], "gemini": ["--resume"], "opencode": ["-s"]}
LOGINS = {
    "claude": "ANTHROPIC_API_KEY",
    "codex": "OPENAI_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "opencode": "OPENROUTER_API_KEY",
    "aider": "DEEPSEEK_API_KEY",
}
DISPLAYED = {kind: kind.capitalize() for kind in CLIS}
FALLBACK = {"claude": "codex", "codex": "claude", "gemini": "opencode", "opencode": "gemini", "aider": "claude"}


def with_clis(home: Home, *kinds: str, loop: str = "", **plays: list[str]) -> None:
    """Agents named as their kinds, the first the default with the others as its fallbacks; what each run shall do."""
    programs, script = home.root / "bin", Path(__file__).with_name("fake_cli.py")
    programs.mkdir(exist_ok=True)
    home.environment["PATH"] = f"{programs}:{os.environ['PATH']}"
    agents = ""
    for kind in kinds:
        (programs / kind).symlink_to(script)
        agents += f'[agents.{kind}]\nkind = "{kind}"\n'
        agents += f"fallback = {json.dumps(kinds[1:])}\n" if kind == kinds[0] else ""
    home.config(f'{QUICK}limit_margin_seconds = 0\ndefault_agent = "{kinds[0]}"\n{loop}\n{agents}')
    (home.user / "play").mkdir(exist_ok=True)
    for kind, parts in plays.items():
        (home.user / "play" / kind).write_text("".join(f"{part}\n" for part in parts))


def queue(home: Home, *tasks: str, **fields: object) -> None:
    for task in tasks:
        home.spec(task, "true")
    home.queue(*tasks, **fields)


def runs(home: Home) -> list[dict[str, Any]]:
    """What each run of a CLI was given, in order."""
    path = home.user / "runs.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def who(home: Home) -> list[tuple[str, str]]:
    """Which CLI ran for which task, in order."""
    return [(run["name"], run["env"]["AWM_TASK"]) for run in runs(home)]


def outcomes(home: Home) -> list[str]:
    return [result["outcome"] for result in home.results()]


def counts(home: Home, task: str) -> tuple[int, int]:
    """Tries and strikes."""
    found = home.state()["tasks"].get(task, {})
    return found.get("tries", 0), found.get("strikes", 0)


def entries(home: Home) -> list[dict[str, Any]]:
    """What the metrics keep of the tasks that ended."""
    found: list[dict[str, Any]] = json.loads((home.path / "state" / "work_metrics.json").read_text())["sprints"]
    return found


def wait_for_rest(home: Home, results: int) -> None:
    """Until so many attempts have ended and been taken note of."""
    home.wait_for(lambda: len(home.results()) == results, beat_every=0.5)
    home.wait_for(lambda: not home.state()["attempts"] and not home.supervisors(), beat_every=0.5)


@pytest.mark.parametrize("kind", CLIS)
def test_a_queue_ends_with_real_commits(kind: str, home: Home) -> None:
    """Each task by one run of the CLI, which leaves a commit (SPEC 8, 10.1)."""
    with_clis(home, kind)
    queue(home, "S1", "S2")

    state = home.finish()

    assert (state["completed"], who(home), outcomes(home)) == (
        ["S1", "S2"],
        [(kind, "S1"), (kind, "S2")],
        ["succeeded", "succeeded"],
    )
    assert home.git("log", "--format=%s").splitlines() == ["S2", "S1", "base"]
    commits = home.git("log", "--format=%H", "-2").splitlines()
    assert [result["commits"] for result in home.results()] == [[commit] for commit in reversed(commits)]
    assert [(entry["agent"], entry["status"], entry["fallbackFor"]) for entry in entries(home)] == [
        (kind, "success", None)
    ] * 2


@pytest.mark.parametrize("kind", CLIS)
def test_it_gets_its_prompt_by_file_and_no_terminal(kind: str, home: Home) -> None:
    """No argument holds the prompt, no descriptor is a terminal, the environment is the listed one (SPEC 6.6, 8.5)."""
    with_clis(home, kind)
    home.environment["A_SECRET"] = "of ours"
    queue(home, "S1")

    home.finish()

    run = only(runs(home))
    assert (run["stdin"], run["prompt"], run["terminals"]) == (home.prompt(1), home.prompt(1), [])
    assert run["cwd"] == str(home.project)
    assert "Thing S1" in run["prompt"]
    assert "Thing S1" not in " ".join(run["argv"])
    assert "A_SECRET" not in run["env"]
    assert run["env"]["TZ"] == "UTC"


@pytest.mark.parametrize("verify", ["true", ""])
def test_git_is_asked_once_where_a_commit_is_written(verify: str, home: Home) -> None:
    """A CLI's sandbox must let it write there; each call of git is a process that falls between two agents."""
    with_clis(home, "codex")
    home.config(f'{QUICK}default_agent = "codex"\n[project]\nverify = "{verify}"\n[agents.codex]\nkind = "codex"\n')
    asked, real = home.root / "asked", shutil.which("git")
    (home.root / "bin" / "git").write_text(f'#!/bin/sh\necho "$*" >> {asked}\nexec {real} "$@"\n')
    (home.root / "bin" / "git").chmod(0o755)
    queue(home, "S1")

    assert home.finish()["completed"] == ["S1"]

    assert asked.read_text().count("rev-parse --path-format=absolute --git-dir --git-common-dir\n") == 1


def test_a_config_of_ones_own_for_opencode_is_not_replaced(home: Home) -> None:
    """AWM's comes beside it: a person's OPENCODE_CONFIG reaches the CLI as it is (SPEC 8.5)."""
    with_clis(home, "opencode")
    line = 'env_pass = ["OPENCODE_CONFIG"]'
    home.config(f'{QUICK}default_agent = "opencode"\n[agents.opencode]\nkind = "opencode"\n{line}\n')
    home.environment["OPENCODE_CONFIG"] = "/their/opencode.json"
    queue(home, "S1")

    home.finish()

    assert only(runs(home))["env"]["OPENCODE_CONFIG"] == "/their/opencode.json"


@pytest.mark.parametrize("isolation", ["in-place", "worktree"])
def test_what_aider_keeps_for_itself_is_no_work_of_the_task(isolation: str, home: Home) -> None:
    """Its cache is neither committed by the next agent nor salvaged: git is told to pass over it (SPEC 10.3)."""
    with_clis(home, "aider", loop=f'isolation = "{isolation}"')
    queue(home, "S1", "S2")

    assert home.finish()["completed"] == ["S1", "S2"]

    assert [result["remark"] for result in home.results()] == ["", ""]
    assert (home.git("status", "--porcelain"), home.git("ls-files")) == ("", "work.txt")
    assert (home.project / ".git" / "info" / "exclude").read_text().count(".aider") == 1


def test_what_it_says_on_stderr_is_kept_apart(home: Home) -> None:
    """stdout is the CLI's record, stderr its talk: out.log and out-errors.log (SPEC 8.2)."""
    with_clis(home, "gemini")
    queue(home, "S1")

    home.finish()

    lines = (home.attempt(1) / "out.log").read_text().splitlines()
    assert [json.loads(line)["type"] for line in (lines[0], lines[-1])] == ["init", "result"]
    assert "YOLO mode is enabled." in (home.attempt(1) / "out-errors.log").read_text()
    assert "YOLO" not in "".join(lines)


@pytest.mark.parametrize("kind", CLIS)
def test_at_a_cap_the_fallback_goes_on_until_the_account_is_open(kind: str, home: Home) -> None:
    """No try and no strike; the other starts in the same beat, and is marked; then the first one again (SPEC 7.2, 9)."""
    other, go = FALLBACK[kind], home.root / "go"
    with_clis(home, kind, other, **{kind: ["cap 5"], other: [f"ok {go}"]})
    queue(home, "S1", "S2")

    home.beat()
    home.wait_for(lambda: len(runs(home)) == 2)
    home.wait_for(lambda: home.texts("opened"), beat_every=0.5)
    go.touch()
    state = home.finish(0.5)

    assert (state["completed"], who(home)) == (["S1", "S2"], [(kind, "S1"), (other, "S1"), (kind, "S2")])
    assert outcomes(home) == ["limited", "succeeded", "succeeded"]
    taken = {line["what"]: line["at"] for line in home.journal() if line.get("task") == "S1"}
    assert taken["ended limited -> queued"] == taken["queued ready -> launching, launch"]
    [limit] = home.texts("limit")
    assert limit.startswith(f"⚡ {DISPLAYED[kind]} rate limited. Resets in ~")
    assert limit.endswith(f"Falling back to {DISPLAYED[other]}.")
    assert home.texts("opened") == [f"⚡ {DISPLAYED[kind]} is available again."]
    assert [(entry["agent"], entry["fallbackFor"]) for entry in entries(home)] == [(other, kind), (kind, None)]
    assert (home.texts("retry"), home.texts("stall")) == ([], [])


@pytest.mark.parametrize("kind", CLIS)
def test_a_cap_is_waited_out_and_the_same_session_goes_on(kind: str, home: Home) -> None:
    """Not before the reset; it costs nothing; a session gets a short prompt, aider the whole one again (SPEC 9)."""
    with_clis(home, kind, **{kind: ["cap 4"]})
    queue(home, "S1")

    home.beat()
    wait_for_rest(home, 1)
    waiting = home.state()
    counted = counts(home, "S1")
    state = home.finish(0.3)

    assert (waiting["queue"], waiting["active"], counted) == (["S1"], True, (0, 0))
    assert (state["completed"], outcomes(home)) == (["S1"], ["limited", "succeeded"])
    first, second = runs(home)
    assert second["at"] >= datetime.fromisoformat(home.results()[0]["limit"]["resetsAt"]).timestamp() - 1
    assert second["at"] - first["at"] >= 2.5
    assert "Thing S1" in first["prompt"]
    if kind in WITH_SESSIONS:
        session = home.results()[0]["sessionId"]
        at = second["argv"].index(*RESUMES[kind])
        assert second["argv"][at + 1] == session
        assert second["prompt"].startswith("# Sprint S1, go on\n")
        assert "What was tried before" not in second["prompt"]
        assert home.results()[1]["sessionId"] == session
    else:
        assert "Thing S1" in second["prompt"]


@pytest.mark.parametrize("kind", WITH_SESSIONS)
def test_a_session_that_is_gone_costs_no_try(kind: str, home: Home) -> None:
    """Expired or deleted: the same attempt begins afresh, and one process at a time is alive in it (SPEC 8.1, 9)."""
    with_clis(home, kind, **{kind: ["cap 3", "gone", "ok"]})
    queue(home, "S1")

    state = home.finish(0.3)

    assert (state["completed"], outcomes(home), home.texts("retry")) == (["S1"], ["limited", "succeeded"], [])
    _, resumed, fresh = runs(home)
    assert [set(RESUMES[kind]) <= set(run["argv"]) for run in (resumed, fresh)] == [True, False]
    assert resumed["env"]["AWM_ATTEMPT"] == fresh["env"]["AWM_ATTEMPT"] == home.attempt(2).name
    assert [run["company"] for run in runs(home)] == [[], [], []]
    assert (fresh["prompt"], home.results()[1]["sessionId"] in resumed["argv"]) == (home.prompt(2), False)


@pytest.mark.parametrize("kind", WITH_SESSIONS)
def test_a_new_session_that_fails_in_that_way_is_not_begun_again(kind: str, home: Home) -> None:
    """Only what was to be resumed can be gone: else it has failed, and a try is counted (SPEC 7.2)."""
    with_clis(home, kind, **{kind: ["gone", "ok"]})
    queue(home, "S1")

    home.finish()

    assert outcomes(home) == ["failed", "succeeded"]


def test_after_two_caps_the_first_to_open_goes_on_in_its_own_session(home: Home) -> None:
    """Each account keeps its session for the task, and is told what the other one tried meanwhile (SPEC 9)."""
    with_clis(home, "codex", "claude", codex=["cap 4"], claude=["cap 900"])
    queue(home, "S1")

    home.finish(0.3)

    assert who(home) == [("codex", "S1"), ("claude", "S1"), ("codex", "S1")]
    last = runs(home)[-1]
    assert last["argv"][-3:] == ["resume", home.results()[0]["sessionId"], "-"]
    assert "A limit of your account ended attempt 1 in the middle." in last["prompt"]
    assert "## What others tried since\n" in last["prompt"]
    assert "Attempt 2 by claude — limited" in last["prompt"]


@pytest.mark.parametrize("kind", CLIS)
def test_a_refused_login_turns_the_agent_off_until_a_person_says(kind: str, home: Home) -> None:
    """One notice, whatever notifyUser says; no try; the task waits; `awm agents on` brings it back (SPEC 7.2, 12.2)."""
    with_clis(home, kind, **{kind: ["auth"]})
    queue(home, "S1", "S2", notifyUser=False)

    home.beat()
    wait_for_rest(home, 1)
    for _ in range(2):
        home.beat()

    state = home.state()
    assert (outcomes(home), state["queue"], state["failed"]) == (["auth"], ["S1", "S2"], [])
    assert counts(home, "S1") == (0, 0)
    [told] = home.texts("auth")
    assert told.startswith(f"🔑 {DISPLAYED[kind]} is turned off — ")
    assert told.endswith(f"Sprint S1 waits. When that is mended: awm agents on {kind}")
    assert [notice["kind"] for notice in home.told] == ["auth"]
    found = why(home, "S1")
    assert only(found["waits for"]).startswith(f"you: {kind} is turned off, ")
    assert any(f"awm agents on {kind}" in line for line in found["next"])

    done = awm(home, "agents", "on", kind)

    assert (done.code, done.out) == (0, f"{kind} is on again; the next beat may start it\n")
    assert home.finish()["completed"] == ["S1", "S2"]
    assert len(runs(home)) == 3
    assert home.prompt(2).count("Thing S1") >= 1


@pytest.mark.parametrize("kind", CLIS)
def test_a_key_of_the_environment_reaches_it_only_by_name(kind: str, home: Home) -> None:
    """`env_pass` is the whole list; where the login is refused for want of a key, what to type is said (SPEC 8.5)."""
    with_clis(home, kind, **{kind: ["auth", "ok"]})
    home.environment[LOGINS[kind]] = "a-key"
    queue(home, "S1")

    home.beat()
    home.wait_for(lambda: home.texts("auth"), beat_every=0.5)
    wanted = f'env_pass = ["{LOGINS[kind]}"]'
    home.config(f'{QUICK}default_agent = "{kind}"\n[agents.{kind}]\nkind = "{kind}"\n{wanted}\n')
    awm(home, "agents", "on", kind)
    home.finish()

    assert [run["env"].get(LOGINS[kind]) for run in runs(home)] == [None, "a-key"]
    why_off = f"it does not get what is set here: {wanted} in [agents.{kind}]; "
    assert only(home.texts("auth")).startswith(f"🔑 {DISPLAYED[kind]} is turned off — {why_off}")


def test_a_fallback_goes_on_where_the_login_is_refused(home: Home) -> None:
    """At once, for this task and the next; the agent that is off is not asked again (SPEC 7.2)."""
    with_clis(home, "codex", "claude", codex=["auth"])
    queue(home, "S1", "S2")

    state = home.finish()

    assert (state["completed"], who(home)) == (["S1", "S2"], [("codex", "S1"), ("claude", "S1"), ("claude", "S2")])
    assert only(home.texts("auth")).endswith("Falling back to Claude. When that is mended: awm agents on codex")
    assert list(state["agentsOff"]) == ["codex"]
    assert [entry["fallbackFor"] for entry in entries(home)] == ["codex", "codex"]


def test_an_empty_purse_turns_the_agent_off_as_well(home: Home) -> None:
    """Waiting does not pay the bill (SPEC 7.2)."""
    with_clis(home, "claude", claude=["billing"])
    queue(home, "S1")

    home.beat()
    wait_for_rest(home, 1)

    assert (outcomes(home), home.state()["queue"]) == (["billing"], ["S1"])
    assert home.state()["agentsOff"] == {"claude": "Credit balance is too low"}


@pytest.mark.parametrize("kind", ["gemini", "opencode"])
def test_one_that_sleeps_out_a_limit_is_ended_and_its_account_waits(kind: str, home: Home) -> None:
    """It would block the lane for hours in silence; so it is a limit with its time, and costs nothing (SPEC 9.1)."""
    hours = {"gemini": timedelta(hours=2, minutes=13), "opencode": timedelta(seconds=8838)}
    with_clis(home, kind, **{kind: ["sleep"]})
    queue(home, "S1")

    home.beat()
    wait_for_rest(home, 1)

    assert (outcomes(home), counts(home, "S1"), home.state()["queue"]) == (["limited"], (0, 0), ["S1"])
    until = datetime.fromisoformat(home.state()["accounts"][kind]["deadline"])
    assert abs(until - datetime.now(UTC) - hours[kind]) < timedelta(minutes=2)
    home.wait_for(lambda: home.texts("limit"), beat_every=0.5)
    assert only(home.texts("limit")) == f"⚡ {DISPLAYED[kind]} rate limited. Resets in ~2 hours. Waiting."
    assert home.state()["tasks"]["S1"]["sessions"] == {kind: home.results()[0]["sessionId"]}
    home.wait_for(lambda: not home.processes())


@pytest.mark.parametrize("kind", CLIS)
def test_stop_leaves_no_process_of_it(kind: str, home: Home) -> None:
    """Its tool has a session of its own and ignores TERM, as theirs do (SPEC 8.3)."""
    with_clis(home, kind, **{kind: ["hang"]})
    queue(home, "S1")
    home.beat()
    home.wait_for(lambda: any("trap '' TERM" in line for line in home.processes().values()))
    assert len([pid for pid, line in home.processes().items() if "fake_cli" in line or "/bin/" + kind in line]) >= 1

    done = awm(home, "stop")
    wait_for_rest(home, 1)

    assert done.code == 0, done
    home.wait_for(lambda: not home.processes())
    assert (outcomes(home), home.state()["queue"], counts(home, "S1")) == (["stopped"], ["S1"], (0, 0))


@pytest.mark.parametrize("kind", WITH_SESSIONS)
def test_it_can_ask_a_person_from_within_its_sandbox(kind: str, home: Home) -> None:
    """The result file has a directory to itself, which the agent may write to; the rest stays shut (SPEC 8.6)."""
    with_clis(home, kind, **{kind: ["ask"]})
    queue(home, "S1")

    state = home.finish()

    assert (state["blocked"], home.results()[0]["question"]) == (["S1"], "Which colour?")
    told = only(runs(home))
    path = Path(told["env"]["AWM_RESULT_FILE"])
    assert (path, [*path.parent.iterdir()]) == (home.attempt(1) / "answer" / "agent-result.json", [path])
    roots = [root for option, root in zip(told["argv"], told["argv"][1:], strict=False) if option == "--add-dir"]
    assert roots == ([str(home.project / ".git"), str(path.parent)] if kind == "codex" else [])


def test_claude_that_may_use_no_tool_has_done_nothing(home: Home) -> None:
    """Exit 0, "success", and its own list of what was denied: hollow, and the retry is told so (SPEC 10.1)."""
    with_clis(home, "claude", claude=["noperm"])
    queue(home, "S1")

    state = home.finish()

    assert (state["completed"], outcomes(home)) == (["S1"], ["hollow", "succeeded"])
    assert home.results()[0]["error"] == "it was not allowed to use Bash"
    assert "it was not allowed to use Bash" in home.prompt(2)
    assert [bool(result["commits"]) for result in home.results()] == [False, True]


@pytest.mark.parametrize("kind", CLIS)
def test_output_that_breaks_off_is_no_success(kind: str, home: Home) -> None:
    """Exit code 0 and a commit prove nothing without its word that it is done; the next try may build on that (SPEC 10.1)."""
    with_clis(home, kind, **{kind: ["cut"]})
    queue(home, "S1")

    state = home.finish()

    assert outcomes(home)[0] in {"failed", "hollow"}
    assert (state["completed"], outcomes(home)[1:]) == (["S1"], ["succeeded"])
    assert len(home.git("log", "--format=%s", "--grep=S1").splitlines()) == 2


@pytest.mark.parametrize("kind", WITH_SESSIONS)
def test_sessions_are_gone_on_with_between_tasks_until_a_reset(kind: str, home: Home) -> None:
    """`resume_sessions`: one session for the tasks between two resets, the whole prompt for each (SPEC 11.1, 11.2)."""
    with_clis(home, kind, loop="resume_sessions = true")
    queue(home, "S1", "S2", "S3", autoNewAfterSprints=2)

    home.finish()

    first, second, third = runs(home)
    sessions = [result["sessionId"] for result in home.results()]
    assert [set(RESUMES[kind]) <= set(run["argv"]) for run in (first, second, third)] == [False, True, False]
    assert sessions[0] == sessions[1] == second["argv"][second["argv"].index(*RESUMES[kind]) + 1]
    assert sessions[2] not in sessions[:2]
    assert "Thing S2" in second["prompt"]


def test_sessions_are_not_gone_on_with_unless_asked(home: Home) -> None:
    """`resume_sessions` is off by default: each task begins afresh (SPEC 11.2, 16)."""
    with_clis(home, "claude")
    queue(home, "S1", "S2")

    home.finish()

    sessions = [result["sessionId"] for result in home.results()]
    assert ["--resume" in run["argv"] for run in runs(home)] == [False, False]
    assert len(set(sessions)) == 2


def test_a_configured_program_and_its_arguments_are_used(home: Home) -> None:
    """`executable`, `model`, `extra_args`, `sandbox`, `env_pass` of an agent (SPEC 16)."""
    with_clis(home, "codex")
    elsewhere = home.root / "elsewhere"
    elsewhere.mkdir()
    (home.root / "bin" / "codex").rename(elsewhere / "codex")
    home.environment["MY_KEY"] = "mine"
    home.config(
        f'{QUICK}default_agent = "codex"\n[agents.codex]\nkind = "codex"\nexecutable = "{elsewhere}/codex"\n'
        'model = "gpt-5.2-codex"\nextra_args = ["-c", "a=b"]\nsandbox = false\nenv_pass = ["MY_KEY"]\n'
    )
    queue(home, "S1")

    assert home.finish()["completed"] == ["S1"]

    run = only(runs(home))
    line = " ".join(run["argv"])
    assert ("-m gpt-5.2-codex" in line, "-c a=b" in line, run["env"]["MY_KEY"]) == (True, True, "mine")
    assert ("--dangerously-bypass-approvals-and-sandbox" in line, "workspace-write" in line) == (True, False)
    assert home.texts("started")[0].splitlines()[1] == "🤖 Model: Codex (gpt-5.2-codex)"


def test_a_program_that_is_gone_fails_with_its_name(home: Home) -> None:
    """As any other that cannot be run (SPEC 7.2)."""
    with_clis(home, "codex")
    (home.root / "bin" / "codex").unlink()
    home.environment["PATH"] = "/usr/bin:/bin"
    queue(home, "S1", maxRetries=0)

    state = home.finish()

    assert (state["failed"], outcomes(home)) == (["S1"], ["failed"])
    assert home.results()[0]["error"] == "program codex: No such file or directory"
