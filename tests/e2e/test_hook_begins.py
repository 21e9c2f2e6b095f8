"""How `awm hook` begins, or says why it does not: secrets, the extra, addresses (SPEC 13.4, 14)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from home import PATIENCE_SECONDS, REPOSITORY, Home, only
from test_verbs import awm

AWM = (sys.executable, "-m", "awm_loop.cli.main")
SECRET = "s3cret-of-32-bytes-and-no-more-ok"[:32]


@pytest.mark.parametrize(
    ("config", "secret", "told"),
    [
        ("", None, "awm.toml names env:AWM_HOOK_SECRET, and the environment has no AWM_HOOK_SECRET"),
        ("", "x" * 31, "the secret in AWM_HOOK_SECRET has fewer than 32 bytes"),
        ("[hook]\nsecrets = []\n", "x" * 32, "awm.toml: [hook] secrets is empty, so nobody could be believed"),
    ],
)
def test_without_a_good_secret_it_does_not_begin(home: Home, config: str, secret: str | None, told: str) -> None:
    """Exit 78, with what makes one (SPEC 13.4); the secret itself is not shown."""
    home.config(config)
    done = awm(home, "hook", "--port", "0", **({"AWM_HOOK_SECRET": secret} if secret else {}))

    assert (done.code, done.out, done.err.splitlines()[0]) == (78, "", f"awm: {told}")


@pytest.mark.parametrize("config", ['[hook]\nsecrets = ["{}"]\n', '[hook.triggers]\nci = ["{}"]\n'])
def test_a_secret_in_the_file_is_refused_unseen(home: Home, config: str) -> None:
    """[hook] names variables; what stands there may be a secret all the same, and is not repeated (SPEC 3.3)."""
    home.config(config.format(SECRET))
    done = awm(home, "hook")

    assert (done.code, SECRET in done.err, "env:" in done.err) == (78, False, True)


def test_without_the_extra_it_says_what_to_install(home: Home) -> None:
    """SPEC 14: `awm hook` alone needs `[web]`."""
    (home.root / "none").mkdir()
    (home.root / "none" / "uvicorn.py").write_text("raise ModuleNotFoundError('no', name='uvicorn')\n")
    path = f"{home.root / 'none'}{os.pathsep}{REPOSITORY}"
    done = awm(home, "hook", AWM_HOOK_SECRET=SECRET, PYTHONPATH=path)

    assert (done.code, done.err.splitlines()) == (
        78,
        [
            "awm: `awm hook` needs uvicorn, which is not installed",
            "hint: in the checkout: .venv/bin/pip install --editable '.[web]'",
        ],
    )


def test_an_address_for_everybody_is_said_aloud(home: Home) -> None:
    """It is taken, as asked, with a warning (SPEC 13.4: loopback by default)."""
    with subprocess.Popen(
        [*AWM, "--home", str(home.path), "hook", "--host", "0.0.0.0", "--port", "0"],
        env=home.environ() | {"PYTHONPATH": str(REPOSITORY), "AWM_HOOK_SECRET": SECRET},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE_SECONDS)

    assert said.endswith("webhook triggers: none yet: `awm triggers create --help`\n")
    assert only(err.splitlines()).startswith("awm: whoever can reach 0.0.0.0 can talk to this receiver")
