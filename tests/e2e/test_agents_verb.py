"""`awm agents`: who works and whether they may, turning one on again, and how AWM reads what a CLI said (SPEC 14)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from home import QUICK, REPOSITORY, Done, Home
from test_clis import CLIS, queue, wait_for_rest, with_clis
from test_verbs import awm

TRANSCRIPTS = Path(__file__).parent.parent / "agents" / "transcripts"
AT = "2026-11-21T07:28:00Z"
CAP = "You've hit your 5-hour limit · resets 9:41am (UTC)"
UNKNOWN = "AWM does not know this wording, and the sky is green"
ODD = b"\n".join(
    [
        b"\xff\xfe\x00\x80",
        b'{"type":"result"' * 100_000,
        b"[" * 100_000,
        b'{"type":"result","result":"\\ud800","session_id":{"a":[1e999,NaN]}}',
        b"\x1b]0;owned\x07\x1b[2J",
        b"null\n1e999\n[]\n[[{}]]",
    ]
)
FAILED: dict[str, Any] = {
    "outcome": "failed",
    "limit": None,
    "sessionId": None,
    "tokens": None,
    "costUsd": None,
    "summary": UNKNOWN,
}


def agents_json(home: Home) -> list[dict[str, Any]]:
    done = awm(home, "agents", "--json")
    assert (done.code, done.err) == (0, ""), done
    found: list[dict[str, Any]] = json.loads(done.out)
    return [one for one in found if one["name"] != "local"]


def reads(
    home: Home, *arguments: str | bytes, stdin: bytes | None = None, cwd: Path | None = None
) -> tuple[int, str, str]:
    """`awm agents read …` where there is no home at all."""
    done = subprocess.run(
        [sys.executable, "-m", "awm_loop.cli.main", "agents", "read", *arguments],
        cwd=cwd or home.root,
        env=home.environ() | {"PYTHONPATH": str(REPOSITORY)},
        input=b"" if stdin is None else stdin,
        capture_output=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def read_json(home: Home, *arguments: str | bytes, stdin: bytes | None = None) -> dict[str, Any]:
    code, out, err = reads(home, *arguments, "--json", stdin=stdin)
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


def test_agents_are_listed_with_what_keeps_them(home: Home) -> None:
    """Open, limited until when and by whose word, off and why: text and JSON (SPEC 14, issue 5)."""
    with_clis(home, "claude", "codex", "aider", claude=["cap 7200"], codex=["auth"])
    queue(home, "S1")
    home.finish()

    claude, codex, aider = agents_json(home)

    assert aider == {
        "name": "aider",
        "kind": "aider",
        "account": "aider",
        "state": "open",
        "until": None,
        "reason": None,
        "successRate": 100,
        "medianMinutes": pytest.approx(0, abs=0.5),
    }
    assert (claude["state"], claude["reason"], claude["successRate"]) == ("limited", "rate_limit_event", None)
    assert datetime.fromisoformat(claude["until"]) > datetime.fromisoformat(home.results()[0]["endedAt"])
    assert (codex["state"], codex["until"]) == ("off", None)
    assert codex["reason"].startswith("unexpected status 401 Unauthorized: Incorrect API key provided")
    heads, *rows = [line for line in awm(home, "agents").out.splitlines() if not line.startswith("local ")]
    assert heads.split() == ["AGENT", "KIND", "ACCOUNT", "STATE", "SUCCESS", "MEDIAN"]
    assert [row.split()[:4] for row in rows] == [
        ["claude", "claude", "claude", "limited"],
        ["codex", "codex", "codex", "off"],
        ["aider", "aider", "aider", "open"],
    ]
    assert re.search(r"  opens in ", rows[0])
    assert rows[1].endswith("; when that is mended: awm agents on codex")
    assert "100.0 %" in rows[2]


def test_agents_of_a_new_home_are_open(home: Home) -> None:
    """Without a state file, and without metrics: the embedded one is always there (SPEC 3.1, 8.7)."""
    assert json.loads(awm(home, "agents", "--json").out) == [
        {
            "name": "local",
            "kind": "shell",
            "account": "local",
            "state": "open",
            "until": None,
            "reason": None,
            "successRate": None,
            "medianMinutes": None,
        }
    ]


def test_turning_on_is_journalled_and_told_as_json(home: Home) -> None:
    """What a person did is in the journal, as what a beat did (SPEC 6.6, 14)."""
    with_clis(home, "codex", codex=["auth"])
    queue(home, "S1")
    home.beat()
    wait_for_rest(home, 1)

    done = awm(home, "agents", "on", "codex", "--json")

    assert (done.code, json.loads(done.out)) == (0, {"agent": "codex", "state": "open"})
    assert home.state()["agentsOff"] == {}
    assert "agent codex turned on" in [line["what"] for line in home.journal()]
    assert [one["state"] for one in agents_json(home)] == ["open"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("codex", "awm: codex is not turned off\nhint: awm agents lists them\n"),
        ("cladue", "awm: there is no agent cladue\nhint: agents: claude, codex, local\n"),
    ],
)
def test_turning_on_what_is_not_off_is_refused_with_a_hint(name: str, said: str, home: Home) -> None:
    """What is wrong, and what to type (SPEC 14)."""
    with_clis(home, "codex", "claude")
    queue(home, "S1")

    done = awm(home, "agents", "on", name)

    assert (done.code != 0, done.out, done.err) == (True, "", said)


def test_turning_one_on_by_hand_edit_is_the_same(home: Home) -> None:
    """The state file is the truth: who takes the agent out of `agentsOff` turns it on (SPEC 4.5)."""
    with_clis(home, "codex", codex=["auth"])
    queue(home, "S1")
    home.beat()
    wait_for_rest(home, 1)

    home.edit(lambda state: state.update(agentsOff={}))

    assert home.finish()["completed"] == ["S1"]


@pytest.mark.parametrize("kind", CLIS)
def test_a_recorded_success_is_read(kind: str, home: Home) -> None:
    """From the files a person kept: no home, nothing run, exactly these keys (issue 5)."""
    arguments = ["--stdout", str(TRANSCRIPTS / kind / "ok.stdout"), "--exit-code", "0"]
    errors_path = TRANSCRIPTS / kind / "ok.stderr"
    arguments += ["--stderr", str(errors_path)] if errors_path.exists() else []

    found = read_json(home, kind, *arguments)

    assert list(found) == ["outcome", "limit", "sessionId", "tokens", "costUsd", "summary"]
    assert (found["outcome"], found["limit"]) == ("succeeded", None)
    assert bool(found["sessionId"]) == (kind != "aider")
    assert found["summary"].startswith("MOCK-FINAL")


def test_a_cap_is_read_with_its_reset(home: Home) -> None:
    """Whole, as JSON and as text (SPEC 9.1)."""
    path = str(TRANSCRIPTS / "claude" / "cap-oauth.stdout")

    assert read_json(home, "claude", "--stdout", path, "--exit-code", "1") == {
        "outcome": "limited",
        "limit": {"resetsAt": "2026-11-21T09:41:03Z", "source": "rate_limit_event"},
        "sessionId": "3963e245-a8e8-4072-b28a-faaa2bea23f3",
        "tokens": {"input": 0, "output": 0},
        "costUsd": 0.0,
        "summary": CAP,
    }
    code, out, err = reads(home, "claude", "--stdout", path, "--exit-code", "1")
    assert (code, err) == (0, "")
    assert out.splitlines()[:2] == ["outcome   limited", "resets    2026-11-21T09:41:03Z (rate_limit_event)"]


def test_one_error_line_is_read(home: Home) -> None:
    """`--line`, at the time it was said; what AWM does not know is a failure (SPEC 9.1)."""
    found = read_json(home, "claude", "--line", CAP, "--at", AT)

    assert (found["outcome"], found["limit"]["resetsAt"]) == ("limited", "2026-11-21T09:41:00Z")
    assert read_json(home, "claude", "--line", UNKNOWN) == FAILED


@pytest.mark.parametrize("at", ["2026-11-21T07:28:00", "2026-11-21T08:28:00+01:00", "2026-11-21"])
def test_the_time_may_be_said_in_any_iso_form(at: str, home: Home) -> None:
    """With a zone or in the local one (SPEC 9.1)."""
    home.environment["TZ"] = "UTC"

    found = read_json(home, "claude", "--line", CAP, "--at", at)

    assert found["limit"]["resetsAt"] == "2026-11-21T09:41:00Z"


def test_a_run_that_slept_is_read_as_limited(home: Home) -> None:
    """What it printed on stdout came before its last wait; a run that was ended there came to that wait (SPEC 9.1)."""
    out = ['{"type":"init","session_id":"s"}', '{"type":"message","role":"assistant","content":"I begin."}']
    wait = "You have exhausted your capacity on this model. Your quota will reset after 2h13m0s."
    (home.root / "out").write_text("\n".join(out))
    (home.root / "err").write_text(f"Attempt 1 failed: {wait}. Retrying after 8838105ms...\n")
    files = ("--stdout", "out", "--stderr", "err", "--at", AT)
    expected = {"resetsAt": "2026-11-21T09:41:00Z", "source": "relative time"}

    found = read_json(home, "gemini", *files, "--exit-code", "124")
    assert (found["outcome"], found["limit"], found["sessionId"]) == ("limited", expected, "s")

    cancelled = {"type": "result", "status": "error", "error": {"message": "Operation cancelled."}, "stats": {}}
    (home.root / "out").write_text("\n".join([*out, json.dumps(cancelled)]))
    found = read_json(home, "gemini", *files, "--exit-code", "130")
    assert (found["outcome"], found["limit"]) == ("limited", expected)

    good = {"type": "result", "status": "success", "stats": {"output_tokens": 1, "input_tokens": 1, "tool_calls": 1}}
    (home.root / "out").write_text("\n".join([*out, json.dumps(good)]))
    assert read_json(home, "gemini", *files)["outcome"] == "succeeded"


def test_a_wait_that_the_program_was_stopped_in_is_kept(home: Home) -> None:
    """The supervisor ends it at its first long wait; that it then says it was stopped is no better word."""
    retry = {"type": "system", "subtype": "api_retry", "retry_delay_ms": 3_600_000, "error": "rate_limit"}
    stopped = {"type": "result", "subtype": "error_during_execution", "is_error": True}
    (home.root / "out").write_text(f"{json.dumps(retry)}\n{json.dumps(stopped)}")

    found = read_json(home, "claude", "--stdout", "out", "--exit-code", "143", "--at", AT)

    assert (found["outcome"], found["limit"]["resetsAt"]) == ("limited", "2026-11-21T08:28:00Z")


def test_output_may_come_on_stdin(home: Home) -> None:
    """`-` is our own stdin, as for any Unix program."""
    data = (TRANSCRIPTS / "codex" / "ok.stdout").read_bytes()

    found = read_json(home, "codex", "--stdout", "-", "--exit-code", "0", stdin=data)

    assert (found["outcome"], found["tokens"]) == ("succeeded", {"input": 2400, "output": 110})


def test_an_exit_code_alone_is_read(home: Home) -> None:
    """Gemini's are statuses of HTTP: 173 is 429 (agent-clis)."""
    assert read_json(home, "gemini", "--exit-code", "173")["outcome"] == "limited"
    assert read_json(home, "codex", "--exit-code", "-9")["summary"] == "killed by signal 9"


@pytest.mark.parametrize("kind", CLIS)
def test_no_bytes_whatever_break_it(kind: str, home: Home) -> None:
    """Agent output is data from outside: never a traceback, nothing that drives the terminal (SPEC 17)."""
    (home.root / "odd").write_bytes(ODD)

    for form in ((), ("--json",)):
        code, out, err = reads(home, kind, "--stdout", "odd", "--stderr", "odd", "--exit-code", "1", *form)
        assert (code, err) == (0, "")
        assert "\x1b" not in out
    assert json.loads(out)["outcome"] != "succeeded"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["claude"], "nothing to read: --stdout FILE, --stderr FILE, --exit-code N or --line TEXT"),
        (["cladue", "--exit-code", "1"], "'cladue' is not one of 'claude', 'codex', 'gemini', 'opencode', 'aider'"),
        (["claude", "--line", "x", "--at", "tomorrow"], "--at tomorrow: not a time of ISO 8601"),
        (["claude", "--line", "x", "--at", "0001-01-01T00:00:00"], "--at 0001-01-01T00:00:00: not a time of ISO 8601"),
        (["claude", "--line", "x", "--at", "9999-12-31T23:59:59-10:00"], ": not a time of ISO 8601"),
        (["claude", "--stdout", "nowhere"], "'nowhere': No such file or directory"),
        (["claude", "--line", "x", "--stdout", "-"], "--line stands alone"),
        (["claude", "--exit-code", "1000"], "1000 is not in the range"),
        ([], "Missing argument 'KIND'"),
    ],
)
def test_what_is_asked_wrongly_is_answered_with_what_to_type(arguments: list[str], said: str, home: Home) -> None:
    """Exit 2, and no traceback (SPEC 14)."""
    home.environment["TZ"] = "Asia/Tokyo"
    code, out, err = reads(home, *arguments)

    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_help_has_examples_that_work(home: Home) -> None:
    """SPEC 14: what `--help` shows can be typed."""
    done: Done = awm(home, "agents", "--help")

    assert 'awm agents read claude --line "' in done.out
    found = read_json(home, "claude", "--line", "5-hour limit reached ∙ resets 5am", "--at", AT)
    assert (found["outcome"], found["limit"]["resetsAt"]) == ("limited", "2026-11-22T05:00:00Z")


def test_doctor_finds_a_cli_that_is_not_installed(home: Home) -> None:
    """Where it was looked for, and what to type (SPEC 14, issue 5)."""
    home.environment["PATH"] = "/usr/bin:/bin"
    home.config(
        f'{QUICK}[agents.local]\nkind = "shell"\n[agents.codex]\nkind = "codex"\n[agents.aider]\nkind = "aider"\n'
    )
    queue(home, "S1")

    findings = json.loads(awm(home, "doctor", "--json").out)["findings"]

    told = [(one["mark"], one["what"], one["remedy"]) for one in findings if one["what"].startswith("agent")]
    assert told == [
        ("ok", "agent local: /usr/bin/sh", ""),
        (
            "problem",
            "agents.codex: `codex` is not on this PATH (/usr/bin:/bin)",
            "npm install -g @openai/codex, or write its whole path in awm.toml",
        ),
        (
            "problem",
            "agents.aider: `aider` is not on this PATH (/usr/bin:/bin)",
            "pipx install aider-chat, or write its whole path in awm.toml",
        ),
    ]


def test_check_finds_a_cli_that_is_not_installed(home: Home) -> None:
    """By its usual name on PATH, or where `executable` says it is (SPEC 14, 16)."""
    home.environment["PATH"] = "/usr/bin:/bin"
    home.config(
        f'{QUICK}default_agent = "a"\n[agents.a]\nkind = "gemini"\n[agents.b]\nkind = "claude"\nexecutable = "/nowhere/claude"\n'
    )

    done = awm(home, "check", "--json")

    assert (done.code, json.loads(done.out)["problems"]) == (
        78,
        [
            "agents.a: `gemini` is not on this PATH (/usr/bin:/bin); to install it: npm install -g @google/gemini-cli",
            "agents.b: `/nowhere/claude`: there is no file /nowhere/claude; to install it: npm install -g @anthropic-ai/claude-code",
        ],
    )


def test_install_takes_along_where_a_cli_is_and_names_its_login(home: Home) -> None:
    """nvm's directories are on the shell's PATH alone; a key in the shell is not in the timer (issue 4, SPEC 8.5)."""
    with_clis(home, "claude")
    home.config('[agents.claude]\nkind = "claude"\nenv_pass = ["ANTHROPIC_API_KEY"]\n')
    home.environment |= {"ANTHROPIC_API_KEY": "dummy", "CLAUDE_CODE_OAUTH_TOKEN": "dummy"}

    done = awm(home, "install", "--cron", "--dry-run")

    assert done.code == 0, done
    assert f"{home.root}/bin:" in done.out
    assert "the timer does not know ANTHROPIC_API_KEY" in done.out + done.err
    assert "CLAUDE_CODE_OAUTH_TOKEN" not in done.out + done.err
