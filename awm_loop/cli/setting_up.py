"""`awm init`, and finding the home that every other verb works in (SPEC 3.1)."""

from __future__ import annotations

import os
from pathlib import Path

import click

from awm_loop import clock, durable
from awm_loop.errors import ConfigError
from awm_loop.wiring import Home

CONFIG_NAME = "awm.toml"
TRACES = (CONFIG_NAME, "state/current_work.json", "state/history")  # a directory without any of them is no home

CONFIG_TEMPLATE = """\
# AWM's settings for this home. Every key has a default, shown here; remove the `#` to change one.
# Lengths may be fractions. `awm check` says whether the file is right.

[loop]
# default_agent = "local"        # one of [agents.NAME]; a spec's `**Model:** NAME` wins
# max_retries = 3                # after a failure; so four tries in all (the state file's maxRetries wins)
# retry_backoff_seconds = [30, 60, 120, 300, 900]
# stall_minutes = 15             # idle without progress that long is a stall; busy gets four times that
# strikes_max = 3                # stalls before a task is analysed, or skipped
# analysis_agent = ""            # who finds out why it stalls: one of [agents.NAME]; "": nobody
# attempt_max_minutes = 120      # hard limit; a spec's `**Timeout:** 45 min` wins
# stop_grace_seconds = 10        # between TERM and KILL
# sample_seconds = 20            # how often liveness is looked at
# require_commit = true          # in a git repository, done needs a new commit (a spec's `**Commit:** no` wins)
# allow_overtake = false         # may later tasks run while the first one waits?
# registration_grace_seconds = 60  # how long a sub-agent is looked for whose gateway did not answer
# limit_margin_seconds = 60      # waited beyond a limit's stated reset
# max_parallel = 1               # attempts at once, one in each workspace
# isolation = "auto"             # in-place, or worktree; auto: worktree when max_parallel > 1
# gate_must_fail_first = false   # run the gate before the agent: green already means done
# gate_max_minutes = 15          # a gate that takes longer has failed
# context_reset_fraction = 0.85  # an agent's context fuller than that resets the session
# memory = "memory"              # the folder of the notes written at a reset
# resume_sessions = false        # may an agent go on in its session with the next task, until a reset?

[project]
# verify = ""                    # the gate of every task, a shell line; a spec's `**Verify:** ...` wins
# prepare = []                   # shell lines that make a new worktree ready

[agents.local]
kind = "shell"                   # runs the spec's ```sh run blocks; needs no model

# [agents.claude]
# kind = "claude"                # or codex, gemini, opencode, aider: AWM knows how to call and to read them
# executable = "claude"          # its program, where it is not on PATH by its usual name
# extra_args = []                # further arguments for it
# sandbox = true                 # false: codex without its own sandbox
# env_pass = []                  # names of environment variables it may see. Beyond PATH, HOME, LANG and TERM it sees
#                                # no other: neither a proxy's address nor a key, where its login rests on one. Usual:
#   claude:    env_pass = ["ANTHROPIC_API_KEY"]      # or ["CLAUDE_CODE_OAUTH_TOKEN"], by `claude setup-token`
#   codex:     env_pass = ["CODEX_API_KEY"]          # or what `env_key` in its config.toml names: ["OPENAI_API_KEY"]
#   gemini:    env_pass = ["GEMINI_API_KEY"]
#   opencode:  env_pass = ["OPENROUTER_API_KEY"]     # or of whichever provider it is to ask
#   aider:     env_pass = ["OPENAI_API_KEY"]         # or of whichever provider its model is of

# [agents.claw]
# kind = "openclaw"              # sub-agents of an OpenClaw gateway: docs/OPENCLAW.md says what to open in it
# model = ""                     # theirs, as the gateway names it; "": its own choice

# [agents.mine]
# kind = "command"               # any program; the prompt comes on stdin and in {prompt_file}
# command = ["my-agent", "--file", "{prompt_file}"]
# model = ""                     # shown in notices, and for {model} or the CLI
# account = ""                   # agents that share an account share its limit
# fallback = []                  # who goes on when that account is limited
# env_pass = []                  # as above
# roles = []                     # the types of tasks that "auto" may give it; none: all

# [routes]
# coding = "claude"              # by a spec's `**Type:** coding`: an agent, or "auto": what did best so far
# default = "auto"               # for all other types; else default_agent

[notify]
# urls = ["env:AWM_NOTIFY_URL"]  # Apprise: Discord, Slack, Telegram, ntfy, e-mail ...
# command = []                   # gets one JSON object on stdin for each notice
# ping_url = ""                  # dead-man's ping after every beat, Healthchecks style

[openclaw]
# url = ""                       # its gateway; "": on this machine, at the port that its openclaw.json names
# token = "env:OPENCLAW_GATEWAY_TOKEN"  # where that is not set: gateway.auth.token of openclaw.json
# session = ""                   # the assistant's, "agent:main:main": a reset makes it fresh; "": it is left alone
# channel = ""                   # for notices: as the gateway names it, "telegram" ...
# target = ""                    # ... and who gets them there

[hook]
# secrets = ["env:AWM_HOOK_SECRET"]  # what `awm hook` believes: 32 bytes or more each, several while one is changed
# hosts = []                     # names by which others reach it, beside its address and localhost
"""


def home_option(context: click.Context) -> tuple[str, ...]:
    """`--home` for heartbeat's own parser, found as `awm` finds it."""
    return ("--home", str(find_home(context.obj)))


def find_home(named: str | None) -> Path:
    """`--home`, $AWM_HOME, or the nearest awm.toml at or above the current directory. Raises ConfigError, DiskError."""
    given = named or os.environ.get("AWM_HOME")
    if given:
        home_path = Path(os.path.realpath(os.path.expanduser(given)))  # noqa: PTH111  a loop, a ~stranger
        with durable.disk_trouble(home_path, "open"):
            is_file = home_path.is_file()
            is_home = not home_path.is_dir() or any((home_path / trace).exists() for trace in TRACES)
        if is_file:
            raise ConfigError(f"the home {home_path} is a file", f"name the directory it lies in: {home_path.parent}")
        if not is_home:
            raise ConfigError(f"{home_path} is not a home", f"`awm init {home_path}` makes it one")
        return home_path
    here = Path.cwd()
    for parent in (here, *here.parents):
        if (parent / CONFIG_NAME).is_file():
            return parent
    hint = "go into your home, or name it: `awm --home DIR …`, AWM_HOME; `awm init` makes this directory one"
    raise ConfigError(f"no {CONFIG_NAME} at or above {here}", hint)


def open_home(context: click.Context) -> Home:
    """The home of this command, its configuration read. Raises ConfigError."""
    return Home.open(find_home(context.obj))


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), default=".")
@click.option("--project", type=click.Path(path_type=Path), help="Where agents work. [default: the home itself]")
def init(directory: Path, project: Path | None) -> None:
    """Make DIRECTORY a home: a commented awm.toml, an empty queue.

    \b
    Example:  awm init --project ~/src/my-app
    """
    home_path = directory.expanduser().resolve()
    workspace = (project or home_path).expanduser().resolve()
    if project is not None and not workspace.is_dir():
        if workspace.exists():
            raise ConfigError(f"the project {workspace} is not a directory", "name the directory agents work in")
        raise ConfigError(f"the project directory {workspace} does not exist", "make it first")
    with durable.disk_trouble(home_path, "make"):
        home_path.mkdir(parents=True, exist_ok=True)
    config_path = home_path / CONFIG_NAME
    if config_path.exists():
        click.echo(f"kept    {config_path}")
    else:
        durable.write_durably(config_path, CONFIG_TEMPLATE.encode())
        click.echo(f"wrote   {config_path}")
    home = Home.open(home_path)
    home.store.prepare()
    durable.write_durably(home.store.directory / ".gitignore", b"*\n")  # so that no agent's `git add -A` takes it in
    with home.store.locked_for_command():
        word = "wrote" if home.store.create(str(workspace)) else "kept "
        loaded = home.store.load(clock.now())
    click.echo(f"{word}   {home.store.path}")
    found = home.project_path(loaded.work.project) if loaded else workspace
    click.echo(f"agents work in {found}")
    if project is not None and found != workspace:
        click.echo(f"--project {workspace} is ignored: change `project` in {home.store.path}")
    click.echo("\nnext:  awm add SPRINT_S1_SPEC.md    then    awm run")
