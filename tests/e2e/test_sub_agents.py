"""Sub-agents of a gateway as workers, through whole beats (SPEC 7.3, 8.8, 9.3; docs/decisions/0008)."""

from __future__ import annotations

import json
import signal
from datetime import datetime, timedelta

import pytest
from claw import CAP, RESTARTED, Claw, claw
from home import QUICK, Home, kill, only
from test_verbs import awm

from awm_loop.launchers.gateway import INTENT

__all__ = ["claw"]
LOCKED = 'Inline API key for provider "mock" is temporarily disabled after a provider auth/billing failure. Retry after about {}…'


def queue(home: Home, claw: Claw, *tasks: str, loop: str = "") -> None:
    """A home whose only agent is a sub-agent, with `tasks` queued; the specs are there."""
    home.config(f'{QUICK}registration_grace_seconds = 3\ndefault_agent = "claw"\n{loop}{claw.config()}')
    home.queue(*tasks)


def begin(home: Home, claw: Claw, script: str = "sleep 1000", *, loop: str = "") -> None:
    """One task, whose sub-agent is at work."""
    home.spec("S1", home.work(script))
    queue(home, claw, "S1", loop=loop)
    home.beat()
    home.wait_for(lambda: home.begun() == ["S1"])


def leave_behind(home: Home, claw: Claw) -> None:
    """Its supervisor dies while the gateway is in trouble: nobody could end the sub-agent, which is at work still."""
    claw.be(fail=["subagents"])
    for pid in home.supervisors():
        kill(pid, signal.SIGKILL, str(home.root))
    home.wait_for(home.results, beat_every=0.5)
    assert len(claw.living()) == 1
    claw.be(fail=[])


def said(home: Home, number: int) -> list[dict[str, object]]:
    """What the attending program said in an attempt."""
    return [json.loads(line) for line in (home.attempt(number) / "out.log").read_text().splitlines()]


def test_a_queue_is_worked_off_by_sub_agents(home: Home, claw: Claw) -> None:
    """Each in the workspace, with commit and gate; its last words are the summary; it costs its parent nothing (SPEC 8.8)."""
    home.spec("S1", header="**Verify:** `git log --oneline | grep S1`")
    home.spec("S2", header="PLAY: say All of it.")
    queue(home, claw, "S1", "S2")

    state = home.finish()

    spawned = [request["args"] for request in claw.requests("sessions_spawn")]
    assert state["completed"] == ["S1", "S2"]
    assert [(result["summary"], result["tokens"]) for result in home.results()] == [
        ("The work is done.", {"input": 7377, "output": 0}),
        ("All of it.", {"input": 7377, "output": 0}),
    ]
    assert [line[0] for line in home.truth()] == ["begin", "end"] * 2
    assert [(args["cwd"], args["cleanup"], args["expectsCompletionMessage"]) for args in spawned] == [
        (str(home.project), "keep", False)
    ] * 2
    parents = {request["sessionKey"] for request in claw.requests()}
    assert len(parents) == 1
    assert "agent:main:main" not in parents
    assert [path for path in home.attempts() if (path / INTENT).exists()] == []


def test_it_is_told_where_its_result_file_is(home: Home, claw: Claw) -> None:
    """It has none of our variables; what it asks there blocks the task (SPEC 8.6)."""
    asks = """echo '{"status": "blocked", "question": "Which colour?"}' > "$(tail -n 3 prompt | grep -o '/.*agent-result.json')\""""
    home.spec("S1", asks)
    queue(home, claw, "S1")
    claw.be(prompt="prompt")

    state = home.finish()

    assert [one["question"] for one in home.results()] == ["Which colour?"]
    assert "S1" in state["blocked"]


def test_one_that_fails_is_tried_again_by_a_sub_agent_of_its_own(home: Home, claw: Claw) -> None:
    """Another number, another label (SPEC 7.1, 8.8)."""
    home.spec("S1", header="PLAY 1: fail The model is gone.")
    queue(home, claw, "S1")

    assert home.finish()["completed"] == ["S1"]
    assert [(one["outcome"], one["error"]) for one in home.results()] == [
        ("failed", "The model is gone."),
        ("succeeded", ""),
    ]
    assert len(set(claw.labels())) == len(claw.labels()) == 2


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (CAP, "limited"),
        (LOCKED.format("10"), "billing"),
        (LOCKED.format("1"), "auth"),
        (
            "Authentication failed (provider returned HTTP 401). Your provider token may have expired — try the request again in a m…",
            "auth",
        ),
        (RESTARTED, "rebooted"),
    ],
)
def test_what_the_gateway_says_of_a_failure_is_told_apart(home: Home, claw: Claw, error: str, outcome: str) -> None:
    """As recorded: a cap with its reset, a bill, a login, a restart that was nobody's fault (SPEC 9.1, 9.3)."""
    home.spec("S1", header=f"PLAY 1: fail {error}")
    queue(home, claw, "S1")
    home.beat()

    home.wait_for(home.results)

    result = home.results()[0]
    assert result["outcome"] == outcome
    if outcome == "limited":
        resets_at = datetime.fromisoformat(result["limit"]["resetsAt"])
        assert abs(resets_at - datetime.fromisoformat(result["endedAt"]) - timedelta(hours=4)) < timedelta(minutes=1)


def test_a_stop_ends_the_sub_agent(home: Home, claw: Claw) -> None:
    """`awm stop` is there when the gateway says that it is over (SPEC 8.3)."""
    begin(home, claw, loop="")

    assert awm(home, "skip", "S1").code == 0
    home.wait_for(home.results)

    assert (only(home.results())["outcome"], claw.living(), claw.tasks()[0]["status"]) == ("stopped", [], "cancelled")
    assert [path for path in home.attempts() if (path / INTENT).exists()] == []


def test_its_hard_time_limit_is_ours(home: Home, claw: Claw) -> None:
    """The gateway is given none, as it may never fire (SPEC 8.2)."""
    begin(home, claw, loop="attempt_max_minutes = 0.2\n")

    home.wait_for(home.results)

    assert (home.results()[0]["outcome"], claw.tasks()[-1]["status"]) == ("timed_out", "cancelled")
    assert "runTimeoutSeconds" not in claw.requests("sessions_spawn")[0]["args"]


def test_an_attending_program_that_is_killed_leaves_no_sub_agent(home: Home, claw: Claw) -> None:
    """Its supervisor ends it, before any next attempt does (SPEC 8.3, 8.8)."""
    begin(home, claw, loop="max_retries = 0\n")

    attending = [pid for pid, argv in home.processes().items() if "awm_loop.cli.attend" in argv]
    assert kill(only(attending), signal.SIGKILL, str(home.root))
    home.wait_for(home.results)

    assert ([task["status"] for task in claw.tasks()], claw.living()) == (["cancelled"], [])


def test_a_gateway_that_is_killed_costs_no_try(home: Home, claw: Claw) -> None:
    """While it is away nothing is dead; when it is back, what it interrupted is done again (SPEC 7.2, 7.3)."""
    begin(home, claw, f"until [ -e {home.root}/go ]; do sleep 0.05; done", loop="max_retries = 0\n")

    claw.kill()
    home.wait_for(lambda: any(line["type"] == "waits" for line in said(home, 1)))
    home.beat()
    assert home.results() == []
    (home.root / "go").touch()
    claw.be(starting_seconds=1.0)
    claw.start(is_awaited=False)
    state = home.finish()

    assert state["completed"] == ["S1"]
    assert [one["outcome"] for one in home.results()] == ["rebooted", "succeeded"]
    assert [line[0] for line in claw.truth() if line[0] == "double"] == []


@pytest.mark.parametrize(
    "moods", [{"lose": {"sessions_spawn": 1}}, {"lose": {"sessions_spawn": 1}, "late_seconds": 0.5}]
)
def test_an_answer_that_is_lost_starts_no_second_one(home: Home, claw: Claw, moods: dict[str, object]) -> None:
    """It is looked for by its label, as long as the grace lasts; an idempotency key does nothing (SPEC 7.3, 8.8)."""
    home.spec("S1")
    queue(home, claw, "S1")
    claw.be(**moods)

    assert home.finish()["completed"] == ["S1"]
    assert len(claw.labels()) == 1


def test_a_spawn_that_was_never_carried_out_is_made_after_the_grace(home: Home, claw: Claw) -> None:
    """The gateway died with the request in its hands (SPEC 7.3)."""
    home.spec("S1")
    queue(home, claw, "S1")
    claw.be(slow={"sessions_spawn": 1000})
    home.beat()
    home.wait_for(lambda: claw.requests("sessions_spawn"))
    claw.kill()
    claw.be(slow={})
    claw.start()

    assert home.finish()["completed"] == ["S1"]
    assert (len(claw.requests("sessions_spawn")), len(claw.labels())) == (2, 1)


def test_a_full_gateway_is_waited_for(home: Home, claw: Claw) -> None:
    """No try is lost, and it is said why (SPEC 7.3)."""
    claw.be(cap=0)
    home.spec("S1")
    queue(home, claw, "S1", loop="max_retries = 0\n")
    home.beat()
    home.wait_for(lambda: home.attempts() and len(claw.requests("sessions_spawn")) > 1)
    told = only([line["why"] for line in said(home, 1)])
    claw.be(cap=5)

    assert home.finish()["completed"] == ["S1"]
    assert told == "as many sub-agents as the gateway allows are at work"


@pytest.mark.parametrize(
    ("moods", "remedy"),
    [
        ({"token": "another"}, "set OPENCLAW_GATEWAY_TOKEN to gateway.auth.token of openclaw.json: "),
        ({"deny": ["sessions_spawn"]}, 'openclaw.json needs "gateway": {"tools": {"allow": ["sessions_spawn", '),
    ],
)
def test_what_is_not_opened_is_told_with_what_to_type(
    home: Home, claw: Claw, moods: dict[str, object], remedy: str
) -> None:
    """As a refused login of any agent, and the token stands nowhere (SPEC 9.3, 17)."""
    claw.be(**moods)
    home.spec("S1")
    queue(home, claw, "S1")

    home.beat()
    home.wait_for(home.results)

    result = only(home.results())
    assert (result["outcome"], result["error"][: len(remedy)], claw.labels()) == ("auth", remedy, [])


def test_the_token_is_nobody_elses(home: Home, claw: Claw) -> None:
    """Neither in arguments, nor in a file of the home, nor in the environment of the gate (SPEC 8.5, 17)."""
    secret = "tokenthatisverysecret"
    home.environment["OPENCLAW_GATEWAY_TOKEN"] = secret
    claw.be(token=secret)
    home.spec("S1", home.work("sleep 1"), header=f"**Verify:** `env > {home.root}/seen`")
    queue(home, claw, "S1")
    home.beat()
    home.wait_for(lambda: home.begun() == ["S1"])
    arguments = "\n".join(home.processes().values())
    home.finish()

    assert secret not in arguments
    assert [path for path, (_, _, data) in home.tree().items() if secret.encode() in data] == []
    assert secret not in (home.root / "seen").read_text()


def test_a_sub_agent_whose_supervisor_is_killed_is_ended_before_the_next(home: Home, claw: Claw) -> None:
    """By who sweeps; and two of one task never live at once (SPEC 8.3, 15.1)."""
    begin(home, claw, f"until [ -e {home.root}/go ]; do sleep 0.05; done")

    for pid in home.supervisors():
        kill(pid, signal.SIGKILL, str(home.root))
    home.wait_for(home.results, beat_every=0.5)
    (home.root / "go").touch()

    assert home.finish()["completed"] == ["S1"]
    assert [line for line in claw.truth() if line[0] == "double"] == []
    assert [task["status"] for task in claw.tasks()] == ["completed", "cancelled"]


def test_an_older_sub_agent_that_nobody_could_end_is_ended_by_the_next_start(home: Home, claw: Claw) -> None:
    """The gateway was in trouble when its supervisor died (SPEC 15.1)."""
    begin(home, claw, f"until [ -e {home.root}/go ]; do sleep 0.05; done")

    leave_behind(home, claw)
    (home.root / "go").touch()

    assert home.finish()["completed"] == ["S1"]
    assert [line for line in claw.truth() if line[0] == "double"] == []


def test_it_is_probed_as_any_agent(home: Home, claw: Claw) -> None:
    """One small task, for real, in a home that is thrown away (SPEC 9)."""
    queue(home, claw)

    done = awm(home, "agents", "probe", "claw", "--json")

    assert (done.code, json.loads(done.out)["outcome"]) == (0, "succeeded"), done
    assert len(claw.labels()) == 1


def test_a_probe_does_not_wait_for_a_gateway_that_is_away(home: Home, claw: Claw) -> None:
    """A task waits for it, a person at the terminal is told at once (SPEC 14)."""
    queue(home, claw)
    claw.kill()

    done = awm(home, "agents", "probe", "claw")

    hint = "openclaw gateway run; `awm doctor` says more"
    said = f"awm: the gateway at {claw.url} does not answer (ConnectError)\nhint: {hint}\n"
    assert (done.code, done.out, done.err) == (78, "", said)


def test_a_status_says_in_words_what_a_sub_agent_does(home: Home, claw: Claw) -> None:
    """What it is seen to do, and what it waits for: no event of the attending program's (SPEC 14)."""
    begin(home, claw)
    home.wait_for(lambda: "\n               running\n" in awm(home, "status").out)
    claw.kill()
    why = f"waits: the gateway at {claw.url} does not answer (ConnectError)"

    home.wait_for(lambda: f"\n               {why}\n" in awm(home, "status").out)


@pytest.mark.parametrize(("tool", "seconds_min"), [("", 3), ("exec", 12)])
def test_one_without_a_sign_of_life_stalls_and_a_tool_at_work_gets_four_times_as_long(
    home: Home, claw: Claw, tool: str, seconds_min: float
) -> None:
    """As it is with other agents: a build says nothing for long (SPEC 8.4)."""
    claw.be(tool=tool)
    begin(home, claw, loop="stall_minutes = 0.05\nsample_seconds = 0.5\n")

    home.wait_for(home.results, beat_every=0.5)

    result = home.results()[0]
    assert (result["outcome"], claw.tasks()[-1]["status"]) == ("stalled", "cancelled")
    assert result["seconds"] >= seconds_min


def test_a_gateway_that_is_away_is_no_stall(home: Home, claw: Claw) -> None:
    """However long: what waits says something new in time (SPEC 7.3, 8.4)."""
    begin(home, claw, loop="stall_minutes = 0.05\nsample_seconds = 0.5\n")
    claw.kill()
    home.wait_for(lambda: len([line for line in said(home, 1) if line["type"] == "waits"]) > 8, beat_every=0.5)

    assert home.results() == []


def test_a_gateway_that_hangs_keeps_nobody_from_stopping(home: Home, claw: Claw) -> None:
    """Its sub-agent is left to the next attempt, and the attempt's directory remembers it (SPEC 8.3)."""
    begin(home, claw)
    claw.be(slow={"subagents": 1000})

    assert awm(home, "skip", "S1").code == 0
    home.wait_for(home.results)

    assert only(home.results())["outcome"] == "stopped"
    assert len([path for path in home.attempts() if (path / INTENT).exists()]) == 1
