"""The installed crontab line under Debian's cron, with cron's bare PATH (SPEC 1.1; docs/MEASURED.md 1). Takes a minute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bed import SCHEDULERS_PATH, Sprints

OTHERS = b'# my own jobs\nMAILTO=""\n15 3 * * *\tdate +\\%s > /dev/null  # nightly\n\n'
AGENT = """\
#!/usr/bin/env -S fake-node
echo "begin $AWM_TASK $AWM_ATTEMPT" >> {truth}
echo "path $PATH" >> {truth}
git commit -q --allow-empty -m "$AWM_TASK"
"""


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(0o755)


def test_the_installed_line_finds_what_only_the_shells_path_had(sprints_of: Callable[[str], Sprints]) -> None:
    """At the full minute, a user's agent below nvm and its interpreter elsewhere; other lines stay, byte for byte."""
    sprints = sprints_of("you")
    nvm, node = sprints.user / ".nvm/versions/node/v22 50%/bin", sprints.user / "node's/bin"
    program(nvm / "fake-claude", AGENT.format(truth=sprints.truth_path))
    program(node / "fake-node", '#!/bin/sh\nexec /bin/sh "$@"\n')
    sprints.config('[loop]\ndefault_agent = "claude"\n[agents.claude]\nkind = "command"\ncommand = ["fake-claude"]\n')
    for task in ("S1", "S2"):
        sprints.spec(task)
    sprints.queue("S1", "S2")
    sprints.give()
    crontab = sprints.root / "crontab"
    crontab.write_bytes(OTHERS)
    sprints.bed.must("crontab", str(crontab), user="you")

    path = f"{sprints.user}/.cargo/bin:{nvm}:{node}:{SCHEDULERS_PATH}:/usr/games"
    said, again = sprints.awm("install", "--cron", path=path), sprints.awm("install", "--cron", path=path)
    lines = sprints.bed.run("crontab", "-l", user="you").out
    sprints.bed.must("systemctl", "start", "cron.service")  # now: it sees no change made within a second of its look
    sprints.wait_for(lambda: sprints.is_idle, seconds=100)
    gone = sprints.awm("uninstall")

    assert (said.code, said.out) == (0, f"ran     crontab -\ncron: {sprints.name}: a beat every minute\n")
    assert (again.code, again.out) == (0, f"cron: {sprints.name}: up to date\n")
    assert lines.startswith(OTHERS.decode())
    assert len(lines.splitlines()) == len(OTHERS.splitlines()) + 1
    assert [" ".join(line) for line in sprints.truth() if line[0] == "path"] == [
        f"path {nvm}:{node}:{SCHEDULERS_PATH}"
    ] * 2
    assert sprints.begun() == ["S1", "S2"]
    assert gone.code == 0
    assert sprints.bed.run("crontab", "-l", user="you").out == OTHERS.decode()
