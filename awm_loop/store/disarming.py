"""What in an archive is a command, an address or a permission, and the same archive without it (SPEC 13.5, 17).

Whoever imports an archive runs what its maker wrote, unless that is taken out here or arrives where nothing runs it.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from awm_loop.store import specfile
from awm_loop.store.portable import Portable

CONFIG_KEYS = {  # by table of awm.toml
    "project": ("verify", "prepare"),
    "notify": ("urls", "command", "ping_url"),
    "hook": ("secrets",),
    "openclaw": ("url", "token", "session", "channel", "target"),  # where a token goes, what is reset, who is told
}
AGENT_KEYS = ("command", "executable", "extra_args", "env_pass", "sandbox")  # sandbox: false takes one away
PROJECT_KEYS = ("verify", "prepare", "mayEnqueue")  # mayEnqueue: what agents propose is done unasked
SECRETS = (("notify", "urls"), ("notify", "command"), ("notify", "ping_url"), ("hook", "secrets"))
_PLACEHOLDER = re.compile(r"(?:`{3}|~{3})[^\n]*\$|\*\*[^*:\n]*\$")
BY_SCRIPT = "came by import with a script: read it, then awm retry"


def without_secrets(settings: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """awm.toml without what may be a secret, and where that stood: of addresses only `env:NAME` travels."""
    kept, found = copy.deepcopy(dict(settings)), []
    for table, key in SECRETS:
        value = kept.get(table, {}).get(key)
        values = value if isinstance(value, list) else [value] if value else []
        safe = [one for one in values if isinstance(one, str) and one.startswith("env:")]
        if len(safe) == len(values):
            continue
        found.append(f"awm.toml [{table}] {key}: a value that is no env:NAME may be a secret")
        if key == "urls" or table == "hook":
            kept[table][key] = safe
        else:
            del kept[table][key]  # half a command is another one
    return kept, found


def disarmed(found: Portable) -> tuple[Portable, list[str]]:
    """Without commands, and what they were, each as `where: what`. Tasks with a script are put among the blocked."""
    settings, said = _settings(found.settings)
    projects = []
    for entry in found.projects:
        projects.append({key: value for key, value in entry.items() if key not in PROJECT_KEYS})
        said += [f"project {entry['id']}, {key}: {entry[key]}" for key in PROJECT_KEYS if entry.get(key)]
    specs = {task: specfile.without_gate(text) for task, text in found.specs.items()}
    trigger_specs = {name: specfile.without_gate(text) for name, text in found.trigger_specs.items()}
    for what, before, after in (("task", found.specs, specs), ("trigger", found.trigger_specs, trigger_specs)):
        said += [
            f"{what} {name}, Verify: {specfile.gate(before[name])}" for name in before if before[name] != after[name]
        ]
    templates = {name: text for name, text in found.templates.items() if not _has_command(name, text)}
    said += [f"template {name}: it holds a command" for name in found.templates if name not in templates]
    rest = replace(
        found,
        settings=settings,
        projects=tuple(projects),
        specs=specs,
        trigger_specs=trigger_specs,
        templates=templates,
    )
    return _with_scripts_blocked(rest), said


def scripts(found: Portable) -> list[tuple[str, str]]:
    """What runs by itself, of tasks and of triggers: whose it is, and the script."""
    owned = [(f"task {task}", text) for task, text in found.specs.items()]
    owned += [(f"trigger {name}", text) for name, text in found.trigger_specs.items()]
    return [(whose, specfile.run_blocks(text)) for whose, text in owned if specfile.has_run_block(text)]


def _with_scripts_blocked(found: Portable) -> Portable:
    places = {name: list(ids) for name, ids in found.places.items()}
    moved = [task for task in places["queue"] if specfile.has_run_block(found.specs.get(task, ""))]
    waiting = [task for task in places["blocked"] if specfile.has_run_block(found.specs.get(task, ""))]
    places["queue"] = [task for task in places["queue"] if task not in set(moved)]
    places["blocked"] += moved
    told = {task: {**found.options.get(task, {}), "reason": BY_SCRIPT} for task in (*moved, *waiting)}
    return replace(
        found,
        places={name: tuple(ids) for name, ids in places.items()},
        options={**found.options, **told},
    )


def _settings(settings: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    kept, said = copy.deepcopy(dict(settings)), list[str]()

    def drop(table: Mapping[str, Any], where: str, keys: tuple[str, ...]) -> None:
        for key in keys:
            if key in table and table[key] is not True:  # sandbox = true
                said.append(f"awm.toml [{where}] {key}: {_words(table[key])}")
                del kept_table(where)[key]

    def kept_table(where: str) -> dict[str, Any]:
        top, _, name = where.partition(".")
        found: dict[str, Any] = kept[top][name] if name else kept[top]
        return found

    for table, keys in CONFIG_KEYS.items():
        drop(settings.get(table, {}), table, keys)
    for name, agent in settings.get("agents", {}).items():
        drop(agent, f"agents.{name}", AGENT_KEYS)
    gone = {name for name, agent in settings.get("agents", {}).items() if agent.get("kind") == "command"}
    _forget_agents(kept, gone, said)
    memory = kept.get("loop", {}).get("memory", "")
    if memory and (memory.startswith(("/", "~")) or ".." in PurePath(memory).parts):
        said.append(f"awm.toml [loop] memory: {memory}")
        del kept["loop"]["memory"]
    return kept, said


def _forget_agents(kept: dict[str, Any], gone: set[str], said: list[str]) -> None:
    """Agents that are nothing but a command, and what names them."""
    for name in sorted(gone):
        said.append(f"awm.toml [agents.{name}]: nothing is left of an agent without its command")
        del kept["agents"][name]
    for agent in kept.get("agents", {}).values():
        if gone & set(agent.get("fallback", [])):
            agent["fallback"] = [name for name in agent["fallback"] if name not in gone]
    for table, keys in (("loop", ("default_agent", "analysis_agent")), ("routes", tuple(kept.get("routes", {})))):
        for key in keys:
            if kept.get(table, {}).get(key) in gone:
                said.append(f"awm.toml [{table}] {key}: {kept[table].pop(key)}")


def _has_command(name: str, text: str) -> bool:
    """Whether a template is more than words. A placeholder could make a fence a script, or a header a gate.

    Of a project's template any mention of a command is one: TOML has many forms for the same key.
    """
    if name.endswith(".toml"):
        return any(key in text for key in PROJECT_KEYS) or "\\" in text
    return bool(specfile.gate(text)) or specfile.has_run_block(text) or bool(_PLACEHOLDER.search(text))


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
