"""An attempt's agent: how it is run, and what its end means before the workspace is looked at (SPEC 8.5-8.7, 9.3)."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from awm_loop import clock
from awm_loop.agents import generic, kinds, verdict
from awm_loop.agents.reading import Ask, Call, Kind, Reader, Reading
from awm_loop.attempt.directory import Order, put
from awm_loop.attempt.output import tail
from awm_loop.attempt.spawn import Invocation
from awm_loop.attempt.stage import RUNS_ALREADY, End, Stage, Tended
from awm_loop.cli import attend
from awm_loop.config import BESIDE_BYTES_MAX, CLIS, GATEWAY_KIND, PROMPT_TAIL_BYTES, RESULT_FILE_BYTES_MAX
from awm_loop.core.model import Outcome
from awm_loop.core.observation import Advice
from awm_loop.durable import disk_trouble
from awm_loop.regular import read_regular
from awm_loop.store import specfile
from awm_loop.workspace import git

SCRIPT = "script.sh"  # what the embedded agent runs


def make_ready(order: Order) -> None:
    """Write what the agent of an order needs beside its prompt. Raises DiskError."""
    scratch, answer = _directory(order), _answer_path(order).parent
    with disk_trouble(answer):
        answer.mkdir(mode=0o700, exist_ok=True)
    for name, text in _call(order, ()).files.items() if order.kind in CLIS else ():
        with disk_trouble(scratch / name):
            put(scratch / name, text)
    if order.kind == "shell":
        with disk_trouble(scratch / SCRIPT):
            put(scratch / SCRIPT, specfile.run_blocks((scratch / "spec.md").read_text(encoding="utf-8")))


def invocation(order: Order) -> Invocation:
    """How the supervisor runs the agent of an order that was made ready."""
    values, workspace = _values(order), Path(order.workspace)
    if order.kind in CLIS:
        git_paths = git.written_paths(workspace)
        git.pass_over(git_paths, kinds.kind(order.kind).leaves)
        call = _call(order, (*git_paths, _answer_path(order).parent))
    else:
        call = Call(argv=tuple(generic.argv(order.kind, order.command, values)))
    return Invocation(
        argv=call.argv,
        environment=environment(order) | dict(call.environment),
        directory=workspace,
        stdin_path=Path(os.devnull if order.kind == "shell" else values["prompt_file"]),
        is_stderr_apart=order.kind in CLIS,
    )


def _call(order: Order, written_paths: tuple[Path, ...]) -> Call:
    """A CLI, as its module says."""
    kind, scratch = kinds.kind(order.kind), _directory(order)
    return kind.call(
        Ask(
            executable=order.executable or kind.executable,
            workspace=Path(order.workspace),
            prompt_path=scratch / "prompt.md",
            scratch=scratch,
            model=order.model,
            extra=order.extra_args,
            is_sandboxed=order.is_sandboxed,
            written_paths=written_paths,
            session=verdict.session(order.session) or str(uuid.uuid4()),
            is_resumed=bool(verdict.session(order.session)),
        )
    )


def environment(order: Order) -> dict[str, str]:
    """SPEC 8.5: what an agent, its gate and its preparation get of ours."""
    return generic.environment(order.env_pass, _values(order), os.environ)


def _values(order: Order) -> dict[str, str]:
    directory = _directory(order)
    return {
        "prompt_file": str(directory / "prompt.md"),
        "script_file": str(directory / SCRIPT),
        "result_file": str(_answer_path(order)),
        "workspace": order.workspace,
        "task": order.task,
        "attempt": str(order.number),
        "key": order.key,
        "model": order.model,
    }


def _directory(order: Order) -> Path:
    return Path(order.home) / "state" / "attempts" / order.key


def _answer_path(order: Order) -> Path:
    """The result file, in a directory to itself: that alone a sandbox must let the agent write to."""
    return _directory(order) / "answer" / "agent-result.json"


def run_agent(tended: Tended) -> Generator[Stage, End, tuple[End, Reading]]:
    """The agent itself, and what its end means before the workspace is looked at."""
    order = tended.order
    is_begun = tended.child is not None or bool(tended.problem)  # then nothing of its preparation can fail
    run = replace(RUNS_ALREADY, environment=environment(order)) if is_begun else invocation(order)
    if order.kind not in CLIS:
        end = yield Stage(invocation=run)
        return end, generic.read(end.exit_code, _report(tended), _output(tended))
    kind = kinds.kind(order.kind)
    end, reading = yield from _run_cli(kind, run)
    if order.session and end.cut_short is None and _is_gone(kind, reading):
        afresh = order.model_copy(update={"session": ""})
        end, reading = yield from _run_cli(kind, invocation(afresh))
    if order.kind == GATEWAY_KIND:
        attend.call_off(tended.directory)
    report = _report(tended)
    reading = _with_remedy(order, kind, _of_this_run(tended, kind, reading))
    if report is not None and reading.outcome is Outcome.SUCCEEDED:
        reading = _with_report(reading, generic.read(0, report, ""))
    return end, reading


def _run_cli(kind: Kind, run: Invocation) -> Generator[Stage, End, tuple[End, Reading]]:
    heard = _Heard(kind.reader())
    end = yield Stage(invocation=run, listener=heard)
    if heard.found is not None and end.cut_short is heard.found.outcome:
        return end, heard.found
    return end, _told_beside(kind, heard.reader, run, end.exit_code)


def _is_gone(kind: Kind, reading: Reading) -> bool:
    """It could not go on in its session and has done nothing: not its work has failed, and the attempt begins afresh.

    That is the same number's next process, after the end of this one's tree, as a gate's is.
    """
    is_known = kind.gone is not None and bool(kind.gone.search(reading.error))
    return is_known and reading.outcome is Outcome.FAILED and not any((reading.tokens or {}).values())


@dataclass(slots=True)
class _Heard:
    """A reader, and the first time it said that the program will not go on: while that dies, it may say anything."""

    reader: Reader
    found: Reading | None = None

    def out(self, line: str, at: datetime) -> None:
        self.reader.out(line, at)

    def err(self, line: str, at: datetime) -> None:
        self.reader.err(line, at)

    def stuck(self) -> Reading | None:
        self.found = self.found or self.reader.stuck()
        return self.found


def advice(tended: Tended, reading: Reading) -> Advice | None:
    """The answer of an analysis (SPEC 7.4), None where it gave none that can be read."""
    said = reading.summary if tended.order.kind in CLIS else _output(tended)
    return generic.read_advice(_report(tended), said)


def _told_beside(kind: Kind, reader: Reader, run: Invocation, exit_code: int) -> Reading:
    """What a run came to, also by the record that its CLI keeps beside its output."""
    at = clock.now().wall
    session = reader.session_id
    path = kind.beside(session, run.environment) if session else None
    if path is not None:
        for line in tail(path, BESIDE_BYTES_MAX).splitlines():
            reader.out(line, at)
    return reader.end(exit_code, at)


def _of_this_run(tended: Tended, kind: Kind, reading: Reading) -> Reading:
    """What this run alone took, where the CLI tells what its session took in all; that is kept for the next run of it.

    In `session.json`, beside the result. Without it, a run is charged with all: too much is better than nothing.
    """
    if not kind.tells_totals or not reading.session_id:
        return reading
    told = {name: getattr(reading, name) for name in ("tokens", "cost_usd")}
    with suppress(OSError):
        put(tended.directory / "session.json", json.dumps({"session": reading.session_id, **told}))
    if tended.order.session != reading.session_id:
        return reading
    before = _totals_before(tended, reading.session_id)
    tokens, cost_usd = reading.tokens, reading.cost_usd
    if "tokens" in kind.tells_totals and tokens is not None and isinstance(before.get("tokens"), dict):
        tokens = {name: max(count - before["tokens"].get(name, 0), 0) for name, count in tokens.items()}
    if "cost_usd" in kind.tells_totals and cost_usd is not None:
        cost_usd = max(cost_usd - (before.get("cost_usd") or 0.0), 0.0)
    return replace(reading, tokens=tokens, cost_usd=cost_usd)


def _totals_before(tended: Tended, session: str) -> dict[str, Any]:
    """What the newest earlier attempt that worked in the session said it had taken; {} where none did."""
    found = {}
    for path in tended.directory.path.parent.glob("*/session.json"):
        number = int(path.parent.name.rpartition(".")[2])
        with suppress(OSError, ValueError):
            said = json.loads(read_regular(path, RESULT_FILE_BYTES_MAX))
            if number < tended.order.number and said.get("session") == session:
                found[number] = {name: value for name, value in said.items() if value is not None}
    return {name: value for _, said in sorted(found.items()) for name, value in said.items()}


def _with_remedy(order: Order, kind: Kind, reading: Reading) -> Reading:
    """A refused login of an agent that does not get what is set here: what to type comes first, as notices are cut."""
    kept = [name for name in kind.logins if name in os.environ and name not in order.env_pass]
    if reading.outcome is not Outcome.AUTH or not kept:
        return reading
    line = f"env_pass = {json.dumps([*order.env_pass, *kept])} in [agents.{order.agent}]"
    return replace(reading, error=f"it does not get what is set here: {line}; {reading.error}")


def _with_report(reading: Reading, said: Reading) -> Reading:
    """A CLI ended well, and its agent says more in the result file: that it is blocked, or has failed (SPEC 8.6)."""
    return replace(
        reading,
        outcome=said.outcome,
        summary=said.summary or reading.summary,
        question=said.question,
        error=said.error,
        next_steps=said.next_steps,
        limit=said.limit,
    )


def _output(tended: Tended) -> str:
    return tail(tended.directory / "out.log", PROMPT_TAIL_BYTES)


def _report(tended: Tended) -> bytes | None:
    """The agent's result file, if it wrote one; cut at a size no honest report has, which makes it malformed.

    What is no regular file is an empty report, malformed too.
    """
    try:
        return read_regular(_answer_path(tended.order), RESULT_FILE_BYTES_MAX)
    except FileNotFoundError:
        return None
    except OSError:
        return b""
