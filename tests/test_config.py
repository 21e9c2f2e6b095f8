"""`awm.toml`: every key has a default, what is wrong is named with its line (SPEC 16)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awm_loop import config
from awm_loop.config import AgentConfig, Config, LoopConfig, NotifyConfig, ProjectConfig
from awm_loop.errors import EXIT_CONFIG, ConfigError

SHELL = AgentConfig(kind="shell")
MINE = '[agents.mine]\nkind = "command"\ncommand = ["mine"]\n'


def load(tmp_path: Path, text: str | bytes) -> Config:
    path = tmp_path / "awm.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return config.load(path)


def refusal(tmp_path: Path, text: str | bytes) -> tuple[str, str]:
    """The message after the path, and the hint."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert caught.value.exit_code == EXIT_CONFIG
    return caught.value.message.removeprefix(f"{tmp_path / 'awm.toml'}:"), caught.value.hint


@pytest.mark.parametrize("text", [None, "", "# nothing\n", "[loop]\n[agents]\n[project]\n[routes]\n[notify]\n"])
def test_every_key_has_a_default(tmp_path: Path, text: str | None) -> None:
    """A missing file is a file that says nothing; the embedded agent is always there (SPEC 3.1, 8.7, 16)."""
    found = config.load(tmp_path / "awm.toml") if text is None else load(tmp_path, text)

    assert found == Config(loop=LoopConfig(), agents={"local": SHELL}, notify=NotifyConfig())


def test_the_shape_of_the_contract_is_read(tmp_path: Path) -> None:
    """SPEC 16's example, one key a line."""
    found = load(
        tmp_path,
        """\
[loop]
default_agent = "local"
max_parallel = 1
max_retries = 3
stall_minutes = 15
strikes_max = 3
attempt_max_minutes = 120
retry_backoff_seconds = [30, 60, 120, 300, 900]
stop_grace_seconds = 10
sample_seconds = 20
registration_grace_seconds = 60
isolation = "auto"
require_commit = true
gate_must_fail_first = false
allow_overtake = false
analysis_agent = ""
resume_sessions = false
context_reset_fraction = 0.85
gate_max_minutes = 15
limit_margin_seconds = 60
[project]
verify = ""
prepare = []
[agents.local]
kind = "shell"
[agents.mine]
kind = "command"
command = ["my-agent", "--file", "{prompt_file}"]
model = "gpt-5.2-codex"
account = "openai-plus"
fallback = ["local"]
env_pass = ["OPENAI_API_KEY"]
[notify]
urls = ["env:AWM_NOTIFY_URL"]
command = []
ping_url = ""
""",
    )

    mine = AgentConfig(
        kind="command",
        command=["my-agent", "--file", "{prompt_file}"],
        model="gpt-5.2-codex",
        account="openai-plus",
        fallback=["local"],
        env_pass=["OPENAI_API_KEY"],
    )
    assert found == Config(agents={"local": SHELL, "mine": mine}, notify=NotifyConfig(urls=["env:AWM_NOTIFY_URL"]))


def test_whole_numbers_and_fractions_are_lengths(tmp_path: Path) -> None:
    """Minutes and seconds may be fractions (SPEC 16)."""
    loop = load(
        tmp_path, "[loop]\nstall_minutes = 0.5\nstop_grace_seconds = 2\nretry_backoff_seconds = [0, 1.5]\n"
    ).loop

    assert loop == LoopConfig(stall_minutes=0.5, stop_grace_seconds=2.0, retry_backoff_seconds=[0.0, 1.5])


def test_what_belongs_to_gates_worktrees_analyses_and_resets_is_read(tmp_path: Path) -> None:
    """Each of these keys at another value than its default (SPEC 7.4, 7.5, 10, 11.1, 16)."""
    found = load(
        tmp_path,
        MINE
        + """\
[loop]
max_parallel = 64
isolation = "worktree"
gate_must_fail_first = true
gate_max_minutes = 0.5
analysis_agent = "mine"
context_reset_fraction = 1
memory = "/notes"
[project]
verify = "pytest -q && echo 'ü'"
prepare = ["npm ci", "make"]
""",
    )

    assert found == Config(
        loop=LoopConfig(
            max_parallel=64,
            isolation="worktree",
            gate_must_fail_first=True,
            gate_max_minutes=0.5,
            analysis_agent="mine",
            context_reset_fraction=1.0,
            memory="/notes",
        ),
        project=ProjectConfig(verify="pytest -q && echo 'ü'", prepare=["npm ci", "make"]),
        agents={"local": SHELL, "mine": AgentConfig(kind="command", command=["mine"])},
    )


def test_a_gate_of_blanks_is_none(tmp_path: Path) -> None:
    """`sh -c " "` ends well, whatever was done: a gate that is always green (SPEC 10.1)."""
    assert load(tmp_path, '[project]\nverify = " \\t "\n').project == ProjectConfig()


def test_a_byte_order_mark_and_crlf_are_accepted(tmp_path: Path) -> None:
    """As editors of other systems write them."""
    assert load(tmp_path, b"\xef\xbb\xbf[loop]\r\nmax_retries = 1\r\n").loop.max_retries == 1


WRONG = {
    # name: (text, message after the path, hint)
    "near a key": ("[loop]\n\nmax_retrys = 3\n", "3: loop.max_retrys: unknown key", "did you mean `max_retries`?"),
    "near an unbuilt key": ("[loop]\nmax_paralel = 1\n", "2: loop.max_paralel: unknown key", "did you mean `max_parallel`?"),
    "a key of another table": (
        '[hook]\ndefault_agent = "a"\n',
        "2: hook.default_agent: unknown key",
        "it belongs to [loop]",
    ),
    "near no key": ("[loop]\nzzz = 3\n", "2: loop.zzz: unknown key", "remove the line"),
    "near a table": ("\n[nofity]\nurls = []\n", "2: nofity: unknown key", "did you mean `notify`?"),
    "in a project": ("[project]\nverfy = 1\n", "2: project.verfy: unknown key", "did you mean `verify`?"),
    "in an agent": (MINE + "env_pas = []\n", "4: agents.mine.env_pas: unknown key", "did you mean `env_pass`?"),
    "in notify": ("[notify]\nurl = []\n", "2: notify.url: unknown key", "did you mean `urls`?"),
    "true for a length": (
        "[loop]\nregistration_grace_seconds = true\n",
        "2: loop.registration_grace_seconds: Input should be a valid number, but it is True",
        "see the comments `awm init` writes",
    ),
    "a gateway far away in plain text": (
        '[openclaw]\nurl = "http://claw.example.org:18789"\n',
        "2: openclaw.url: Value error, its token would go over the network as plain text: https://, or a tunnel to this machine",
        "see the comments `awm init` writes",
    ),
    "no address of a gateway": (
        '[openclaw]\nurl = "ws://127.0.0.1:18789"\n',
        "2: openclaw.url: Value error, it must be http://HOST:PORT or https://HOST:PORT",
        "see the comments `awm init` writes",
    ),
    "half an address": (
        '[openclaw]\nurl = "http://[::1"\n',
        "2: openclaw.url: Value error, Invalid IPv6 URL",
        "see the comments `awm init` writes",
    ),
    "a gateway with a program": (
        '[agents.claw]\nkind = "openclaw"\nextra_args = ["-v"]\n',
        "1: agents.claw: `executable`, `extra_args` and `sandbox` are for the kinds of CLIs",
        "kinds of CLIs: claude, codex, gemini, opencode, aider",
    ),
    "one for false": (
        "[loop]\nresume_sessions = 0\n",
        "2: loop.resume_sessions: Input should be a valid boolean, but it is 0",
        "see the comments `awm init` writes",
    ),
    "routes": (
        '\n[routes]\ncoding = "codex"\n',
        "3: routes.coding = 'codex' names no agent",
        "auto, or one of: local",
    ),
    "text for a number": (
        '[loop]\nstall_minutes = "15"\n',
        "2: loop.stall_minutes: Input should be a valid number, but it is '15'",
        "see the comments `awm init` writes",
    ),
    "a wrong member of a list": (
        '[loop]\nretry_backoff_seconds = [1, "x"]\n',
        "2: loop.retry_backoff_seconds: Input should be a valid number, but it is 'x'",
        "see the comments `awm init` writes",
    ),
    "true for a number": (
        "[loop]\nmax_retries = true\n",
        "2: loop.max_retries: Input should be a valid integer, but it is True",
        "see the comments `awm init` writes",
    ),
    "nothing": (
        "[loop]\nstall_minutes = 0\n",
        "2: loop.stall_minutes: Input should be greater than 0, but it is 0",
        "see the comments `awm init` writes",
    ),
    "less than nothing": (
        "[loop]\nmax_retries = -1\n",
        "2: loop.max_retries: Input should be greater than or equal to 0, but it is -1",
        "see the comments `awm init` writes",
    ),
    "without an end": (
        "[loop]\nattempt_max_minutes = inf\n",
        "2: loop.attempt_max_minutes: Input should be a finite number, but it is inf",
        "see the comments `awm init` writes",
    ),
    "no number": (
        "[loop]\nretry_backoff_seconds = [nan]\n",
        "2: loop.retry_backoff_seconds: Input should be a finite number, but it is nan",
        "see the comments `awm init` writes",
    ),
    "longer than any life": (
        "[loop]\nattempt_max_minutes = 1e308\n",
        "2: loop.attempt_max_minutes: Input should be less than or equal to 1000000000, but it is 1e+308",
        "see the comments `awm init` writes",
    ),
    "hundreds of digits": (
        f"[loop]\nstall_minutes = 1{'0' * 400}\n",
        f"2: loop.stall_minutes: Input should be a valid number, but it is 1{'0' * 79}…",
        "see the comments `awm init` writes",
    ),
    "thousands of digits": (
        f"[loop]\nstall_minutes = 0x{'f' * 5000}\n",
        "2: loop.stall_minutes: Input should be a valid number, but it is a number of thousands of digits",
        "see the comments `awm init` writes",
    ),
    "no backoff at all": (
        "[loop]\nretry_backoff_seconds = []\n",
        "2: loop.retry_backoff_seconds: List should have at least 1 item after validation, not 0, but it is []",
        "see the comments `awm init` writes",
    ),
    "a table for a number": ("agents = 5\n", "1: agents: Input should be a valid dictionary, but it is 5", "see the comments `awm init` writes"),
    "no such kind": (
        '[agents.claw]\nkind = "openclam"\n',
        "2: agents.claw.kind: 'openclam' is not an agent kind that works today",
        "shell, command, claude, codex, gemini, opencode, aider, openclaw",
    ),
    "a program for a script": (
        '[agents.mine]\nkind = "shell"\nexecutable = "/bin/sh"\n',
        "1: agents.mine: `executable`, `extra_args` and `sandbox` are for the kinds of CLIs",
        "kinds of CLIs: claude, codex, gemini, opencode, aider",
    ),
    "a command for a CLI": (
        '[agents.codex]\nkind = "codex"\ncommand = ["codex"]\n',
        '1: agents.codex: `command` goes with kind = "command", and only with it',
        'command = ["my-agent", "--file", "{prompt_file}"]',
    ),
    "no kind": ('[agents.codex]\nmodel = "x"\n', "1: agents.codex.kind: missing", "add `kind = …` to [agents.codex]"),
    "no command": (
        '[agents.mine]\nkind = "command"\n',
        '1: agents.mine: `command` goes with kind = "command", and only with it',
        'command = ["my-agent", "--file", "{prompt_file}"]',
    ),
    "a command too many": (
        '[agents.mine]\nkind = "shell"\ncommand = ["x"]\n',
        '1: agents.mine: `command` goes with kind = "command", and only with it',
        'command = ["my-agent", "--file", "{prompt_file}"]',
    ),
    "a command line": (
        '[agents.mine]\nkind = "command"\ncommand = "x -y"\n',
        "3: agents.mine.command: Input should be a valid list, but it is 'x -y'",
        "see the comments `awm init` writes",
    ),
    "no id": ('\n[agents."my agent"]\nkind = "shell"\n', "2: agent name 'my agent' is not an id", "letters, digits, `.`, `_`, `-`"),
    "an id with a line end": ('[agents."x\\n"]\nkind = "shell"\n', "1: agent name 'x\\n' is not an id", "letters, digits, `.`, `_`, `-`"),
    "no default agent": (
        '[loop]\ndefault_agent = "opus"\n',
        "2: loop.default_agent = 'opus' names no agent",
        "known agents: local; add [agents.opus] or name one of them",
    ),
    "no attempt at once": (
        "[loop]\nmax_parallel = 0\n",
        "2: loop.max_parallel: Input should be greater than or equal to 1, but it is 0",
        "see the comments `awm init` writes",
    ),
    "more at once than any machine has": (
        "[loop]\nmax_parallel = 65\n",
        "2: loop.max_parallel: Input should be less than or equal to 64, but it is 65",
        "see the comments `awm init` writes",
    ),
    "true for one": (
        "[loop]\nmax_parallel = true\n",
        "2: loop.max_parallel: Input should be a valid integer, but it is True",
        "see the comments `awm init` writes",
    ),
    "a workspace of another kind": (
        '[loop]\nisolation = "container"\n',
        "2: loop.isolation: Input should be 'auto', 'in-place' or 'worktree', but it is 'container'",
        "see the comments `awm init` writes",
    ),
    "a gate without any time": (
        "[loop]\ngate_max_minutes = 0\n",
        "2: loop.gate_max_minutes: Input should be greater than 0, but it is 0",
        "see the comments `awm init` writes",
    ),
    "a word for yes": (
        '[loop]\ngate_must_fail_first = "yes"\n',
        "2: loop.gate_must_fail_first: Input should be a valid boolean, but it is 'yes'",
        "see the comments `awm init` writes",
    ),
    "a percentage for a fraction": (
        "[loop]\ncontext_reset_fraction = 85\n",
        "2: loop.context_reset_fraction: Input should be less than or equal to 1, but it is 85",
        "see the comments `awm init` writes",
    ),
    "a context that is always full": (
        "[loop]\ncontext_reset_fraction = 0\n",
        "2: loop.context_reset_fraction: Input should be greater than 0, but it is 0",
        "see the comments `awm init` writes",
    ),
    "notes in no folder": (
        '[loop]\nmemory = ""\n',
        "2: loop.memory: String should match pattern '^[^\\x00]+$', but it is ''",
        "see the comments `awm init` writes",
    ),
    "a gate that no process can be given": (
        '[project]\nverify = "a\\u0000b"\n',
        "2: project.verify: String should match pattern '^[^\\x00]*$', but it is 'a\\x00b'",
        "see the comments `awm init` writes",
    ),
    "a line for a list of them": (
        '[project]\nprepare = "npm ci"\n',
        "2: project.prepare: Input should be a valid list, but it is 'npm ci'",
        "see the comments `awm init` writes",
    ),
    "no analysis agent": (
        MINE + '[loop]\nanalysis_agent = "wise"\n',
        "5: loop.analysis_agent = 'wise' names no agent that can read and answer",
        "agents that can: mine",
    ),
    "an analysis by the shell": (
        '[loop]\nanalysis_agent = "local"\n',
        "2: loop.analysis_agent = 'local' names no agent that can read and answer",
        "agents that can: none",
    ),
    "no fallback": (MINE + 'fallback = ["opus"]\n', "4: agents.mine.fallback names 'opus'", "other agents: local"),
    "a fallback to itself": (MINE + 'fallback = ["mine"]\n', "4: agents.mine.fallback names 'mine'", "other agents: local"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, name: str) -> None:
    """Unknown keys with the nearest name, wrong types, references to nowhere (SPEC 16)."""
    text, message, hint = WRONG[name]

    assert refusal(tmp_path, text) == (message, hint)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[loop\n", " Expected ']' at the end of a table declaration (at line 1, column 6)"),
        ("[loop]\nmax_retries = \n", " Invalid value (at line 2, column 15)"),
        ("[loop]\n[loop]\n", " Cannot declare ('loop',) twice (at line 2, column 6)"),
        (f"a = {'1' * 5000}\n", " Exceeds the limit (4300 digits) for integer string conversion"),
        (f"a = {'[' * 5000}\n", " maximum recursion depth exceeded"),
    ],
    ids=["cut off", "no value", "twice", "digits", "depth"],
)
def test_what_is_no_toml_is_told_with_how_it_looks(tmp_path: Path, text: str, message: str) -> None:
    """Whatever the parser says, it is the operator's trouble, not a traceback (SPEC 6.3)."""
    said, hint = refusal(tmp_path, text)

    assert said.startswith(message)
    assert hint == "TOML wants one `key = value` a line and quotes around text"


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    """Not UTF-8, and a directory in the file's place (SPEC 6.3)."""
    assert refusal(tmp_path, b"# B\xfcro\n") == (" not UTF-8 (byte 3)", "save as UTF-8")
    (tmp_path / "awm.toml").unlink()
    (tmp_path / "awm.toml").mkdir()

    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        config.load(tmp_path / "awm.toml")


@pytest.mark.parametrize(
    ("file_mode", "folder_mode", "is_refused"),
    [(0o646, 0o755, True), (0o644, 0o777, True), (0o644, 0o1777, False), (0o664, 0o775, False)],
)
def test_a_file_that_anyone_may_change_is_not_obeyed(
    tmp_path: Path, file_mode: int, folder_mode: int, is_refused: bool
) -> None:
    """It says which programs run as its owner (SPEC 17, facts/reliability.md 8); a private group may write it."""
    home = tmp_path / "home"
    home.mkdir()
    path = home / "awm.toml"
    path.touch()
    path.chmod(file_mode)
    home.chmod(folder_mode)

    if is_refused:
        with pytest.raises(ConfigError, match="anyone on this machine may change it") as caught:
            config.load(path)
        assert caught.value.hint == f"chmod o-w {path} {home}"
    else:
        assert config.load(path) == Config(agents={"local": SHELL})


def test_a_secret_under_notify_is_never_shown(tmp_path: Path) -> None:
    """A URL holds one; the message of a wrong type goes to a terminal, a mail, a log (SPEC 3.3)."""
    assert refusal(tmp_path, '[notify]\nurls = "https://hooks.example/SECRET"\n') == (
        "2: notify.urls: Input should be a valid list",
        "see the comments `awm init` writes",
    )
    assert refusal(tmp_path, '[openclaw]\ntoken = "SECRET"\n') == (
        "2: openclaw.token: String should match pattern '^env:[A-Za-z_][A-Za-z0-9_]*$'",
        "see the comments `awm init` writes",
    )


@pytest.mark.parametrize(
    ("value", "environ", "resolved"),
    [
        ("env:URL", {"URL": "json://x=y{z}\n"}, "json://x=y{z}\n"),
        ("https://env:URL", {}, "https://env:URL"),
        ("", {}, ""),
        (" env:URL", {}, " env:URL"),
    ],
)
def test_a_value_may_name_a_variable_of_the_environment(value: str, environ: dict[str, str], resolved: str) -> None:
    """The whole value does, or it is no such name; what the variable holds is not looked into (SPEC 16)."""
    assert config.environment_value(value, environ) == resolved


@pytest.mark.parametrize(("value", "environ"), [("env:URL", {}), ("env:URL", {"URL": ""}), ("env:", {})])
def test_a_variable_that_is_not_there_is_told_by_name(value: str, environ: dict[str, str]) -> None:
    """SPEC 16."""
    with pytest.raises(ConfigError, match="and the environment has no"):
        config.environment_value(value, environ)


def test_agents_may_share_an_account_and_bear_a_models_name(tmp_path: Path) -> None:
    """Both are said in SPEC 9.1 and 5.1: an account's limit is for all, and a name goes before a model."""
    text = (
        MINE + 'model = "local"\naccount = "a"\nfallback = ["local"]\n[agents.local]\nkind = "shell"\naccount = "a"\n'
    )

    assert load(tmp_path, text).agents == {
        "mine": AgentConfig(kind="command", command=["mine"], model="local", account="a", fallback=["local"]),
        "local": AgentConfig(kind="shell", account="a"),
    }


toml_values = st.sampled_from(
    [
        "1",
        "-1",
        "0.5",
        "1e400",
        "inf",
        "nan",
        "true",
        '""',
        '"x"',
        "[]",
        "[1]",
        '["x"]',
        "{}",
        "{a=1}",
        "1979-05-27",
        "0xff",
    ]
)
keys = st.sampled_from(
    [
        "loop",
        "agents",
        "notify",
        "project",
        "routes",
        "x",
        "loop.stall_minutes",
        "loop.max_parallel",
        "loop.retry_backoff_seconds",
        "loop.isolation",
        "loop.analysis_agent",
        "loop.context_reset_fraction",
        "loop.memory",
        "agents.x",
        "agents.x.kind",
        "agents.x.y",
        "agents.local",
        "notify.urls",
        "project.verify",
        "project.prepare",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(keys, toml_values), max_size=3))
def test_any_value_at_any_key_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, str]]
) -> None:
    """A ConfigError that names the file, and nothing else (SPEC 6.3, 16)."""
    path = tmp_path_factory.getbasetemp() / "awm.toml"
    path.write_text("".join(f"{key} = {value}\n" for key, value in lines))

    try:
        found: Config | ConfigError = config.load(path)
    except ConfigError as error:
        found = error

    assert isinstance(found, Config) or found.message.startswith(f"{path}:")
