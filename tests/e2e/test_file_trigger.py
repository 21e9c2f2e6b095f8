"""A file trigger end to end: what its agent is told, and that its own work does not call it again (SPEC 13.2)."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from home import Home, only


def listed(home: Home, task: str) -> list[str]:
    text = (home.path / "state" / "specs" / f"{task}.md").read_text()
    return re.findall(r"^- (\w+: .+)$", text, re.M)


def put(home: Home, name: str, text: str) -> Path:
    path = home.project / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_ten_changed_files_are_one_task_that_names_them(home: Home) -> None:
    """Touch alone does nothing, and what its own agent writes does not call it again (issue 6)."""
    script = home.work("echo made > src/made.ts; git add src; echo more > src/more.ts")
    (home.path / "docs.md").write_text(f"# Docs\n\n```sh run\n{script}\n```\n")
    docs = {"id": "docs", "type": "file", "trigger": "src/**/*.ts", "debounceSeconds": 0.5, "spec": "docs.md"}
    (home.path / "state" / "triggers.json").write_text(json.dumps({"triggers": [docs]}))
    home.queue()
    old = put(home, "src/deep/old.ts", "old")
    home.beat()
    os.utime(old, (1, 1))
    for _ in range(3):
        home.beat()
    assert home.begun() == []
    for number in range(10):
        put(home, f"src/n{number}.ts", "new")
    home.wait_for(home.begun, beat_every=0.3)
    task = only(home.finish()["completed"])

    assert listed(home, task) == [f"created: `src/n{number}.ts`" for number in range(10)]
    begun = home.begun()
    for _ in range(4):
        home.beat()
    assert home.begun() == begun == [task]
    old.unlink()
    home.wait_for(lambda: home.begun() != begun, beat_every=0.3)
    assert listed(home, home.begun()[-1]) == ["deleted: `src/deep/old.ts`"]
    home.finish()
