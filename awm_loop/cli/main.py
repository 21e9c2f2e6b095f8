"""`awm`: the command line (SPEC 14). A verb stands here only when it works from end to end."""

from __future__ import annotations

import sys

import click

from awm_loop import __version__
from awm_loop.cli import demo, heartbeat, look, queueing, running, setting_up
from awm_loop.errors import AwmError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="awm")
@click.option("--home", metavar="DIR", help="The home; else $AWM_HOME, else the nearest awm.toml at or above here.")
@click.pass_context
def awm(context: click.Context, home: str | None) -> None:
    """AWM, the Autonomous Work Manager: works through a queue of tasks while you sleep.

    \b
    A first look:      awm demo
    Your own project:  awm init, awm add SPRINT_S1_SPEC.md, awm run
    """
    context.obj = home


@awm.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def beat(context: click.Context, options: tuple[str, ...]) -> None:
    """One beat of the loop, the same as heartbeat.py.

    \b
    Example:  awm beat --dry-run
    """
    named = () if "--home" in options or {"-h", "--help"} & set(options) else setting_up.home_option(context)
    context.exit(heartbeat.main([*named, *options]))


for verb in (
    setting_up.init,
    queueing.add,
    running.run,
    look.status,
    look.logs,
    queueing.pause,
    queueing.resume,
    queueing.stop,
    queueing.retry,
    queueing.skip,
    look.check,
    look.restore,
    look.metrics_verb,
    demo.demo,
    look.table,
):
    awm.add_command(verb)


def main() -> None:
    """The `awm` command. Exit codes: SPEC 6.3; 2 for a command line that click cannot read."""
    sys.excepthook = heartbeat.crash
    try:
        sys.exit(awm.main(standalone_mode=False))  # click returns here what a verb gave to context.exit
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except AwmError as error:
        sys.exit(error.show())


if __name__ == "__main__":
    main()
