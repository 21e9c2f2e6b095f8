#!/usr/bin/env python3
"""A gateway of OpenClaw, as far as AWM asks one: a process of its own on loopback, which may be killed and started again.

    fake_gateway.py DIRECTORY PORT

Its answers have the shape of those that were recorded (`gateway_recorded.json`; `test_gateway_client.py` holds them to
that). A sub-agent runs the `sh run` block of what it was told, in its directory, and dies with the gateway. Lines of
what it was told may say how it goes, for all attempts or for one: `PLAY: fail TEXT`, `PLAY 1: fail TEXT`, `PLAY: say
TEXT`. DIRECTORY has

    moods.json   what it is told to do; read at each request: see MOODS
    truth        what happened, by its own word: spawn LABEL, begin LABEL, end LABEL, double LABEL
    requests     a line of JSON for each request
    tasks.json   what it keeps over its death
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MOODS: dict[str, Any] = {
    "token": "T",
    "deny": [],  # tools
    "old": False,  # it has no /startupz
    "failing": [],  # channels of its that are broken
    "cap": 5,  # live children of one parent
    "starting_seconds": 0.0,  # after its start it is not ready so long ...
    "lists_early": False,  # ... but lists its sub-agents already, as seen of 2026.9.6
    "stale_seconds": 0.0,  # so long after its start it lists what it interrupted as running: 6 to 70 were seen
    "slow": {},  # seconds by tool, before the deed
    "late_seconds": 0.0,  # from an accepted spawn to the sub-agent
    "lose": {},  # how many answers of a tool this process keeps to itself, its deed done
    "lose_share": 0.0,  # the same by chance, of any tool
    "tokens": {},  # of sessions, by key: [used, window]
    "busy": [],  # keys of those whose assistant is at work
    "channels": ["test"],
    "word": "running",  # what is listed of those that run
    "rows": [],  # what is listed beside the sub-agents
    "fail": [],  # tools that do nothing and do not say why
    "block": [],  # tools that somebody's rule there does not let through
    "wait": "",  # what those that run wait for
    "tool": "",  # the tool that is at work in those that run
    "prompt": "",  # a file in its directory that a sub-agent finds with what it was told
}
STATUS = {"running": "running", "completed": "done", "failed": "failed", "cancelled": "killed"}
RESTARTED = "Subagent execution was interrupted by a Gateway restart. Inspect retained session history and uncertain tool outcomes,…"
NOTE = "Quiet run: no completion notification is sent. Do not wait for an announcement."
GUARD = threading.RLock()


class Failed(Exception):
    """What a tool answers when it cannot: its HTTP status and message."""


def main() -> None:
    directory, port = Path(sys.argv[1]), int(sys.argv[2])
    Server(directory, port).serve_forever()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, directory: Path, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.directory, self.begun_at, self.lost = directory, time.monotonic(), {}
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        path = directory / "tasks.json"
        self.tasks: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
        stale = [task for task in self.tasks if task["status"] == "running"]
        if (seconds := self.moods()["stale_seconds"]) > 0:
            threading.Timer(seconds, self.interrupt, [stale]).start()
        else:
            self.interrupt(stale)

    def interrupt(self, stale: list[dict[str, Any]]) -> None:
        """Say of what the restart ended that it has ended."""
        for task in stale:
            self.end(task, "failed", error=RESTARTED)
        self.keep()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who asked may be killed before it has its answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def moods(self) -> dict[str, Any]:
        with suppress(FileNotFoundError):
            return MOODS | json.loads((self.directory / "moods.json").read_text())
        return MOODS

    def is_ready(self) -> bool:
        return time.monotonic() >= self.begun_at + self.moods()["starting_seconds"]

    def keep(self) -> None:
        temporary = self.directory / f"tasks.{uuid.uuid4()}"
        temporary.write_text(json.dumps(self.tasks))
        temporary.rename(self.directory / "tasks.json")

    def tell(self, name: str, line: str) -> None:
        with (self.directory / name).open("a") as file:
            file.write(line + "\n")

    # The tools

    def sessions_spawn(self, args: dict[str, Any], parent: str) -> dict[str, Any]:
        if not args.get("task"):
            raise Failed(400, "task required")
        cap = self.moods()["cap"]
        with GUARD:
            living = [task for task in self.tasks if task["parent"] == parent and task["status"] == "running"]
            if len(living) >= cap:
                error = f"sessions_spawn has reached max active children for this session ({len(living)}/{cap}; agents.defaults.subagents.maxChildrenPerAgent)."
                return {"status": "forbidden", "error": error}
        task = {
            "id": str(uuid.uuid4()),
            "run": str(uuid.uuid4()),
            "child": f"agent:main:subagent:{uuid.uuid4()}",
            "parent": parent,
            "label": args.get("label", ""),
            "told": args["task"],
            "cwd": args.get("cwd", "."),
            "model": args.get("model", "mock/mock-1"),
            "status": "running",
            "started": now_ms(),
        }
        threading.Timer(self.moods()["late_seconds"], self.live, [task]).start() if self.moods()[
            "late_seconds"
        ] else self.live(task)
        return {
            "status": "accepted",
            "childSessionKey": task["child"],
            "runId": task["run"],
            "mode": "run",
            "expectsCompletionMessage": False,
            "context": "isolated",
            "note": NOTE,
            "resolvedModel": task["model"],
            "resolvedProvider": "mock",
            "modelApplied": True,
        }

    def live(self, task: dict[str, Any]) -> None:
        with GUARD:
            self.tell("truth", f"spawn {task['label']}")
            self.tasks.insert(0, task)
            self.keep()
        threading.Thread(target=self.run, args=[task], daemon=True).start()

    def run(self, task: dict[str, Any]) -> None:
        of_task = task["label"].rpartition(".")[0] or task["id"]
        lock = os.open(self.directory / f"alive-{of_task}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.tell("truth", f"double {task['label']}")
        self.tell("truth", f"begin {task['label']}")
        try:
            self.work(task)
        finally:
            self.tell("truth", f"end {task['label']}")
            os.close(lock)

    def work(self, task: dict[str, Any]) -> None:
        number = task["label"].rpartition(".")[2]
        play = re.search(rf"^PLAY(?: {number})?: (\w+) ?(.*)$", task["told"], re.M)
        script = re.search(r"^```sh run\n(.*?)^```", task["told"], re.M | re.S)
        name = re.search(r"^# Sprint (\S+?)[:,]", task["told"])
        if play is not None and play[1] == "fail":
            self.end(task, "failed", error=play[2][:120])
            return
        if self.moods()["prompt"]:
            Path(task["cwd"], self.moods()["prompt"]).write_text(task["told"])
        environment = {**os.environ, "AWM_TASK": name[1] if name else "", "AWM_ATTEMPT": task["label"]}
        command = ["setpriv", "--pdeathsig", "KILL", "sh", "-eu", "-c", script[1] if script else "true"]
        with GUARD:
            if task["status"] != "running":
                return
            child = subprocess.Popen(command, cwd=task["cwd"], env=environment, start_new_session=True)
            self.children[task["id"]] = child
        task["active"] = now_ms()
        child.wait()
        self.end(task, "completed", summary=play[2] if play is not None and play[1] == "say" else "The work is done.")

    def end(self, task: dict[str, Any], status: str, **more: str) -> None:
        with GUARD:
            if task["status"] == "running":
                task.update(status=status, ended=now_ms(), **more)
                self.keep()

    def subagents(self, args: dict[str, Any], parent: str) -> dict[str, Any]:
        with GUARD:
            mine = [task for task in self.tasks if task["parent"] == parent]
            if args.get("action") == "cancel":
                return self.cancel(args, mine)
            since = now_ms() - 60_000 * min(args.get("recentMinutes", 30), 1440)
            listed = [task for task in mine if task["status"] == "running" or task["ended"] >= since]
            living = [task for task in listed if task["status"] == "running"]
            ended = [task for task in listed if task["status"] != "running"]
            runs = [run_row(index, task) for index, task in enumerate([*living, *ended], 1)]
            return {
                "status": "ok",
                "action": "list",
                "requesterSessionKey": parent,
                "callerSessionKey": parent,
                "callerIsSubagent": False,
                "total": len(listed),
                "taskTotal": len(listed),
                "tasks": [task_row(task, self.moods()) for task in listed] + self.moods()["rows"],
                "active": runs[: len(living)],
                "recent": runs[len(living) :],
                "text": "active subagents:\n(none)",
            }

    def cancel(self, args: dict[str, Any], mine: list[dict[str, Any]]) -> dict[str, Any]:
        found = [task for task in mine if task["id"] == args.get("taskId")]
        if not found:
            return {"status": "forbidden", "error": "Task outside session tree."}
        told = {"taskId": found[0]["id"], "found": True}
        if found[0]["status"] != "running":
            return {"status": "error", **told, "cancelled": False, "reason": "Task is already terminal."}
        child = self.children.get(found[0]["id"])
        if child is not None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        self.end(found[0], "cancelled", error="Cancelled by operator.")
        return {"status": "cancelled", **told, "cancelled": True}

    def sessions_history(self, args: dict[str, Any], _parent: str) -> dict[str, Any]:
        key = args.get("sessionKey")
        task = next((task for task in self.tasks if task["child"] == key), None)
        if task is None:
            return {"status": "error", "error": f"No session found: {key}"}
        mark = {
            "id": task["run"],
            "recordTimestampMs": now_ms(),
            "transcriptPosition": {"source": "x", "rawSeq": 4},
            "seq": 1,
        }
        asked = {
            "role": "user",
            "content": f"[Subagent Context] ...\n\n{task['told']}",
            "timestamp": task["started"],
            "idempotencyKey": f"{task['run']}:user",
            "__openclaw": {"senderIsOwner": False, "idempotencyKey": f"{task['run']}:user", **mark},
        }
        said = {
            "role": "assistant",
            "content": [{"type": "text", "text": task.get("summary", "")}],
            "api": "openai-completions",
            "provider": "mock",
            "model": "mock-1",
            "stopReason": "stop",
            "timestamp": now_ms(),
            "responseId": "chatcmpl-1",
            "__openclaw": {"runId": task["run"], **mark},
        }
        return {
            "sessionKey": key,
            "messages": [asked, *([said] if "summary" in task else [])],
            "truncated": True,
            "droppedMessages": False,
            "contentTruncated": True,
            "contentRedacted": False,
            "bytes": 1137,
            "pendingInputs": {"items": [], "total": 0},
        }

    def sessions_list(self, args: dict[str, Any], _parent: str) -> dict[str, Any]:
        moods = self.moods()
        rows = [session_row(key, *told) for key, told in moods["tokens"].items()]
        for row in rows:
            row["status"] = "running" if row["key"] in moods["busy"] else row["status"]
        wanted = [row for row in rows if args.get("search", "") in row["key"]][: args.get("limit", 100)]
        return {"count": len(wanted), "sessions": wanted, "hasMore": False, "limitApplied": args.get("limit", 100)}

    def sessions(self, args: dict[str, Any], parent: str) -> dict[str, Any]:
        if args.get("action") != "reset" or not args.get("sessionKey"):
            raise Failed(400, "action required")
        if args["sessionKey"] == parent:
            raise Failed(400, "Cannot reset the session running this tool")  # seen of 2026.9.6
        self.tell("truth", f"reset {args['sessionKey']}")
        entry = {
            "sessionId": str(uuid.uuid4()),
            "lifecycleRevision": str(uuid.uuid4()),
            "updatedAt": now_ms(),
            "sessionStartedAt": now_ms(),
            "systemSent": False,
            "abortedLastRun": False,
            "compactionCount": 0,
            "createdVia": "operator",
            "createdAt": now_ms(),
            "inputTokens": 0,
            "outputTokens": 0,
            "totalTokens": 0,
            "totalTokensFresh": True,
            "totalTokensVersion": 1,
            "modelProvider": "mock",
            "model": "mock-1",
        }
        return {
            "ok": True,
            "key": args["sessionKey"],
            "entry": entry,
            "resolved": {"modelProvider": "mock", "model": "mock-1"},
        }

    def message(self, args: dict[str, Any], _parent: str) -> dict[str, Any]:
        """Its good answer was never recorded: no channel can be had without a network."""
        if args.get("channel") not in self.moods()["channels"]:
            raise Failed(500, "tool execution failed")
        self.tell("truth", f"message {args['channel']} {args.get('target')} {json.dumps(args.get('message'))}")
        return {"ok": True, "messageId": str(uuid.uuid4())}


TOOLS = ("sessions_spawn", "subagents", "sessions_history", "sessions_list", "sessions", "message")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        is_ready = self.server.is_ready()
        if self.path == "/startupz" and not self.server.moods()["old"]:
            told = {"status": "started"} if is_ready else {"status": "starting", "pendingReason": "startup-sidecars"}
            self.answer(200 if is_ready else 503, {"ok": is_ready, "version": "2026.9.6", "uptimeMs": 39163, **told})
        elif self.path == "/readyz":
            failing = [*([] if is_ready else ["startup-sidecars"]), *self.server.moods()["failing"]]
            loop = {"degraded": False, "degradedSinceMs": None, "reasons": [], "intervalMs": 1009.5}
            state = {"ready": not failing, "failing": failing, "uptimeMs": 39163, "eventLoop": loop}
            self.answer(503 if failing else 200, state)
        else:
            self.answer(404, {"ok": False})

    def do_POST(self) -> None:
        moods, body = self.server.moods(), json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        tool, args, parent = body["tool"], body.get("args", {}), body.get("sessionKey", "agent:main:main")
        told = {name: value for name, value in args.items() if name != "task"}
        self.server.tell("requests", json.dumps({"path": self.path, "tool": tool, "args": told, "sessionKey": parent}))
        if moods["token"] and self.headers.get("Authorization") != f"Bearer {moods['token']}":
            self.answer(401, {"error": {"message": "Unauthorized", "type": "unauthorized"}})
        elif not self.server.is_ready() and not (moods["lists_early"] and tool == "subagents"):
            self.refuse(500, "tool_error", "tool execution failed")
        elif tool not in TOOLS or tool in moods["deny"]:
            self.refuse(404, "not_found", f"Tool not available: {tool}")
        elif tool in moods["fail"]:
            self.refuse(500, "tool_error", "tool execution failed")
        elif tool in moods["block"]:  # as its source has it, 2026.9.6
            self.refuse(403, "tool_call_blocked", "a rule says no")
        else:
            time.sleep(moods["slow"].get(tool, 0.0))
            try:
                details = getattr(self.server, tool)(args, parent)
            except Failed as failure:
                self.refuse(failure.args[0], "tool_error", failure.args[1])
                return
            if self.is_lost(tool, moods):
                self.close_connection = True
                return
            text = {"type": "text", "text": json.dumps(details, indent=2)}
            self.answer(200, {"ok": True, "result": {"content": [text], "details": details}})

    def is_lost(self, tool: str, moods: dict[str, Any]) -> bool:
        with GUARD:
            lost = self.server.lost.get(tool, 0)
            is_lost = lost < moods["lose"].get(tool, 0)
            self.server.lost[tool] = lost + is_lost
        return is_lost or random.random() < moods["lose_share"]

    def refuse(self, status: int, kind: str, message: str) -> None:
        self.answer(status, {"ok": False, "error": {"type": kind, "message": message}})

    def answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        with suppress(ConnectionError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)


def now_ms() -> int:
    return int(time.time() * 1000)


def execution(task: dict[str, Any]) -> dict[str, Any]:
    if task["status"] != "running":
        return {"state": "finished"}
    return {"state": "running", **({"lastActivityAt": task["active"]} if "active" in task else {})}


def task_row(task: dict[str, Any], moods: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "taskId": task["id"],
        "runtime": "subagent",
        "deliveryStatus": "not_applicable",
        "execution": execution(task),
        "status": moods["word"] if task["status"] == "running" else task["status"],
        "label": task["label"],
    }
    if moods["wait"] and task["status"] == "running":  # as its source has it, 2026.9.6
        row["execution"] |= {"state": "waiting", "wait": {"kind": moods["wait"]}}
    elif moods["tool"] and task["status"] == "running":
        row["execution"]["currentTool"] = {"name": moods["tool"], "startedAt": task["started"]}
    if "summary" in task:
        row["progressSummary"] = task["summary"]
    if "error" in task:
        row["error"] = task["error"]
    return row


def run_row(index: int, task: dict[str, Any]) -> dict[str, Any]:
    used_ms = task.get("ended", now_ms()) - task["started"]
    row = {
        "index": index,
        "runId": task["run"],
        "sessionKey": task["child"],
        "label": task["label"][:48],
        "task": task["told"][:69] + "...",
        "status": STATUS[task["status"]],
        "execution": {"state": execution(task)["state"]},
        "deliveryStatus": "not_required",
        "pendingDescendants": 0,
        "runtime": f"{used_ms}ms",
        "runtimeMs": used_ms,
        "model": task["model"],
        "startedAt": task["started"],
    }
    if task["status"] == "completed":
        row["totalTokens"] = 7377
    if "ended" in task:
        row["endedAt"] = task["ended"]
    return row


def session_row(key: str, used: int | None, window: int) -> dict[str, Any]:
    row = {
        "key": key,
        "sessionId": str(uuid.uuid4()),
        "agentId": "main",
        "kind": "other",
        "channel": "unknown",
        "archived": False,
        "pinned": False,
        "displayName": key,
        "updatedAt": now_ms(),
        "stateVersion": 8,
        "model": "mock-1",
        "contextTokens": window,
        "status": "done",
    }
    return row if used is None else {**row, "totalTokens": used}


if __name__ == "__main__":
    main()
