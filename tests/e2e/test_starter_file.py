"""The published state file, done from its first beat to its report (SPEC 4.1, 4.2, 4.4, 4.5, 12.1)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from home import Home

STARTER = """\
{"_comment": "Copy this to current_work.json and fill in your project details", "active": true, "task": "my-project-sprints",
 "description": "Autonomous sprint queue for my project", "queue": ["S1","S2","S3"], "completed": [], "inProgress": null,
 "specFiles": {"S1": "/path/SPRINT_S1_SPEC.md", "S2": "/path/SPRINT_S2_SPEC.md", "S3": "/path/SPRINT_S3_SPEC.md"},
 "project": "/path/to/your/project", "notifyUser": true, "retryOnRateLimit": true, "rateLimitRetryMinutes": 15, "maxRetries": 3,
 "autoNewAfterSprints": 3, "createdAt": "2026-01-01T00:00:00Z", "lastUpdated": "2026-01-01T00:00:00Z", "log": []}
"""
SEED = """\
{
  "active": true,
  "task": "my-project-sprints",
  "description": "Build features for my app",
  "queue": ["S3", "S4", "S5"],
  "completed": ["S1", "S2"],
  "inProgress": "S3",
  "specFiles": {
    "S1": "/path/to/SPRINT_S1_SPEC.md",
    "S2": "/path/to/SPRINT_S2_SPEC.md",
    "S3": "/path/to/SPRINT_S3_SPEC.md"
  },
  "project": "/path/to/your/project",
  "notifyUser": true,
  "retryOnRateLimit": true,
  "rateLimitRetryMinutes": 15,
  "maxRetries": 3,
  "autoNewAfterSprints": 3,
  "log": []
}
"""


def published(home: Home, text: str = STARTER) -> dict[str, Any]:
    """A published file with its paths made real, and no `awm.toml`."""
    (home.path / "awm.toml").unlink()
    for placeholder, real in (("/path/to/your/project", home.project), ("/path/to/", home.root), ("/path/", home.root)):
        text = text.replace(f'"{placeholder}', f'"{real}{"/" if placeholder.endswith("/") and "your" not in placeholder else ""}')
    found: dict[str, Any] = json.loads(text)
    return found


def last_beat_said(home: Home) -> str:
    """What a beat prints once all is done and told."""
    home.wait_for(lambda: home.is_idle)
    done = home.heartbeat()
    assert (done.code, done.err) == (0, "")
    return done.out


def test_the_starter_file_is_done_in_order_with_every_notice(home: Home) -> None:
    """One beat sets it off, each end starts the next, and a later beat prints what there is to tell (SPEC 4.4, 6.5, 12.1)."""
    home.put(published(home))
    home.spec("S1", title="Search bar implementation")
    home.spec("S2", title="Deep dive linking", header="**Est:** 30 min")
    home.spec("S3", title="Tidy up", header="**Est:** 2 h")

    first = home.heartbeat()

    assert (first.code, first.err) == (0, "")
    assert first.out == (
        "🚀 Sprint S1 started — Search bar implementation\n"
        "🤖 Model: Shell\n"
        "⏱️ ETA: unknown\n"
        "📋 Next up: S2 — Deep dive linking\n"
        "📊 Progress: 0/3 sprints done\n"
    )
    said = last_beat_said(home)
    commits = home.git("log", "--reverse", "--format=%s %h", "--abbrev=7").splitlines()
    assert [line.split()[0] for line in commits] == ["base", "S1", "S2", "S3"]
    c1, c2, c3 = (line.split()[1] for line in commits[1:])
    assert said == (
        f"✅ Sprint S1 COMPLETE — Search bar implementation. Commit {c1}\n"
        "⏱️ Duration: under 1 min\n"
        "🚀 Sprint S2 started — Deep dive linking\n"
        "🤖 Model: Shell\n"
        "⏱️ ETA: ~30 minutes (from the spec)\n"
        "📋 Next up: S3 — Tidy up\n"
        "📊 Progress: 1/3 sprints done\n"
        f"✅ Sprint S2 COMPLETE — Deep dive linking. Commit {c2}\n"
        "⏱️ Duration: under 1 min (est was 30 min)\n"
        "🚀 Sprint S3 started — Tidy up\n"
        "🤖 Model: Shell\n"
        "⏱️ ETA: ~120 minutes (from the spec)\n"
        "📋 Next up: nothing, this is the last\n"
        "📊 Progress: 2/3 sprints done\n"
        f"✅ Sprint S3 COMPLETE — Tidy up. Commit {c3}\n"
        "⏱️ Duration: under 1 min (est was 120 min)\n"
        "🏁 Queue finished — 3 of 3 sprints completed\n"
        f"✅ S1 completed — under 1 min, 1 attempt, commit {c1}\n"
        f"✅ S2 completed — under 1 min, 1 attempt, commit {c2}\n"
        f"✅ S3 completed — under 1 min, 1 attempt, commit {c3}\n"
    )
    again = home.heartbeat()
    assert (again.code, again.out, again.err) == (0, "", "")
    state = home.state()
    assert {key: state[key] for key in ("active", "queue", "completed", "inProgress", "failed", "skipped", "blocked")} == {
        "active": False,
        "queue": [],
        "completed": ["S1", "S2", "S3"],
        "inProgress": None,
        "failed": [],
        "skipped": [],
        "blocked": [],
    }
    assert state["idleSince"] is not None
    assert home.begun() == ["S1", "S2", "S3"]
