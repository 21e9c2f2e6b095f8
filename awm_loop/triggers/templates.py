"""Templates of tasks and of projects: Markdown and TOML with plain `$name` placeholders (SPEC 13.5).

Guarantee: a value is data. Whatever it holds, a filled task template parses to the same header lines and the same
`sh run` blocks (SPEC 13.4): each value stands on one line, in a code span that nothing in it can end, and a placeholder
where a value would be read as a setting or run as a command is refused.
"""

from __future__ import annotations

import os
import re
import string
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from awm_loop import durable
from awm_loop.config import ID_PATTERN, SPEC_BYTES_MAX, TEMPLATE_VALUE_CHARS_MAX
from awm_loop.errors import ConfigError
from awm_loop.regular import read_regular

SHIPPED_PATH = Path(__file__).parent.parent / "templates"
SKILL_PATH = SHIPPED_PATH / "openclaw-skill.md"  # teaches an assistant the verbs; it is no task's template
TASK, PROJECT = ".md", ".toml"

_PLACEHOLDER = string.Template.pattern
_NOTHING = "(none)"
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)  # as the spec's reader drops them
_HEADING = re.compile(r"#{1,6}[ \t]")
_BOLD_NAME = re.compile(r"\*\*[ \t]*([A-Za-z][A-Za-z -]{0,30})(?::[ \t]*\*\*|\*\*[ \t]*:)")
_HEADERS = {"priority", "est", "files", "model", "type", "timeout", "commit"} | {
    *("isolation", "depends", "verify", "gate-files")
}


def render(home: Path, template: str, values: Mapping[str, str], path: Path) -> Path:
    """A task template as the spec at `path`, 0600 and durable; returns that.

    One that is there already stays as it is: a call that comes again after a crash changes nothing. Raises ConfigError
    where the template is missing, cannot be read or wants a value that is not given; DiskError.
    """
    return path if path.exists() else write(path, fill(home, template, values))


def write(path: Path, text: str) -> Path:
    """`text` as the spec at `path`, whatever was there. Raises DiskError."""
    with durable.disk_trouble(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    durable.write_durably(path, text.encode())
    return path


def wanted(home: Path, template: str) -> set[str]:
    """The names that a task template wants values for. Raises ConfigError."""
    return _wanted(_read(home, template, TASK)[1])


def fill(home: Path, template: str, values: Mapping[str, str]) -> str:
    """The text of a task template with its placeholders filled. Raises ConfigError."""
    path, text = _read(home, template, TASK)
    text = re.sub(r"\r\n?", "\n", text)
    _refuse_settings(path, text)
    _check_given(path, text, values)
    filled = _filled(text, lambda name: values[name])
    if len(filled.encode()) > SPEC_BYTES_MAX:
        raise ConfigError(f"{path}: with its values it is over 1 MiB, too long for a spec", "make it shorter")
    return filled


def project_template(home: Path, name: str, values: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a project, and its `triggers`, with the placeholders in every text filled.

    The table `[values]` of the file holds what a placeholder is where `values` does not say. Raises ConfigError.
    """
    path, text = _read(home, name, PROJECT)
    try:
        found = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}", "TOML wants one `key = value` a line and quotes around text") from error
    defaults = found.pop("values", {})
    if not isinstance(defaults, dict) or not all(isinstance(value, str) for value in defaults.values()):
        raise ConfigError(f"{path}: [values] holds something else than texts", 'name = "text", one a line')
    given = {**defaults, **values}
    _check_given(path, _texts(found), given)
    return {key: _with_values(value, given) for key, value in found.items()}


def names(home: Path, kind: str = TASK) -> list[str]:
    """The templates there are, the home's own and those shipped."""
    found = {path.stem for path in (home / "templates", SHIPPED_PATH) for path in path.glob(f"*{kind}")}
    return sorted(name for name in found - {SKILL_PATH.stem} if re.fullmatch(ID_PATTERN, name))


def quoted(value: str) -> str:
    """A value as a code span of one line. Control and format characters, backticks, `<` and `>` come as `\\x60`."""
    return f"`{_escaped(value)}`" if value else _NOTHING


def _escaped(value: str) -> str:
    cut = value if len(value) <= TEMPLATE_VALUE_CHARS_MAX else value[: TEMPLATE_VALUE_CHARS_MAX - 1] + "…"
    return "".join(char if char.isprintable() and char not in "`<>" else _escape(char) for char in cut)


def _escape(char: str) -> str:
    return f"\\x{ord(char):02x}" if ord(char) < 0x100 else f"\\u{ord(char):04x}"


def _read(home: Path, name: str, kind: str) -> tuple[Path, str]:
    """A template of the home, else one shipped under that name."""
    paths = [directory / f"{name}{kind}" for directory in (home / "templates", SHIPPED_PATH)]
    is_one = re.fullmatch(ID_PATTERN, name) and name != SKILL_PATH.stem
    path = next((path for path in paths if is_one and os.path.lexists(path)), None)
    if path is None:
        what = "project template" if kind == PROJECT else "template"
        raise ConfigError(f"there is no {what} {name!r}", f"there are: {', '.join(names(home, kind))}")
    try:
        data = read_regular(Path(os.path.realpath(path)), SPEC_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}", f"ls -l {path}") from error
    if len(data) > SPEC_BYTES_MAX:
        raise ConfigError(f"{path}: is over 1 MiB", "make it shorter")
    try:
        return path, data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 (byte {error.start})", "save as UTF-8") from error


def _wanted(text: str) -> set[str]:
    return {found["named"] or found["braced"] for found in _PLACEHOLDER.finditer(text)} - {None}


def _check_given(path: Path, text: str, values: Mapping[str, str]) -> None:
    missing = sorted(_wanted(text) - values.keys())
    if missing:
        wanted = ", ".join(f"${name}" for name in missing)
        hint = f"{' '.join(f'--set {name}=…' for name in missing)}; a dollar is written $$"
        raise ConfigError(f"{path}: no value is given for {wanted}", hint)


def _substituted(text: str, shown: Callable[[str], str]) -> str:
    """`text` with `shown(name)` for each placeholder, `$` for `$$`; a `$` before anything else is one."""

    def one(found: re.Match[str]) -> str:
        name = found["named"] or found["braced"]
        return shown(name) if name else "$"

    return _PLACEHOLDER.sub(one, text)


def _filled(text: str, value_of: Callable[[str], str]) -> str:
    """A task template with a code span for each placeholder; in a heading, one line of text anyhow, without its ticks.

    No value changes what the lines are: none begins with a blank or a mark, holds a backtick or ends a line.
    """

    def in_heading(name: str) -> str:
        return _escaped(value_of(name)) or _NOTHING

    def elsewhere(name: str) -> str:
        return quoted(value_of(name))

    lines = text.split("\n")
    return "\n".join(_substituted(line, in_heading if _HEADING.match(line) else elsewhere) for line in lines)


def _refuse_settings(path: Path, text: str) -> None:
    """Raise ConfigError for a placeholder in a header line or in a block that is run."""
    lines = text.split("\n")
    for number in sorted(_run_lines(_filled(text, lambda _: "x"))):
        if _wanted(lines[number]):
            what = "stands in a block that is run, where no value may be"
            raise ConfigError(
                f"{path}:{number + 1}: `{lines[number].strip()}` {what}", "a shell's own `$` is written $$"
            )
    for line in [*lines, *_COMMENT.sub("", text).split("\n")]:
        header = next((name for name in map(_header, _BOLD_NAME.findall(line)) if name in _HEADERS), None)
        if header and _wanted(line):
            what = "is a header line, where no value may be"
            hint = f"write it in another form, as `{header.capitalize()}: $name`, or `$$` for a dollar"
            raise ConfigError(f"{path}: `{line.strip()}` {what}", hint)


def _header(name: str) -> str:
    return "-".join(re.findall(r"[a-z]+", name.lower()))


def _run_lines(text: str) -> set[int]:
    """The lines, from 0, of the fenced blocks that are run, or nearly: any whose info string has the word `run`."""
    from markdown_it import MarkdownIt  # noqa: PLC0415  20 ms that a beat without a template does not pay

    tokens = MarkdownIt().disable("inline").parse(text)
    fences = (token.map for token in tokens if token.type == "fence" and token.map and "run" in token.info.split())
    return {number for first, end in fences for number in range(first, end)}


def _texts(value: object) -> str:
    """Every text in a value, one to a line."""
    match value:
        case str():
            return value
        case dict():
            return "\n".join(map(_texts, value.values()))
        case list():
            return "\n".join(map(_texts, value))
    return ""


def _with_values(value: object, values: Mapping[str, str]) -> object:
    match value:
        case str():
            return _substituted(value, lambda name: values[name])
        case dict():
            return {key: _with_values(item, values) for key, item in value.items()}
        case list():
            return [_with_values(item, values) for item in value]
    return value
