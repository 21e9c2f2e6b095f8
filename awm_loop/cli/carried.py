"""What a timer must be given of the shell that installs it: where programs are, and which variables it will lack.

nvm, pyenv and npm put programs where only the shell looks (docs/MEASURED.md 1), so they are looked for here and now.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from awm_loop.agents import kinds
from awm_loop.config import CLIS, GATEWAY_KIND, Config

EVERYWHERE = ("/usr/local/bin", "/usr/bin", "/bin")  # what a timer's PATH has in any case
SHEBANG_BYTES_MAX = 256
_ENV_PREFIX = "env:"


def search_path(config: Config, warnings: list[str]) -> str:
    """The timer's PATH: what is everywhere, and where the programs that AWM starts were found, in the shell's order."""
    wanted = set(EVERYWHERE)
    for named_by, program in _programs(config):
        interpreter = _interpreter(shutil.which(program))
        for name in [*([] if "/" in program else [program]), *interpreter]:
            found = shutil.which(name)
            if found is None:
                warnings.append(f"{named_by}: `{name}` is not on this PATH")
            else:
                wanted.add(str(Path(found).parent))
    lines = [config.project.verify, *config.project.prepare]
    found_in_shell = [shutil.which(word) for line in lines for word in re.findall(r"[\w.+-]+", line)]
    wanted |= {str(Path(found).parent) for found in found_in_shell if found is not None}
    shell = [str(Path(directory)) for directory in os.environ.get("PATH", "").split(":")]
    kept = dict.fromkeys(directory for directory in shell if directory.startswith("/") and directory in wanted)
    lost = sorted(wanted - {*kept, *EVERYWHERE})
    warnings += [
        f"a timer cannot look in {directory}, which your PATH names from here: write it out" for directory in lost
    ]
    return ":".join([*kept, *(directory for directory in EVERYWHERE if directory not in kept)])


def wanted_variables(config: Config) -> list[str]:
    """The variables that the timer must have and does not get from here."""
    named = [name for agent in config.agents.values() for name in agent.env_pass]
    named += [
        value.removeprefix(_ENV_PREFIX)
        for value in (*config.notify.urls, config.notify.ping_url)
        if value.startswith(_ENV_PREFIX)
    ]
    token = config.openclaw.token.removeprefix(_ENV_PREFIX)
    if token in os.environ and any(agent.kind == GATEWAY_KIND for agent in config.agents.values()):
        named.append(token)  # else it stands in the gateway's own file
    return list(dict.fromkeys(named))


def _programs(config: Config) -> Iterator[tuple[str, str]]:
    """Who names a program, and the program: agents, a channel, and AWM itself."""
    yield "AWM", "git"
    for name, agent in config.agents.items():
        yield from ((f"agents.{name}.command", word) for word in agent.command[:1] if "{" not in word)
        if agent.kind in CLIS:
            yield f"agents.{name}", agent.executable or kinds.kind(agent.kind).executable
    yield from (("notify.command", word) for word in config.notify.command[:1])


def _interpreter(program: str | None) -> list[str]:
    """Whom `#!/usr/bin/env NAME` calls, if it is such a script: it is looked for on PATH as well."""
    try:
        with open(program or os.devnull, "rb") as file:
            first = file.read(SHEBANG_BYTES_MAX).partition(b"\n")[0].decode(errors="replace")
    except OSError:
        return []
    return re.findall(r"^#!\s*\S*/env\s+(?:-\S+\s+)*(?:\w+=\S*\s+)*(\S+)", first)
