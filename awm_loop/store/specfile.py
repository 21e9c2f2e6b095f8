"""A task's spec file (SPEC 5.1): read with care, since it may be anything; its header lines parsed, never guessed."""

from __future__ import annotations

import os
import re
import stat
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from awm_loop.config import SPEC_BYTES_MAX
from awm_loop.core.model import Priority, Spec
from awm_loop.core.observation import SpecBad

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_TITLE = re.compile(r"^#\s+(?:sprint\s+)?(?:(?P<id>[A-Za-z0-9][\w.-]*)\s*[:—-]\s+)?(?P<title>.+?)\s*#*\s*$", re.I)
_HEADER = re.compile(r"^\s*[-*]?\s*\*\*\s*(?P<name>[A-Za-z][A-Za-z -]*?)\s*(?::\s*\*\*|\*\*\s*:)\s*(?P<value>.*?)\s*$")
_LENGTH = re.compile(
    r"(?P<count>\d+(?:[.,]\d+)?)\s*(?P<unit>h|hours?|hrs?|m|min|mins|minutes?|s|sec|secs|seconds?)\b", re.I
)
_UNBUILT = {"depends": "Depends", "verify": "Verify", "gate-files": "Gate-files", "isolation": "Isolation"}
_NOTHING = {"", "-", "—", "none", "n/a"}


def read(path: Path, task_id: str, project: Path) -> Spec | SpecBad:
    """The spec at `path`, or why it cannot be used: missing, not a regular file, empty, not UTF-8, over 1 MiB."""
    try:
        # O_NONBLOCK: opening a FIFO must not wait for a writer.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return SpecBad(reason=f"spec file {path} does not exist")
    except OSError as error:
        return SpecBad(reason=f"spec file {path} cannot be read: {error.strerror}")
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return SpecBad(reason=f"spec file {path} is not a regular file")
        try:
            data = file.read(SPEC_BYTES_MAX + 1)
        except OSError as error:
            return SpecBad(reason=f"spec file {path} cannot be read: {error.strerror}")
    if len(data) > SPEC_BYTES_MAX:
        return SpecBad(reason=f"spec file {path} is over 1 MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return SpecBad(reason=f"spec file {path} is not UTF-8 (byte {error.start})")
    if not text.strip():
        return SpecBad(reason=f"spec file {path} is empty")
    return _parse(text, str(path), task_id, project)


def _parse(text: str, path: str, task_id: str, project: Path) -> Spec | SpecBad:
    title, headers = _head(text, task_id)
    files = tuple(name.strip().strip("`") for name in headers.get("files", "").split(",") if name.strip())
    timeout_minutes = minutes(headers["timeout"]) if headers.get("timeout") else None
    if headers.get("timeout") and not timeout_minutes:
        return SpecBad(reason=f"`Timeout: {headers['timeout']}` is not a length such as `45 min`")
    unbuilt = tuple(
        f"{_UNBUILT[name]}: {value}"
        for name, value in headers.items()
        if name in _UNBUILT and value.lower() not in _NOTHING and (name, value.lower()) != ("isolation", "in-place")
    )
    return Spec(
        path=path,
        text=text,
        title=title,
        priority=priority(headers.get("priority", "")),
        estimate_minutes=minutes(headers.get("est", "")),
        files=files,
        missing_files=tuple(name for name in files if not (project / name).exists()),
        model=headers.get("model", "").strip("`"),
        type=headers.get("type", "").lower(),
        timeout_minutes=timeout_minutes,
        commit=headers.get("commit", "yes").lower() not in {"no", "none", "false", "off"},
        script=run_blocks(text),
        unbuilt=unbuilt,
    )


def _head(text: str, task_id: str) -> tuple[str, dict[str, str]]:
    """Title and header lines: those before the first `##` heading or code fence, so that prose is never a setting."""
    title, headers = "", dict[str, str]()
    for line in text.splitlines():
        if line.startswith("##") or re.match(r"\s{0,3}(```|~~~)", line):
            break
        heading = _TITLE.match(line)
        header = _HEADER.match(line)
        if heading and not title:
            title = heading["title"]
        elif header:
            headers.setdefault(header["name"].strip().lower().replace(" ", "-"), header["value"])
    return title or task_id, headers


def priority(value: str) -> Priority:
    """`P1 — HIGH`, `high`, `p0`: the first word that is one; anything else is medium."""
    for word in re.findall(r"[a-z]+\d?", value.lower()):
        if re.fullmatch(r"p[0-3]", word):
            return tuple(Priority)[int(word[1])]
        if word in set(Priority):
            return Priority(word)
    return Priority.MEDIUM


def minutes(value: str) -> float | None:
    """`30 min`, `1.5 h`, `1h 30m`, `90 s`, as minutes; of a range the far end; None for anything else."""
    total = 0.0
    for found in _LENGTH.finditer(value):
        count = float(found["count"].replace(",", "."))
        total += count * {"h": 60.0, "m": 1.0, "s": 1 / 60}[found["unit"][0].lower()]
    return total or None


@lru_cache(maxsize=8)  # to launch a task is to read its spec twice
def run_blocks(text: str) -> str:
    """The fenced blocks whose info string is `sh run` (SPEC 8.7), joined in order; "" where there is none."""
    if "sh run" not in text:
        return ""
    tokens = _markdown().parse(text)
    return "\n".join(token.content for token in tokens if token.type == "fence" and token.info.split() == ["sh", "run"])


@cache
def _markdown() -> MarkdownIt:
    """Blocks only: what stands inside a paragraph is never a script."""
    from markdown_it import MarkdownIt  # noqa: PLC0415  20 ms that only scripts pay

    return MarkdownIt().disable("inline")
