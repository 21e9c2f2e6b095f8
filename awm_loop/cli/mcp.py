"""`awm mcp`: the verbs as tools for an assistant (SPEC 14). What serves is `tools`, which the extra `[mcp]` brings."""

from __future__ import annotations

import click

from awm_loop.cli.setting_up import find_home
from awm_loop.errors import AwmError
from awm_loop.wiring import Home


@click.command()
@click.pass_context
def mcp(context: click.Context) -> None:
    """Let an assistant queue work and read results (MCP).

    A server of the Model Context Protocol on stdin and stdout.

    Your MCP client starts it. It starts no agent itself: the beats of your timer do. Whoever may call it decides what
    your agents do, as whoever may type `awm add`.

    \b
    Examples:  claude mcp add awm -- awm --home ~/my-home mcp
               {"mcpServers": {"awm": {"command": "awm", "args": ["--home", "/srv/my-home", "mcp"]}}}
    """
    home_path = find_home(context.obj)
    Home.open(home_path)  # raises ConfigError now, where a person sees it
    try:
        from awm_loop.cli import tools  # noqa: PLC0415  only this verb needs the extra
    except ModuleNotFoundError as error:
        hint = "in the checkout: .venv/bin/pip install --editable '.[mcp]'"
        raise AwmError(f"`awm mcp` needs {error.name}, which is not installed", hint) from error
    tools.server(home_path).run()
