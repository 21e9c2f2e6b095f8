"""`awm doctor` and a gateway: each thing that keeps sub-agents from work is found, with the lines that mend it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from claw import Claw, claw
from home import QUICK, Home

__all__ = ["claw"]

ALLOW = ["sessions_spawn", "exec", "apply_patch"]
LINES = '"gateway": {"tools": {"allow": ["sessions_spawn", "exec", "apply_patch"]}} into '


@pytest.fixture
def ready(home: Home, claw: Claw) -> Home:
    """A home with an agent at a gateway that lacks nothing."""
    home.config(f"{QUICK}{claw.config()}")
    own(home, {"tools": {"allow": ALLOW}})
    return home


def own(home: Home, gateway: object) -> Path:
    """The gateway's own configuration, where it looks for it."""
    path = home.user / ".openclaw" / "openclaw.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"gateway": gateway}))
    return path


def openclaw(home: Home, script: str) -> None:
    path = home.root / "bin" / "openclaw"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    home.environment["PATH"] = f"{home.root}/bin:{home.environ()['PATH']}"


def found(home: Home) -> list[tuple[str, str, str]]:
    """What a doctor says of the gateway."""
    done = subprocess.run(
        [sys.executable, "-m", "awm_loop.cli.main", "--home", str(home.path), "doctor", "--json"],
        env=home.environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "", done
    findings: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    last = max(index for index, one in enumerate(findings) if "beat is missing" in one["what"])
    return [(one["mark"], one["what"], one["remedy"]) for one in findings[last + 1 :]]


def test_a_gateway_that_lacks_nothing_is_well(ready: Home, claw: Claw) -> None:
    """It is ready, takes the token, allows each tool; its version where its program tells it; and nothing was done."""
    openclaw(ready, 'test "$1" = --version && echo "OpenClaw 2026.9.6 (eb377ac)"')
    ready.queue()

    said = found(ready)

    assert said == [
        ("ok", f"the gateway at {claw.url} is ready (OpenClaw 2026.9.6 (eb377ac))", ""),
        ("ok", "it takes the token, and allows sessions_list, sessions_spawn, subagents, sessions_history", ""),
        ("ok", "its sub-agents may run commands", ""),
    ]
    assert claw.truth() == []


def test_each_lack_has_its_remedy(ready: Home, claw: Claw) -> None:
    """A tool that is denied, by default or by somebody's word; sub-agents without a shell; a token that is another's."""
    ready.queue()
    path = own(ready, {"tools": {"allow": ["sessions_spawn"]}})
    claw.be(deny=["sessions_spawn", "sessions_history"])
    denied = found(ready)
    claw.be(deny=[], block=["subagents"])
    blocked = found(ready)
    claw.be(block=[], token="another")
    other = found(ready)
    del ready.environment["OPENCLAW_GATEWAY_TOKEN"]
    none = found(ready)

    well = ("ok", f"the gateway at {claw.url} is ready", "")
    bare = f"{path} does not allow exec: sub-agents could run no command and commit nothing"
    assert denied == [
        well,
        ("problem", "the gateway does not allow the tool sessions_spawn", f"{LINES}{path}"),
        (
            "problem",
            "the gateway does not allow the tool sessions_history",
            f"{path}: no `deny` may name sessions_history",
        ),
        ("problem", bare, f"{LINES}{path}"),
    ]
    rule = f"the gateway at {claw.url} blocks the tool subagents: a rule says no"
    assert blocked == [well, ("problem", rule, "a rule or hook in the gateway has to let it through")]
    remedy = f"set OPENCLAW_GATEWAY_TOKEN to gateway.auth.token of {path}"
    assert other == [well, ("problem", f"the gateway at {claw.url} does not take the token", remedy)]
    assert none == [well, ("problem", f"the gateway at {claw.url} wants a token, and none is known", remedy)]


def test_a_gateway_that_is_away_or_starts_is_said_so(ready: Home, claw: Claw) -> None:
    """Starting passes by itself; nobody there does not."""
    ready.queue()
    claw.kill()
    away = found(ready)
    claw.be(starting_seconds=60)
    claw.start(is_awaited=False)
    ready.wait_for(lambda: "ConnectError" not in found(ready)[0][1])
    starting = found(ready)

    hint = "openclaw gateway run; or correct [openclaw] url in awm.toml"
    assert away == [("problem", f"the gateway at {claw.url} does not answer (ConnectError)", hint)]
    assert starting == [
        ("warning", f"the gateway at {claw.url} is starting", "look again in a minute; it takes up to one")
    ]


def test_what_only_the_gateway_can_read_its_program_is_asked(ready: Home, claw: Claw) -> None:
    """Its configuration may be JSON5; messages want one tool more; a home without a gateway hears nothing of one."""
    ready.queue()
    own(ready, {}).write_text("{gateway: {tools: {allow: ['exec']}}}")
    openclaw(ready, 'test "$1 $2" = "config get" && echo \'["sessions_spawn", "exec"]\'')
    asked = found(ready)
    ready.config(f'{QUICK}[openclaw]\nurl = "{claw.url}"\nchannel = "test"\ntarget = "1"\n')
    messages = found(ready)
    ready.config(QUICK)
    nothing = found(ready)

    assert asked[-1] == ("ok", "its sub-agents may run commands", "")
    assert messages[-1] == ("ok", "it takes the token, and allows sessions_list, message", "")
    assert (nothing, claw.labels("message")) == ([], [])
