"""Any bytes as `awm.toml` or as a spec: named trouble, or something a beat can work with (SPEC 5.1, 16)."""

from __future__ import annotations

import json

from bad_input import ODD_TEXTS, Scene, dumped, fuzzed, scene, spoilt, texts
from hypothesis import given
from hypothesis import strategies as st
from test_state_files import look_at

from awm_loop import clock
from awm_loop.attempt.directory import AttemptDirectory
from awm_loop.cli import checking
from awm_loop.cli.setting_up import CONFIG_TEMPLATE
from awm_loop.config import AgentConfig, LoopConfig, NotifyConfig, OpenClawConfig, ProjectConfig
from awm_loop.core.model import Launch, Spec, attempt_key
from awm_loop.errors import ConfigError
from awm_loop.store import specfile

TABLES = {
    "loop": LoopConfig,
    "project": ProjectConfig,
    "agents.local": AgentConfig,
    "notify": NotifyConfig,
    "openclaw": OpenClawConfig,
}
KEYS = [
    *((table, key) for table, model in TABLES.items() for key in model.model_fields),
    ("agents.mine", "kind"),
    ("agents.mine", "command"),
    ("agents.a b", "kind"),
    ("routes", "default"),
    ("loop", "stal_minutes"),
]
LITERALS = [
    "0", "1", "-1", "15", "0.5", "1e300", "1e9", "nan", "-inf", "0x10", "9" * 30, "9" * 5000, "true", "false",
    "2026-01-01", "2026-01-01T00:00:00Z", "07:00:00", "[]", "[0]", "[1, 1e9]", '["true"]', '["local"]', "{}", "{a = 1}",
    '"shell"', '"command"', '"local"', '"mine"', '"worktree"', '"env:NOPE"', '"discord://x"', '"http://127.0.0.1:1/"', '"http://[::1"',
    '"\\u0000"', '"~/x"', '""', "[" * 2000,
]  # fmt: skip
SPEC = """# Sprint S2: Search bar

**Priority:** P1
**Est:** 30 min
**Files:** a.py, `b.py`
**Model:** local
**Type:** coding
**Timeout:** 45 min
**Commit:** no
**Verify:** `true`
**Gate-files:** tests/
**Isolation:** in-place

```sh run
true
```
"""
HEADERS = [
    *[
        "Priority",
        "Est",
        "Files",
        "Model",
        "Type",
        "Timeout",
        "Commit",
        "Verify",
        "Gate-files",
        "Isolation",
        "Depends",
        "Estimate",
        "Priorty",
    ]
]
VALUES = [
    "P0", "30 min", "1h 30m", "9" * 400 + " h", "-5 min", "0 s", "1e5 h", "no", "worktree", "a, b,, `c`", "../../etc/passwd",
    "/dev/stdin", "`", "``", "x" * 5000, "sh -c 'exit 1", "\x00", "\x1b]0;x\x07", "none", "—", "codex", "٣ min", "{key}",
]  # fmt: skip
lines = st.tuples(st.sampled_from(KEYS), st.sampled_from(LITERALS) | texts.map(json.dumps) | st.integers().map(str))
headers = st.tuples(
    st.sampled_from(HEADERS) | st.text(max_size=9), st.sampled_from(VALUES) | st.sampled_from(ODD_TEXTS)
)


def toml_of(pairs: list[tuple[tuple[str, str], str]]) -> bytes:
    """Tables in the order they come; a table that comes twice is a mistake people make too."""
    text, open_table = "", ""
    for (table, key), value in pairs:
        name = json.dumps(table.partition(".")[2]) if "." in table else ""
        header = f"[agents.{name}]\n" if name else f"[{table}]\n"
        text += (header if table != open_table else "") + f"{key} = {value}\n"
        open_table = table
    return text.encode(errors="surrogatepass")


configs = (
    st.lists(lines, max_size=4).map(sorted).map(toml_of)
    | st.lists(lines, max_size=4).map(toml_of)
    | spoilt(CONFIG_TEMPLATE.encode())
    | spoilt(CONFIG_TEMPLATE.replace("\n# ", "\n").encode())
    | st.binary(max_size=60)
)
specs = (
    st.lists(headers, max_size=5).map(
        lambda found: (
            "# Sprint S2: Thing\n"
            + "".join(f"**{name}:** {value}\n" for name, value in found)
            + "\n```sh run\ntrue\n```\n"
        ).encode(errors="surrogatepass")
    )
    | spoilt(SPEC.encode())
    | st.text(max_size=200).map(lambda text: text.encode(errors="surrogatepass"))
    | st.lists(
        st.sampled_from(["#", "**", ":", "`", "```", "~~~", "sh run", "\n", " ", "<!--", "-->", "- ", "\r", "S2"]),
        max_size=40,
    ).map(lambda parts: "".join(parts).encode())
    | st.binary(max_size=60)
)


def open_queue(found: Scene) -> None:
    """Tasks that can be started, and nothing else."""
    found.put(
        dumped({"queue": ["S2", "S3"], "project": found.state()["project"], "specFiles": found.state()["specFiles"]})
    )


@fuzzed(120, 3_000)
@given(configs)
def test_any_settings_are_refused_by_name_or_a_beat_runs_with_them(data: bytes) -> None:
    """SPEC 16: file, line and hint, exit 78; what is accepted crashes neither check nor beat."""
    with scene() as found:
        open_queue(found)
        path = found.path / "awm.toml"
        path.write_bytes(data)
        try:
            home = found.opened()
        except ConfigError as error:
            told = error.message
        else:
            told = str(path)
            checking.check_notify(home, checking.Verdict())
            for name in home.config.agents:
                checking.check_agent(home, name, None, checking.Verdict())
            found.beat()
            look_at(found, True)
        assert (told.startswith(str(path)), path.read_bytes()) == (True, data)


@fuzzed(120, 3_000)
@given(specs)
def test_any_spec_blocks_its_task_or_is_launched_as_it_stands(data: bytes) -> None:
    """SPEC 5.1: that task only; what was launched has an order and a prompt that can be read."""
    with scene() as found:
        open_queue(found)
        path = found.root / "S2.md"
        path.write_bytes(data)
        spec = specfile.read(path, "S2", found.root / "project")
        if isinstance(spec, Spec):
            specfile.warnings(spec.text)

        done = found.beat()

        look_at(found, True)
        assert path.read_bytes() == data
        assert done.work is not None
        if "S2" in done.work.blocked:
            assert done.work.task("S2").reason
        elif isinstance(done.effect, Launch) and done.effect.key == attempt_key("S2", 1):
            directory = AttemptDirectory(found.path / "state" / "attempts" / done.effect.key)
            order = directory.order()
            assert order is not None
            assert (order.task, bool((directory / "prompt.md").read_bytes())) == ("S2", True)
        loaded = found.opened().store.load(clock.now())
        assert loaded is not None
        assert {*loaded.work.queue, *loaded.work.blocked, *(one.task for one in loaded.work.attempts)} == {"S2", "S3"}
