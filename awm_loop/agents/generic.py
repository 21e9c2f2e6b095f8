"""The two agents of this version: any program (SPEC 8.6) and the embedded shell (SPEC 8.7). One contract for both."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from awm_loop.agents import verdict
from awm_loop.agents.reading import Reading
from awm_loop.config import COUNT_MAX, NEXT_STEPS_MAX
from awm_loop.core.model import Advised, Outcome
from awm_loop.core.observation import Advice, Limit
from awm_loop.terminal import plain

PASSED = ("PATH", "LANG", "TERM")
EPOCH_MILLISECONDS_MIN = 1e11  # an epoch this large is in milliseconds: as seconds it would be the year 5138


class _Report(BaseModel):
    """What an agent may write to its result file. Unknown keys are its own business."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_alias=True, extra="ignore", strict=True)

    status: Literal["succeeded", "failed", "blocked", "limited"]
    summary: str = ""
    question: str = ""
    resets_at: AwareDatetime | float | None = None
    error: str = ""
    tokens: dict[Annotated[str, Field(max_length=64)], Annotated[int, Field(ge=0, le=COUNT_MAX)]] | None = None
    cost_usd: Annotated[float, Field(ge=0, le=COUNT_MAX, allow_inf_nan=False)] | None = None
    session_id: str = ""
    context_share: Annotated[float, Field(ge=0, le=1)] | None = None
    next_steps: list[str] = []


class _Advice(BaseModel):
    """What an analysis answers (SPEC 7.4)."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_alias=True, extra="ignore")

    root_cause: Annotated[str, Field(min_length=1)]
    action: Advised
    text: str = ""


def argv(kind: str, command: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """The program to run. A command's placeholders are filled in one pass, so that no value is expanded again."""
    if kind == "shell":
        return ["sh", "-eu", values["script_file"]]
    pattern = re.compile("|".join(re.escape("{" + name + "}") for name in values))
    return [pattern.sub(lambda found: values[found[0][1:-1]], part) for part in command]


def environment(passed: Sequence[str], values: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """SPEC 8.5: an allow-list, what the agent's config names, and SPEC 8.6's variables; nothing else of ours."""
    result = {name: environ[name] for name in (*PASSED, *passed) if name in environ}
    result.setdefault("PATH", os.defpath)
    result["HOME"] = environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir
    result["TZ"] = "UTC"
    names = {
        "AWM_TASK": "task",
        "AWM_ATTEMPT": "key",
        "AWM_PROMPT_FILE": "prompt_file",
        "AWM_RESULT_FILE": "result_file",
    }
    return result | {name: values[source] for name, source in names.items()}


def read(exit_code: int, report: bytes | None, output_tail: str) -> Reading:
    """SPEC 8.6: exit 0 is "ended well"; a result file wins over the exit code; a malformed one is a failure."""
    if report is None:
        if exit_code == 0:
            return Reading(outcome=Outcome.SUCCEEDED)
        how = f"exit code {exit_code}" if exit_code > 0 else f"killed by signal {-exit_code}"
        return Reading(
            outcome=Outcome.FAILED,
            error=verdict.words(": ".join(part for part in (how, _last_line(output_tail)) if part)),
        )
    try:
        said = _Report.model_validate_json(report)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        return Reading(
            outcome=Outcome.FAILED,
            error=plain(f"the agent's result file is malformed: {where + ': ' if where else ''}{problem['msg']}"),
        )
    return Reading(
        outcome=Outcome(said.status),
        summary=plain(said.summary),
        question=plain(said.question),
        error=plain(said.error),
        tokens=said.tokens,
        cost_usd=said.cost_usd,
        session_id=verdict.session(said.session_id),
        context_share=said.context_share,
        next_steps=tuple(text for step in said.next_steps[:NEXT_STEPS_MAX] if (text := verdict.words(step))),
        limit=_limit(said) if said.status == "limited" else None,
    )


def read_advice(report: bytes | None, output_tail: str) -> Advice | None:
    """The answer of an analysis, in its result file or at the end of its words; None where there is none that can be
    read. Beside it there may be a fence and other words."""
    for text in ((report or b"").decode("utf-8", "replace"), plain(output_tail)):
        for part in (text, _last_line(text), _last_answer(text)):
            try:
                said = _Advice.model_validate_json(part.encode("utf-8", "replace"))
            except ValidationError:
                continue
            return Advice(cause=said.root_cause, action=said.action, text=said.text)
    return None


def _last_answer(text: str) -> str:
    """The last object with a `rootCause`, up to the last brace; it may be over several lines."""
    begins_at = text.rfind("{", 0, max(text.rfind('"rootCause"'), 0))
    return text[begins_at : text.rfind("}") + 1] if begins_at >= 0 else ""


def _limit(said: _Report) -> Limit:
    if said.resets_at is None:
        return Limit(resets_at=None, source="result file, without a time")
    if isinstance(said.resets_at, datetime):
        return Limit(resets_at=said.resets_at, source="result file")
    seconds = said.resets_at / 1000 if said.resets_at >= EPOCH_MILLISECONDS_MIN else said.resets_at
    try:
        return Limit(resets_at=datetime.fromtimestamp(seconds, UTC), source="result file, epoch")
    except (OverflowError, ValueError, OSError):
        return Limit(resets_at=None, source=f"result file, not a time: {said.resets_at}")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in plain(text).splitlines() if line.strip()]
    return lines[-1] if lines else ""
