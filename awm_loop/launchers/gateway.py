"""Sub-agents of an OpenClaw gateway: start, probe and stop one by its label (SPEC 8.8, docs/decisions/0008).

A gateway starts a sub-agent as often as it is asked, whatever key comes with the request. So a label belongs to one
attempt; the intent to start it is on disk first; and before any start the gateway is asked for the label. Where an
answer was lost, it is asked until the registration grace is over. All are listed by one tool that is open by default.
A label is one of a home's, by its path and by what was drawn for it once: neither a copy of the home, nor one on
another machine, nor one that was made anew at its path, has the same.

Nothing here says that a sub-agent is dead because it could not be seen.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from awm_loop.attempt.directory import AttemptDirectory
from awm_loop.config import COUNT_MAX, GATEWAY_LISTED_MINUTES, GATEWAY_SPAWNS_MAX, GATEWAY_UNSEEN_SECONDS
from awm_loop.durable import disk_trouble, sync_folder, write_durably
from awm_loop.gateway import Gateway, ToolFailed, Trouble

INTENT = "sub-agent.json"  # in the attempt's directory while there may be a sub-agent of it
DRAWN = "sub-agents-of"  # in `state/`: a symbolic link, as that is there at once and whole, whoever makes it first
CALL_OFF_SECONDS = 0.1  # between two looks of it
AT_WORK = frozenset({"queued", "running", "waiting"})
OVER = frozenset({"completed", "blocked", "failed", "timed_out", "cancelled", "lost"})  # any other word: it may live
CAPPED = "max active children"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubAgent:
    """What is listed of one. `status` is the gateway's word, `moved` anything that changes while it gets on."""

    label: str
    task_id: str
    status: str
    is_over: bool
    error: str = ""
    text: str = ""
    session_key: str = ""
    tokens: int | None = None
    tool: str = ""
    waits_for: str = ""  # "approval", "user_input", "children" ...
    moved: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A sub-agent that is to be: of which attempt, what it is told, where it works, by which model ("": its own)."""

    directory: AttemptDirectory
    told: str
    workspace: str
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayLauncher:
    """The launcher of one home, by its `prefix_of`. `wait` is told why, and returns when it is time to look again."""

    prefix: str
    gateway: Gateway
    grace_seconds: float
    wait: Callable[[str], None]

    @property
    def parent(self) -> str:
        """The session that they are children of: what becomes of them is told there, and not to the assistant."""
        return f"agent:main:{self.prefix}"

    def label(self, key: str) -> str:
        """That of an attempt, by its key: the same task has the same in every home."""
        return f"{self.prefix}-{key}"

    def start(self, wanted: Wanted) -> bool | Trouble:
        """True when this call began it, False when it was there already; or why it cannot be.

        Returns only then, however long the gateway is away or full. Whatever else is alive of the same task is ended
        first. Raises DiskError.
        """
        label = self.label(wanted.directory.path.name)
        may_be_asked = self._intend(wanted.directory, label)
        looked_since: float | None = None
        spawns_count = 0
        while True:
            seen = self._listed()
            if not isinstance(seen, Trouble):
                seen = self.gateway.ready() or seen  # after its restart it lists before it knows what it interrupted
            if isinstance(seen, Trouble):
                if seen.is_final:
                    return seen
                looked_since = None
                self.wait(seen.text)
                continue
            if any(one.label == label for one in seen):
                return False
            if self._end(one for one in seen if self._is_older(one, label)):
                self.wait("an earlier sub-agent of this task is being ended")
                continue
            looked_since = time.monotonic() if looked_since is None else looked_since
            if may_be_asked and time.monotonic() < looked_since + self.grace_seconds:
                self.wait("whether it was started is not known yet")
                continue
            answer = self._spawn(wanted, label)
            if not isinstance(answer, Trouble):
                return True
            if isinstance(answer, ToolFailed) and CAPPED in answer.text:
                may_be_asked = False
                self.wait("as many sub-agents as the gateway allows are at work")
                continue
            spawns_count += 1
            if answer.is_final or spawns_count == GATEWAY_SPAWNS_MAX:
                return answer
            may_be_asked, looked_since = True, None
            self.wait(answer.text)

    def probe(self, labels: Iterable[str]) -> Mapping[str, SubAgent | None] | Trouble:
        """What is seen of each, None where the gateway does not know it; or why nothing can be seen.

        What it should not have found is ended: a second one of a label, and older ones of the same task.
        """
        seen = self._listed()
        if isinstance(seen, Trouble):
            return seen
        found: dict[str, SubAgent | None] = {}
        for label in labels:
            of_label = sorted((one for one in seen if one.label == label), key=lambda one: one.is_over)
            found[label] = of_label[0] if of_label else None
            self._end([*of_label[1:], *(one for one in seen if self._is_older(one, label))])
        return found

    def stop(self, label: str) -> bool | Trouble | None:
        """Ask for its end. True when it is over, None when it is not known, False when it was asked now."""
        seen = self._listed()
        if isinstance(seen, Trouble):
            return seen
        mine = [one for one in seen if one.label == label]
        return not self._end(mine) if mine else None

    def last_words(self, one: SubAgent) -> str | Trouble:
        """The whole text that one ended with; the list holds its beginning only."""
        found = self.gateway.invoke("sessions_history", {"sessionKey": one.session_key}, self.parent)
        if isinstance(found, Trouble):
            return found
        messages = found.get("messages")
        for message in reversed(_rows(messages)):
            if message.get("role") == "assistant":
                content = message.get("content")
                parts = [_text(part.get("text")) for part in _rows(content)]
                if text := "\n".join(part for part in parts if part).strip():
                    return text
        return one.text

    def call_off(self, directory: AttemptDirectory, seconds_max: float) -> bool:
        """End an attempt's sub-agent, if there may be one. True where there is none any more.

        Best effort: of a gateway that is away nothing is asked twice. The next attempt's start looks again.
        """
        if not is_intended(directory):
            return True
        begun_at = time.monotonic()
        while True:
            is_over = self.stop(self.label(directory.path.name))
            waited_seconds = time.monotonic() - begun_at
            if is_over is True or (is_over is None and waited_seconds >= min(GATEWAY_UNSEEN_SECONDS, seconds_max)):
                forget(directory)
                return True
            if isinstance(is_over, Trouble) or waited_seconds >= seconds_max:
                return False
            time.sleep(CALL_OFF_SECONDS)

    def _intend(self, directory: AttemptDirectory, label: str) -> bool:
        """Durable before the gateway hears of it. Whether it was there before."""
        if is_intended(directory):
            return True
        write_durably(directory / INTENT, (json.dumps({"label": label, "parent": self.parent}) + "\n").encode())
        return False

    def _spawn(self, wanted: Wanted, label: str) -> Mapping[str, Any] | Trouble:
        """Quiet: its end wakes no model. Kept: what it did can be read later. Its time limit is the supervisor's."""
        args = {
            "task": wanted.told,
            "label": label,
            "cwd": wanted.workspace,
            "cleanup": "keep",
            "expectsCompletionMessage": False,
            **({"model": wanted.model} if wanted.model else {}),
        }
        answer = self.gateway.invoke("sessions_spawn", args, self.parent)
        if isinstance(answer, Trouble) or answer.get("status") == "accepted":
            return answer
        return ToolFailed("the gateway does not say whether it started the sub-agent")

    def _listed(self) -> list[SubAgent] | Trouble:
        """All of this home that the gateway has, the newest first."""
        args = {"action": "list", "recentMinutes": GATEWAY_LISTED_MINUTES}
        details = self.gateway.invoke("subagents", args, self.parent)
        if isinstance(details, Trouble):
            return details
        tasks = details.get("tasks")
        if not isinstance(tasks, list):
            return ToolFailed("the gateway's list of sub-agents is none")
        runs = {_text(run.get("label")): run for name in ("recent", "active") for run in _rows(details.get(name))}
        return [
            _sub_agent(task, runs.get(_text(task.get("label")), {}))
            for task in _rows(tasks)
            if _text(task.get("label")).startswith(f"{self.prefix}-")
        ]

    def _is_older(self, one: SubAgent, label: str) -> bool:
        """Another attempt of the same task. A later one cannot be: attempts of a task follow one another."""
        return one.label != label and one.label.rpartition(".")[0] == label.rpartition(".")[0]

    def _end(self, some: Iterable[SubAgent]) -> bool:
        """Ask for the end of those that live; whether there were any. What comes of it the next look shows."""
        living = [one for one in some if not one.is_over]
        for one in living:
            self.gateway.invoke("subagents", {"action": "cancel", "taskId": one.task_id}, self.parent)
        return bool(living)


def prefix_of(home: Path) -> str:
    """What the labels of a home begin with; the first call draws it. Raises DiskError."""
    path = home / "state" / DRAWN
    with disk_trouble(path):
        if not os.path.lexists(path):
            with suppress(FileExistsError):  # another attempt's process was quicker
                path.symlink_to(secrets.token_hex(8))
            sync_folder(path.parent)
        seed = f"{os.path.realpath(home)} {path.readlink()}"
    return f"awm-{hashlib.sha256(seed.encode()).hexdigest()[:8]}"


def is_intended(directory: AttemptDirectory) -> bool:
    """Whether there may be a sub-agent of the attempt."""
    return os.path.lexists(directory / INTENT)


def forget(directory: AttemptDirectory) -> None:
    """It was seen to be over: nobody has to look for it any more. Raises DiskError."""
    with disk_trouble(directory / INTENT):
        (directory / INTENT).unlink(missing_ok=True)
        sync_folder(directory.path)


def _sub_agent(task: Mapping[str, Any], run: Mapping[str, Any]) -> SubAgent:
    execution = task.get("execution")
    execution = execution if isinstance(execution, dict) else {}
    tool, waits = execution.get("currentTool"), execution.get("wait")
    status, tokens = str(task.get("status")), run.get("totalTokens")
    is_count = isinstance(tokens, int) and not isinstance(tokens, bool) and 0 <= tokens <= COUNT_MAX
    return SubAgent(
        label=str(task["label"]),
        task_id=str(task.get("taskId")),
        status=status,
        is_over=status in OVER or (status not in AT_WORK and execution.get("state") == "finished"),
        error=_text(task.get("error")),
        text=_text(task.get("progressSummary")),
        session_key=_text(run.get("sessionKey")),
        tokens=tokens if is_count else None,
        tool=_text(tool.get("name")) if isinstance(tool, dict) else "",
        waits_for=_text(waits.get("kind")) if isinstance(waits, dict) else "",
        moved=f"{status} {execution} {task.get('progressSummary')} {tokens}",
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _rows(value: object) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
