"""How each CLI is set up for the live tests, as its user would: its configuration, its keys, its models."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent.parent
CLIS = Path(os.environ.get("AWM_LIVE_CLIS") or CHECKOUT / ".live")  # where `scripts/live install` puts them
PORT = 8901
GATEWAY_PORT = 18789
BASE = f"http://127.0.0.1:{PORT}"
KEY = "sk-not-a-key"
SOON_SECONDS = 60.0  # a cap whose end a test waits for
BIN = "node_modules/.bin/"
ALONE = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")  # in a network that has nothing


@dataclass(frozen=True)
class Cli:
    """`program` is below CLIS; `speech` names its server. `models` are the two it is asked for, `served` as they reach
    the server. `files` are a person's own configuration, by path below their home directory.
    """

    name: str
    program: str
    speech: str
    models: tuple[str, str]
    served: tuple[str, str]
    environment: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)
    extra_args: tuple[str, ...] = ()
    has_sessions: bool = True
    has_tools: bool = True
    is_gateway: bool = False  # one program serves all attempts, and is started before the first
    cap_seconds: float = 7200.0  # how far away the end of a cap is; shorter ones opencode and Gemini CLI sleep out

    @property
    def path(self) -> Path:
        return CLIS / self.program


CODEX_CONFIG = f"""\
model_provider = "local"
[model_providers.local]
name = "local"
base_url = "{BASE}/v1"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
"""
GEMINI_CONFIG = {
    "security": {"auth": {"selectedType": "gemini-api-key"}},
    "privacy": {"usageStatisticsEnabled": False},
    "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
}
OPENCLAW_CONFIG = {
    "gateway": {
        "mode": "local",
        "port": GATEWAY_PORT,
        "bind": "loopback",
        "auth": {"mode": "token", "token": KEY},
        "tools": {"allow": ["sessions_spawn", "exec", "apply_patch"]},
    },
    "agents": {"defaults": {"model": {"primary": "local/one"}, "heartbeat": {"every": "0m"}, "skipBootstrap": True}},
    "models": {
        "mode": "merge",
        "providers": {
            provider: {
                "baseUrl": f"{BASE}/v1",
                "apiKey": KEY,
                "api": "openai-completions",
                "models": [{"id": model, "name": model, "input": ["text"], "contextWindow": 128000, "maxTokens": 4096}],
            }
            for provider, model in (("local", "one"), ("other", "two"))  # a refused login is all of a provider's
        },
    },
    "update": {"checkOnStart": False},
}
OPENCODE_CONFIG = {
    "provider": {
        "local": {
            "npm": "@ai-sdk/anthropic",
            "options": {"baseURL": f"{BASE}/v1", "apiKey": KEY},
            "models": {"one": {"name": "one"}, "two": {"name": "two"}},
        }
    },
    "small_model": "local/two",
}

KNOWN = {
    cli.name: cli
    for cli in (
        Cli(
            name="claude",
            program=BIN + "claude",
            speech="anthropic",
            models=("claude-opus-5-5", "claude-sonnet-5-5"),
            served=("claude-opus-5-5", "claude-sonnet-5-5"),
            environment={"ANTHROPIC_BASE_URL": BASE, "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-none"},
            cap_seconds=SOON_SECONDS,
        ),
        Cli(
            name="codex",
            program=BIN + "codex",
            speech="responses",
            models=("gpt-5-codex", "gpt-5"),
            served=("gpt-5-codex", "gpt-5"),
            environment={"OPENAI_API_KEY": KEY},
            files={".codex/config.toml": CODEX_CONFIG},
            cap_seconds=SOON_SECONDS,
        ),
        Cli(
            name="opencode",
            program=BIN + "opencode",
            speech="anthropic",
            models=("local/one", "local/two"),
            served=("one", "two"),
            environment={},
            files={".config/opencode/opencode.json": json.dumps(OPENCODE_CONFIG)},
        ),
        Cli(
            name="gemini",
            program=BIN + "gemini",
            speech="gemini",
            models=("gemini-2.5-pro", "gemini-2.5-flash"),
            served=("gemini-2.5-pro", "gemini-2.5-flash"),
            environment={"GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": BASE},
            files={".gemini/settings.json": json.dumps(GEMINI_CONFIG)},
        ),
        Cli(
            name="aider",
            program="aider/bin/aider",
            speech="chat",
            models=("openai/gpt-4o", "openai/gpt-4.1"),
            served=("gpt-4o", "gpt-4.1"),
            environment={"OPENAI_API_KEY": KEY, "OPENAI_API_BASE": f"{BASE}/v1"},
            has_sessions=False,
            has_tools=False,
            extra_args=("--edit-format", "diff", "--map-tokens", "0"),
        ),
        Cli(
            name="openclaw",
            program="openclaw/openclaw",
            speech="completions",
            models=("local/one", "other/two"),
            served=("one", "two"),
            environment={},
            files={".openclaw/openclaw.json": json.dumps(OPENCLAW_CONFIG)},
            has_sessions=False,
            is_gateway=True,
            cap_seconds=SOON_SECONDS,
        ),
    )
}
