"""What `awm.toml` names must exist: the references between its tables (SPEC 16)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from awm_loop.core.model import AUTO
from awm_loop.errors import ConfigError

if TYPE_CHECKING:
    from awm_loop.config import Config


def line_of(text: str, table: str, key: str | None) -> int:
    """The line of `key` inside `[table]`, else of its header or one below it, else 1: pydantic's errors carry none."""
    header_line = 1
    inside = False
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line)
        if header:
            name = header.group(1).replace('"', "")
            inside = name == table
            header_line = number if inside or (header_line == 1 and name.startswith(f"{table}.")) else header_line
        elif key is not None and inside and re.match(rf'\s*"?{re.escape(key)}"?\s*=', line):
            return number
    return header_line


def cross_check(config: Config, path: Path, text: str) -> None:
    """References between tables: every agent named must exist, and a command agent needs its command."""
    from awm_loop.config import ID_PATTERN, PROGRAMS  # noqa: PLC0415  that module imports this one

    names = ", ".join(sorted(config.agents))
    if config.loop.default_agent not in config.agents:
        line = line_of(text, "loop", "default_agent")
        raise ConfigError(
            f"{path}:{line}: loop.default_agent = {config.loop.default_agent!r} names no agent",
            f"known agents: {names}; add [agents.{config.loop.default_agent}] or name one of them",
        )
    analyst = config.loop.analysis_agent
    if analyst and (analyst not in config.agents or config.agents[analyst].kind == "shell"):
        line = line_of(text, "loop", "analysis_agent")
        able = ", ".join(sorted(name for name, agent in config.agents.items() if agent.kind != "shell")) or "none"
        raise ConfigError(
            f"{path}:{line}: loop.analysis_agent = {analyst!r} names no agent that can read and answer",
            f"agents that can: {able}",
        )
    if AUTO in config.agents:
        line = line_of(text, f"agents.{AUTO}", None)
        raise ConfigError(f"{path}:{line}: an agent cannot be named {AUTO}: it is a route", "give it another name")
    for kind, name in config.routes.items():
        if name not in config.agents and name != AUTO:
            line = line_of(text, "routes", kind)
            raise ConfigError(f"{path}:{line}: routes.{kind} = {name!r} names no agent", f"{AUTO}, or one of: {names}")
    for name, agent in config.agents.items():
        line = line_of(text, f"agents.{name}", None)
        if not re.fullmatch(ID_PATTERN, name):
            raise ConfigError(f"{path}:{line}: agent name {name!r} is not an id", "letters, digits, `.`, `_`, `-`")
        if agent.kind not in PROGRAMS and {"executable", "extra_args", "sandbox"} & agent.model_fields_set:
            raise ConfigError(
                f"{path}:{line}: agents.{name}: `executable`, `extra_args` and `sandbox` are for the kinds of CLIs",
                f"kinds of CLIs: {', '.join(PROGRAMS)}",
            )
        if (agent.kind == "command") != bool(agent.command):
            raise ConfigError(
                f'{path}:{line}: agents.{name}: `command` goes with kind = "command", and only with it',
                'command = ["my-agent", "--file", "{prompt_file}"]',
            )
        for other in agent.fallback:
            if other not in config.agents or other == name:
                others = ", ".join(sorted(config.agents.keys() - {name})) or "none"
                raise ConfigError(
                    f"{path}:{line_of(text, f'agents.{name}', 'fallback')}: agents.{name}.fallback names {other!r}",
                    f"other agents: {others}",
                )
