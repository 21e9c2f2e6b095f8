"""A task's spec file (SPEC 5.1): read with care, since it may be anything; its header lines parsed, never guessed."""

from __future__ import annotations

import difflib
import os
import re
import stat
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from awm_loop.config import ID_PATTERN, MINUTES_MAX, SPEC_BYTES_MAX, SPEC_LINE_CHARS_MAX, SPEC_VALUE_CHARS_MAX
from awm_loop.core.model import Spec
from awm_loop.core.observation import SpecBad
from awm_loop.core.project import Priority

if TYPE_CHECKING:
    from collections.abc import Mapping

    from markdown_it import MarkdownIt

# Each pattern takes time in proportion to what it looks at, however that is filled: a spec may come from anywhere.
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_LINE_END = re.compile(r"\r\n|\r|\n")
_HEAD_END = re.compile(r"##| {0,3}(?:```|~~~)")
_NAMED = re.compile(
    r"(?P<sprint>sprint(?=[\s:])\s{0,9})?(?P<id>[\w.-]{0,64}?)\s{0,9}[:—\u2013-]\s(?P<title>.+)", re.IGNORECASE
)
_HEADER = re.compile(
    r" {0,3}(?:[-*][ \t]+)?\*\*[ \t]*(?P<name>[A-Za-z][A-Za-z -]{0,30})(?::[ \t]*\*\*|\*\*[ \t]*:)(?P<value>.*)"
)
_RANGE = re.compile(r"[-\u2013—]|\bto\b")
_LENGTH = re.compile(
    r"(?<![\d.,])(?P<count>\d{1,9}(?:[.,]\d{1,9})?)\s{0,9}(?P<unit>hours?|hrs?|h|minutes?|mins?|m|seconds?|secs?|s)(?![a-z])",
    re.IGNORECASE,
)
_FENCE = re.compile(r"^.*(?:```|~~~).*$", re.MULTILINE)
_RUN_FENCE = re.compile(  # at the margin a fence is one, but in HTML; what is no fence under it is its content
    r"(?:`{3,}|~{3,})[ \t]*sh[ \t]+run[ \t]*\r?\n[ \t]*(?!```|~~~)\S"
)
_HTML_LINE = re.compile(r"^[ \t>*+-]*<", re.MULTILINE)
_SPAN = re.compile(r"(?P<ticks>`+)(?!`)(?P<code>.*?)(?<!`)(?P=ticks)")
_OTHER_RUN_FENCE = re.compile(r"^ {0,3}(?:`{3,}|~{3,})[ \t]*(?!sh\b)(\w+)[ \t]+run[ \t]*$", re.MULTILINE)
_UNIT_MINUTES = {"h": 60.0, "m": 1.0, "s": 1 / 60}
_GATE = ("verify", "gate-files")
_LONG = {"files", *_GATE}
_NOTHING = {"", "-", "—", "none", "n/a"}
_YES, _NO = {"yes", "true", "on", "required"}, {"no", "none", "false", "off"}
_MEANT = {  # headers by the names people give them
    **{name.lower(): name for name in ("Priority", "Est", "Files", "Model", "Type", "Timeout", "Commit", "Isolation")},
    **{name.lower(): name for name in ("Depends", "Verify", "Gate-files")},
    "estimate": "Est",
}
_NEARLY_HEADER = re.compile(  # as those that people write: without the colon, the stars, or a value
    rf"[ \t>*_+-]{{0,9}}(?P<name>{'|'.join(_MEANT)})(?:[*_]{{0,3}}[ \t]{{0,9}}:|\*\*|__)", re.IGNORECASE
)
_BETWEEN = {"and", "&", "sprint", "sprints"}  # words among the ids of `Depends:`
_ISOLATIONS = {"": "", "auto": "", "in-place": "in-place", "worktree": "worktree"}


def read(path: Path, task_id: str, project: Path) -> Spec | SpecBad:
    """The spec at `path`, or why it cannot be used: missing, not a regular file, empty, not UTF-8, over 1 MiB."""
    try:
        data = _bytes(path)
    except FileNotFoundError:
        return SpecBad(reason=f"spec file {path} does not exist")
    except OSError as error:
        return SpecBad(reason=f"spec file {path} cannot be read: {error.strerror}")
    if data is None:
        return SpecBad(reason=f"spec file {path} is not a regular file")
    if len(data) > SPEC_BYTES_MAX:
        return SpecBad(reason=f"spec file {path} is over 1 MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return SpecBad(reason=f"spec file {path} is not UTF-8 (byte {error.start})")
    return parse(text, path, task_id, project)


def parse(text: str, path: Path, task_id: str, project: Path) -> Spec | SpecBad:
    """The spec that a file of that text would be."""
    if not text.strip():
        return SpecBad(reason=f"spec file {path} is empty")
    found = _parse(text, str(path), task_id, project)
    return SpecBad(reason=f"spec file {path}: {found.reason}") if isinstance(found, SpecBad) else found


def _bytes(path: Path) -> bytes | None:
    """The contents, no more than is allowed and one byte; None where it is no regular file. Raises OSError."""
    # O_NONBLOCK: opening a FIFO must not wait for a writer.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read(SPEC_BYTES_MAX + 1)
    finally:
        os.close(fd)


def _parse(text: str, path: str, task_id: str, project: Path) -> Spec | SpecBad:
    title, headers, repeated, _ = _head(text, task_id)
    if "verify" in repeated:  # the second would be ignored, and the task pass for done without it
        return SpecBad(reason="`Verify:` stands there twice; make one line of them: `Verify: first && second`")
    files = _names(headers.get("files", ""))
    timeout = headers.get("timeout", "")
    timeout_minutes = minutes(timeout)
    if timeout and timeout_minutes is None:
        return SpecBad(reason=f"`Timeout: {timeout}` is not a length such as `45 min`")
    for name in _GATE:  # half of a shell line is another one, and no process can be given a NUL
        if len(headers.get(name, "")) > SPEC_LINE_CHARS_MAX or "\0" in headers.get(name, ""):
            what = f"is longer than {SPEC_LINE_CHARS_MAX} characters or holds a NUL byte"
            return SpecBad(reason=f"`{name.capitalize()}:` {what}")
    isolation = headers.get("isolation", "").lower()
    if isolation not in _ISOLATIONS:
        return SpecBad(reason=f"`Isolation: {isolation}` is neither in-place nor worktree")
    depends = _ids(headers.get("depends", ""))
    bad = next((word for word in depends if not re.fullmatch(ID_PATTERN.removesuffix("$"), word)), None)
    if bad is not None:
        return SpecBad(reason=f"`Depends: {headers['depends']}`: {bad!r} is not a task id")
    return Spec(
        path=path,
        text=text,
        title=title,
        priority=_priority(headers.get("priority", "")),
        depends=depends,
        estimate_minutes=minutes(headers.get("est", "")),
        files=files,
        missing_files=tuple(name for name in files if not os.path.exists(project / name)),  # noqa: PTH110  never raises
        model=headers.get("model", ""),
        type=headers.get("type", "").lower(),
        timeout_minutes=timeout_minutes,
        commit=_first_word(headers.get("commit", "")) not in _NO,
        verify=headers.get("verify", ""),
        gate_files=_names(headers.get("gate-files", "")),
        isolation=_ISOLATIONS[isolation],
        has_script=has_run_block(text),
    )


def warnings(text: str) -> list[str]:
    """What in a spec may be meant and is probably a slip: near-miss header lines, values that cannot be read."""
    _, headers, repeated, others = _head(text, "")
    known = repeated & {name.lower() for name in _MEANT.values()}
    found = [f"`{name.capitalize()}:` stands there twice; the first counts" for name in sorted(known)]
    for name in headers:
        near = difflib.get_close_matches(name, _MEANT, n=1, cutoff=0.7)
        if near and name != _MEANT[near[0]].lower():
            found.append(f"`{name.capitalize()}:` is no header of a spec and changes nothing; `{_MEANT[near[0]]}:` is")
    for line in others:
        if nearly := _NEARLY_HEADER.match(line):
            meant = f"`**{_MEANT[nearly['name'].lower()]}:** …`"
            found.append(f"`{line.strip()[:SPEC_VALUE_CHARS_MAX]}` sets nothing; {meant} does")
    asked, length, commit = (headers.get(name, "") for name in ("priority", "est", "commit"))
    if asked and _priority(asked) is None:
        found.append(f"`Priority: {asked}` is none of P0 to P3, critical, high, medium, low; medium is taken")
    if length and minutes(length) is None:
        found.append(f"`Est: {length}` is not a length such as `45 min`; it counts as not given")
    if commit and _first_word(commit) not in _YES | _NO:
        found.append(f"`Commit: {commit}` is neither yes nor no; a commit is required")
    found += [f"a block ```{other[1]} run is not run: only ```sh run is" for other in _OTHER_RUN_FENCE.finditer(text)]
    return found


def without_gate(text: str) -> str:
    """The spec without its `Verify:` lines, which are commands; the same text where it has none.

    Comments stay where the lines can be found with them. Where not, all go, and no new one comes together.
    """
    if not gate(text):
        return text
    kept = _without_gate_lines(text)
    bare = _COMMENT.sub("", text).replace("<!--", "<! --")
    return _without_gate_lines(bare) if gate(kept) else kept


def _without_gate_lines(text: str) -> str:
    lines, is_head = list[str](), True
    for line in re.split(r"(?<=\n)|(?<=\r)(?!\n)", text):
        header = _HEADER.match(_LINE_END.split(line)[0]) if is_head else None
        is_head = is_head and not _HEAD_END.match(line)
        if not header or re.findall(r"[a-z]+", header["name"].lower()) != ["verify"]:
            lines.append(line)
    return "".join(lines)


def gate(text: str) -> str:
    """What a spec's `Verify:` line says; "" where it has none."""
    return _head(text, "")[1].get("verify", "")


def depends(text: str) -> tuple[str, ...]:
    """The ids that a spec's `Depends:` line names."""
    return _ids(_head(text, "")[1].get("depends", ""))


def with_depends(text: str, names: Mapping[str, str]) -> str:
    """The spec, with the tasks that its `Depends:` line names called as `names` has them.

    Raises ValueError where the line stands so among comments that it cannot be found.
    """
    lines, is_head = list[str](), True
    for line in re.split(r"(?<=\n)|(?<=\r)(?!\n)", text):
        header = _HEADER.match(line) if is_head else None
        is_head = is_head and not _HEAD_END.match(line)
        at = header.start("value") if header and header["name"].strip().lower() == "depends" else len(line)
        lines.append(line[:at] + re.sub(r"[^\s,`]+", lambda word: names.get(word[0], word[0]), line[at:]))
    named = "".join(lines)
    if depends(named) != tuple(names.get(one, one) for one in depends(text)):
        raise ValueError("no plain `Depends:` line")
    return named


def _ids(value: str) -> tuple[str, ...]:
    words = dict.fromkeys(word for word in re.split(r"[\s,]+", value) if word)
    return tuple(word for word in words if word.lower() not in _BETWEEN)


def _first_word(value: str) -> str:
    return re.split(r"\W", value.lower())[0]


def _names(value: str) -> tuple[str, ...]:
    return tuple(name for part in value.split(",") if (name := part.strip().strip("`").strip()))


def _code(value: str) -> str:
    """A value out of the backticks of a code span, where the whole of it stands in one."""
    span = _SPAN.fullmatch(value)
    return span["code"].strip() if span and span["ticks"] not in re.findall("`+", span["code"]) else value


def _head(text: str, task_id: str) -> tuple[str, dict[str, str], set[str], list[str]]:
    """Title, headers, the names of those repeated with another value, of which the first counts, and the other lines.

    They stand before the next heading or code fence, so that prose is never a setting. Nothing said (`-`, `none`) is no
    header, but for `Commit: none`; a gate without a value is another line. What is cut ends up in state and notices.
    """
    title, headers, repeated, others = "", dict[str, str](), set[str](), list[str]()
    for line in _LINE_END.split(_COMMENT.sub("", text)):
        header = _HEADER.match(line)
        if _HEAD_END.match(line) or (title and line.startswith("# ")):
            break
        if line.startswith(("# ", "#\t")):
            title = _title(line[1:].strip()[:SPEC_LINE_CHARS_MAX], task_id)
        elif header:
            name = "-".join(re.findall(r"[a-z]+", header["name"].lower()))
            chars_max = SPEC_LINE_CHARS_MAX + 1 if name in _LONG else SPEC_VALUE_CHARS_MAX
            value = _code(header["value"].strip()[:chars_max])
            if value.strip("`").lower() not in _NOTHING or name == "commit":
                repeated |= {name} if headers.setdefault(name, value) != value else set()
            others += [line] if not value and name in _GATE else []
        else:
            others.append(line)
    return title or task_id, headers, repeated, others


def _title(heading: str, task_id: str) -> str:
    """A heading without `Sprint`, the task's own id, closing `#`s, and what is not for print."""
    bare = heading.rstrip("#")
    heading = bare.rstrip() if bare.endswith((" ", "\t")) else heading
    named = _NAMED.fullmatch(heading)
    if named and (named["sprint"] or named["id"].casefold() == task_id.casefold()):
        heading = named["title"].strip()
    shown = "".join(char for char in heading if char.isprintable())
    return shown if len(shown) <= SPEC_VALUE_CHARS_MAX else shown[: SPEC_VALUE_CHARS_MAX - 1] + "…"


def priority(value: str) -> Priority:
    """`P1 — HIGH`, `high`, `p0`: the first word that is one; anything else is medium."""
    return _priority(value) or Priority.MEDIUM


def _priority(value: str) -> Priority | None:
    for word in re.findall(r"[a-z]+\d*", value.lower()):
        if re.fullmatch(r"p[0-3]", word):
            return tuple(Priority)[int(word[1])]
        if word in set(Priority):
            return Priority(word)
    return None


def minutes(value: str) -> float | None:
    """`30 min`, `1.5 h`, `1h 30m`, `90 s`, as minutes; of a range the far end; None for anything else.

    Nothing, less than nothing, and more than ten years are no lengths.
    """
    if value.startswith("-"):
        return None
    for part in reversed(_RANGE.split(value)):
        total, end = 0.0, 0
        for found in _LENGTH.finditer(part):
            if total and part[end : found.start()].strip(" ,"):
                break  # what follows is said beside the length, not part of it
            total += float(found["count"].replace(",", ".")) * _UNIT_MINUTES[found["unit"][0].lower()]
            end = found.end()
        if total:
            return total if total <= MINUTES_MAX else None
    return None


def has_run_block(text: str) -> bool:
    """Whether `run_blocks` finds anything, without the parser where the first fence of the spec is such a block."""
    fence = _FENCE.search(text)
    if fence and _RUN_FENCE.match(text, fence.start()) and not _HTML_LINE.search(text, 0, fence.start()):
        return True
    return bool(run_blocks(text))


@lru_cache(maxsize=8)  # to launch a task is to read its spec twice
def run_blocks(text: str) -> str:
    """The fenced blocks whose info string is `sh run` (SPEC 8.7), joined in order; "" where there is none."""
    if not re.search(r"sh\s+run", text):
        return ""
    tokens = _markdown().parse(text)
    return "\n".join(token.content for token in tokens if token.type == "fence" and token.info.split() == ["sh", "run"])


@cache
def _markdown() -> MarkdownIt:
    """Blocks only: what stands inside a paragraph is never a script."""
    from markdown_it import MarkdownIt  # noqa: PLC0415  20 ms that only scripts pay

    return MarkdownIt().disable("inline")
