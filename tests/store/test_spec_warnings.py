"""What in a spec is probably a slip (SPEC 5.1): told, never refused."""

from __future__ import annotations

import pytest

from awm_loop.store import specfile

NO_HEADER = "`{}:` is no header of a spec and changes nothing; `{}:` is"
NO_PRIORITY = "`Priority: {}` is none of P0 to P3, critical, high, medium, low; medium is taken"
NO_LENGTH = "`Est: {}` is not a length such as `45 min`; it counts as not given"
NOTHING = "`{}` sets nothing; `**{}:** …` does"
NO_ANSWER = "`Commit: {}` is neither yes nor no; a commit is required"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("**Prioritty:** P1", [NO_HEADER.format("Prioritty", "Priority")]),
        ("**Estimate:** 30 min", [NO_HEADER.format("Estimate", "Est")]),
        ("**Gate files:** a.py", []),
        ("**Gatefiles:** a.py", [NO_HEADER.format("Gatefiles", "Gate-files")]),
        ("**Author:** me", []),
        ("**Note:** read this", []),
        ("**Priority:** urgent", [NO_PRIORITY.format("urgent")]),
        ("**Priority:** P9", [NO_PRIORITY.format("P9")]),
        ("**Priority:** P1 — HIGH", []),
        ("**Est:** a while", [NO_LENGTH.format("a while")]),
        ("**Est:** 30 min", []),
        ("**Est:** -", []),
        ("**Commit:** nope", [NO_ANSWER.format("nope")]),
        ("**Commit:** no", []),
        ("**Commit:** None needed", []),
        ("**Commit:** yes", []),
        ("```bash run\nls\n```", ["a block ```bash run is not run: only ```sh run is"]),
        ("```sh run\nls\n```", []),
        ("```sh  run\nls\n```", []),
        ("```bash\nls\n```", []),
        ("**Est:** 5 min\n**Est:** 10 min", ["`Est:` stands there twice; the first counts"]),
        ("**Est:** 5 min\n**Est:** 5 min", []),
        ("**Author:** me\n**Author:** you", []),
        ("**Verify** pytest", [NOTHING.format("**Verify** pytest", "Verify")]),
        ("Verify: true", [NOTHING.format("Verify: true", "Verify")]),
        ("**Verify:**", [NOTHING.format("**Verify:**", "Verify")]),
        ("- *gate-files:* a.py", [NOTHING.format("- *gate-files:* a.py", "Gate-files")]),
        ("__Commit:__ no", [NOTHING.format("__Commit:__ no", "Commit")]),
        ("* **Commit**: no", []),
        ("**Verify:** none", []),
        ("**Est:**", []),
        ("Verify that it works: by hand.\n\n## Verify: how", []),
        ("", []),
    ],
)
def test_a_slip_is_told_and_what_is_right_or_foreign_is_not(line: str, said: list[str]) -> None:
    """Near-miss names and values that cannot be read; a header that is somebody else's is left in peace (SPEC 5.1)."""
    assert specfile.warnings(f"# Sprint S1: Thing\n\n{line}\n\nDo it.\n") == said
