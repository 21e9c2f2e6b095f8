"""`awm beat`: one beat, as `heartbeat.py` runs it (SPEC 6.1)."""

from __future__ import annotations

import click

from awm_loop.cli import heartbeat, setting_up


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def beat(context: click.Context, options: tuple[str, ...]) -> None:
    """One beat of the loop, the same as heartbeat.py.

    \b
    Example:  awm beat --dry-run
    """
    named = () if "--home" in options or {"-h", "--help"} & set(options) else setting_up.home_option(context)
    context.exit(heartbeat.main([*named, *options]))
