"""An archive whose files may say anything, imported for real: all of it or nothing, and never beside the home (SPEC 17)."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from bad_input import Scene, files_like, fuzzed, scene
from click.testing import CliRunner
from hypothesis import event, given
from hypothesis import strategies as st
from test_settings_and_specs import configs, specs

from awm_loop import clock
from awm_loop.cli.main import awm
from awm_loop.cli.setting_up import CONFIG_TEMPLATE
from awm_loop.errors import EXIT_CONFIG, EXIT_OK, AwmError
from awm_loop.store import archive, jsontext, portable, tomltext
from awm_loop.wiring import Home

STATE: dict[str, Any] = {
    "active": True,
    "project": "/project",
    "queue": ["S1", "S2"],
    "completed": ["S0"],
    "blocked": ["S3"],
    "specFiles": {"S1": "specs/tasks/S1.md", "S2": "specs/tasks/S2.md"},
    "projectOf": {"S1": "app"},
    "tasks": {"S1": {"priority": "high", "depends": ["S2"]}, "S3": {"reason": "asks", "guidance": ["do"]}},
}
PROJECTS = {"version": 1, "projects": [{"id": "app", "path": "/app", "status": "active", "depends": ["lib"]}]}
TRIGGER = {"id": "nightly", "type": "time", "trigger": "0 2 * * *", "projectId": "app", "enabled": True} | {
    "spec": "specs/triggers/nightly.md"
}
METRICS = {"version": 1, "sprints": [{"sprint": "S0", "agent": "codex", "status": "success", "durationMinutes": 2.5}]}
GOOD = {
    "current_work.json": jsontext.layout(STATE),
    "projects.json": jsontext.layout(PROJECTS),
    "triggers.json": jsontext.layout({"version": 1, "triggers": [TRIGGER]}),
    "work_metrics.json": jsontext.layout(METRICS),
    "awm.toml": tomltext.layout({"loop": {"stall_minutes": 2.5}}).encode(),
    "specs/tasks/S1.md": b"# S1\n\n**Verify:** x\n",
    "specs/tasks/S2.md": b"# S2\n\n```sh run\ntrue\n```\n",
    "specs/triggers/nightly.md": b"# Review\n",
    "templates/docs.md": b"# $what\n",
}
OPTIONS = [[], ["--with-commands", "--yes"], ["--as", "x"], ["--dry-run"], ["--json"]]


@st.composite
def members(draw: st.DrawFn) -> dict[str, bytes]:
    """The files of a good archive, of which one or two may be anything."""
    odd = {
        "current_work.json": files_like(STATE),
        "projects.json": files_like(PROJECTS),
        "triggers.json": files_like({"version": 1, "triggers": [TRIGGER]}),
        "work_metrics.json": files_like(METRICS),
        "awm.toml": configs,
        "specs/tasks/S1.md": specs,
        "specs/triggers/nightly.md": specs,
        "templates/docs.md": specs,
    }
    chosen = draw(st.lists(st.sampled_from(sorted(odd)), max_size=2, unique=True))
    return GOOD | {name: draw(odd[name]) for name in chosen}


def tree(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"}


@fuzzed(150, 2000)
@given(found=members(), options=st.sampled_from(OPTIONS))
def test_all_is_imported_or_nothing_is(found: dict[str, bytes], options: list[str]) -> None:
    """A refusal is one of ours and changes nothing; after a success every file of the home is right, and exports again."""
    with scene() as bed:
        home = new_home(bed)
        packed = bed.root / "a.tar.gz"
        packed.write_bytes(archive.pack(found, awm="0", made="now", project=None))
        before = tree(bed.root)

        done = CliRunner().invoke(awm, ["--home", str(home.path), "import", str(packed), *options])

        after = tree(bed.root)
        code = done.exception.exit_code if isinstance(done.exception, AwmError) else done.exit_code
        assert code in {EXIT_OK, EXIT_CONFIG}, (done.output, done.exc_info)
        event(f"exit code {code}")
        if code != EXIT_OK or "--dry-run" in options:
            assert after == before
            return
        beside = {path for path in after if not path.startswith(f"{home.path}/")}
        assert {path: after[path] for path in beside} == {path: data for path, data in before.items() if path in beside}
        read = Home.open(home.path)
        loaded = read.store.load(clock.now())
        assert loaded is not None
        assert loaded.work.paused
        for name, key in (("projects.json", "projects"), ("triggers.json", "triggers")):
            for entry in portable.entries(read.store.directory / name, key):
                assert entry.get("enabled", False) is False
                assert entry.get("status") != "active"
        again = CliRunner().invoke(awm, ["--home", str(home.path), "export", str(bed.root / "b.tar.gz")])
        assert (again.exit_code, again.exception) == (0, None), again.output


def new_home(bed: Scene) -> Home:
    (bed.path / "awm.toml").write_text(CONFIG_TEMPLATE)
    home = bed.opened()
    with home.store.locked_for_command():
        home.store.create(str(bed.path))
    return home


def test_a_good_archive_is_imported(tmp_path: Path) -> None:
    """What is above is about more than refusals."""
    with scene() as bed:
        home = new_home(bed)
        packed = tmp_path / "a.tar.gz"
        packed.write_bytes(archive.pack(GOOD, awm="0", made="now", project=None))

        done = CliRunner().invoke(awm, ["--home", str(home.path), "import", str(packed), "--json"])

        assert json.loads(done.stdout)["tasks"] == {"queue": ["S1"], "completed": ["S0"], "blocked": ["S3", "S2"]}


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 4096])
def test_specs_of_any_size_come_out_whole(tmp_path: Path, size: int) -> None:
    """Blocks of 512 bytes are tar's, not the specs'."""
    text = b"x" * size
    path = tmp_path / "a.tar.gz"
    path.write_bytes(archive.pack(GOOD | {"specs/tasks/S1.md": text}, awm="0", made="now", project=None))

    assert archive.unpack(path)[1]["specs/tasks/S1.md"] == text
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as tar:
        assert tar.getmember("specs/tasks/S1.md").size == size
