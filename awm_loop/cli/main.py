"""`awm`: the command line (SPEC 14). A verb stands here only when it works from end to end."""

from __future__ import annotations

import errno
import sys
from typing import Any

import click

from awm_loop import __version__, terminal
from awm_loop.cli import checking, demo, heartbeat, installing, look, packing, queueing, replaying, running, setting_up
from awm_loop.cli.agents import agents
from awm_loop.cli.answering import answer
from awm_loop.cli.doctor import doctor
from awm_loop.cli.editing import edit
from awm_loop.cli.hook import hook
from awm_loop.cli.inherited import set_right
from awm_loop.cli.mcp import mcp
from awm_loop.cli.projects import projects
from awm_loop.cli.queue import queue
from awm_loop.cli.sessions import sessions
from awm_loop.cli.triggers import triggers
from awm_loop.cli.watching import watch
from awm_loop.cli.why import why
from awm_loop.errors import EXIT_OK, AwmError, DiskError


class Verbs(click.Group):
    """A group whose help lists the verbs by what they are for, and which takes `help VERB` as `VERB --help`."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """What a task's name or an agent's words hold may be what stdout cannot encode."""
        terminal.escape_what_cannot_be_encoded()
        return super().main(*args, **extra)

    def invoke(self, ctx: click.Context) -> object:
        """Of a reader that goes away, as `head` does, click makes exit code 1; it is no error."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            return EXIT_OK

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [*args[1:], "--help"] if args[:1] == ["help"] else args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's name
        width = max(map(len, self.commands))
        for title, verbs in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [
                        ((verb.name or "").ljust(width), verb.get_short_help_str(formatter.width - width - 6))
                        for verb in verbs
                    ]
                )


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
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


GROUPS = {
    "Begin": (setting_up.init, demo.demo, queueing.add, running.run, beat),
    "Look": (look.status, why, watch, look.logs, agents, look.metrics_verb, look.table),
    "Steer": (queueing.pause, queueing.resume, queueing.stop, queueing.retry, queueing.skip, answer, edit),
    "Projects": (projects, triggers, queue, sessions, packing.export, packing.import_),
    "On a timer": (installing.install, installing.uninstall, hook, mcp),
    "Mend": (checking.check, doctor, look.restore, replaying.replay),
}
for verb in (verb for verbs in GROUPS.values() for verb in verbs):
    awm.add_command(verb)


def main() -> None:
    """The `awm` command. Exit codes: SPEC 6.3; 2 for a command line that click cannot read."""
    set_right()
    sys.excepthook = heartbeat.crash
    try:
        exit_code = _exit_code()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        exit_code = DiskError(f"{error.filename or 'stdout'}: {error.strerror}").show()
    heartbeat.leave(exit_code)


def _exit_code() -> int:
    try:
        return awm.main(standalone_mode=False) or EXIT_OK  # click returns here what a verb gave to context.exit
    except click.Abort:
        return 130
    except click.ClickException as error:
        if isinstance(error, click.NoSuchOption) and error.option_name == "--home" and error.ctx:
            error = click.UsageError(f"--home goes before the verb: awm --home DIR {error.ctx.info_name}", error.ctx)
        error.show()
        return error.exit_code
    except AwmError as error:
        exit_code = error.show()
        if "--json" in sys.argv:  # whoever asked for an object gets one
            look.print_json({"error": error.message, "hint": error.hint})
        return exit_code


if __name__ == "__main__":
    main()
