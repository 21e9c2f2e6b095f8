"""What `awm doctor` looks at where a home has to do with an OpenClaw gateway: is it there, and open enough.

No tool is told to do anything: called with nothing, each that is open says what it lacks (seen with 2026.9.6). `exec`
is never open there; but a sub-agent is denied it unless the gateway's configuration allows it there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress

from awm_loop import gateway
from awm_loop.cli import timers
from awm_loop.cli.fitness import Finding, ok, problem, warning
from awm_loop.config import GATEWAY_KIND, Config, OpenClawConfig
from awm_loop.gateway import Blocked, Gateway, NotAllowed, Refused, Starting, Unreachable
from awm_loop.wiring import Home

FOR_ALL = ("sessions_list",)
FOR_WORKERS = ("sessions_spawn", "subagents", "sessions_history")
FOR_MESSAGES = ("message",)
TO_OPEN = ("sessions_spawn", "exec", "apply_patch")  # what a worker needs of what is denied by default


def findings(home: Home) -> Iterator[Finding]:
    """Nothing where neither an agent nor `[openclaw]` asks for a gateway."""
    config = home.config
    is_worker = any(agent.kind == GATEWAY_KIND for agent in config.agents.values())
    if not is_worker and config.openclaw == OpenClawConfig():
        return
    found, path = gateway.of(config.openclaw), gateway.config_path()
    where = f"the gateway at {found.url}"
    trouble = found.ready()
    if isinstance(trouble, Starting):
        yield warning(f"{where} is starting", "look again in a minute; it takes up to one")
        return
    if trouble is not None:
        yield problem(trouble.text, "openclaw gateway run; or correct [openclaw] url in awm.toml")
        return
    version = timers.said("openclaw", "--version").strip()
    yield ok(f"{where} is ready" + (f" ({version})" if version else ""))
    yield from _open(found, config, is_worker, str(path))


def _open(found: Gateway, config: Config, is_worker: bool, path: str) -> Iterator[Finding]:
    """Whether it takes the token, and what it allows."""
    name = config.openclaw.token.removeprefix("env:")
    tools = [*FOR_ALL, *(FOR_WORKERS if is_worker else ()), *(FOR_MESSAGES if config.openclaw.channel else ())]
    denied = []
    for tool in tools:
        said = found.invoke(tool, {}, config.openclaw.session)
        if isinstance(said, Refused):
            known = "does not take the token" if found.token else "wants a token, and none is known"
            yield problem(f"the gateway at {found.url} {known}", f"set {name} to gateway.auth.token of {path}")
            return
        if isinstance(said, Unreachable | Starting):
            yield problem(said.text, "openclaw gateway status")
            return
        if isinstance(said, NotAllowed):
            denied.append(tool)
        if isinstance(said, Blocked):
            yield problem(said.text, "a rule or hook in the gateway has to let it through")
            return
    if not denied:
        yield ok(f"it takes the token, and allows {', '.join(tools)}")
    for tool in denied:
        what = f"the gateway does not allow the tool {tool}"
        yield problem(what, _to_open(path) if tool in TO_OPEN else f"{path}: no `deny` may name {tool}")
    if is_worker:
        yield from _exec(path)


def _exec(path: str) -> Iterator[Finding]:
    """Whether sub-agents can run commands, by the gateway's own configuration."""
    tools = gateway.own_config(os.environ).get("tools")
    allowed = tools.get("allow") if isinstance(tools, dict) else None
    if allowed is None:  # perhaps it is JSON5, which only the gateway reads
        with suppress(ValueError, RecursionError):
            allowed = json.loads(timers.said("openclaw", "config", "get", "gateway.tools.allow", "--json"))
    if isinstance(allowed, list) and "exec" in allowed:
        yield ok("its sub-agents may run commands")
    else:
        yield problem(f"{path} does not allow exec: sub-agents could run no command and commit nothing", _to_open(path))


def _to_open(path: str) -> str:
    return f'"gateway": {{"tools": {{"allow": {json.dumps(TO_OPEN)}}}}} into {path}'
