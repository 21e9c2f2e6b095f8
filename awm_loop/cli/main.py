"""`awm`: the command line (SPEC 14). A verb stands here only when it works from end to end."""

from __future__ import annotations

import errno
import sys
from importlib import import_module
from typing import Any

import click

from awm_loop import __version__, terminal
from awm_loop.cli import heartbeat
from awm_loop.cli.inherited import set_right
from awm_loop.errors import EXIT_OK, AwmError, DiskError

GROUPS = {  # the verbs by what they are for, each with its place in this package: only the one asked for is imported
    "Begin": {
        "init": "setting_up.init",
        "demo": "demo.demo",
        "add": "queueing.add",
        "run": "running.run",
        "beat": "beating.beat",
    },
    "Look": {
        "status": "look.status",
        "why": "why.why",
        "watch": "watching.watch",
        "logs": "look.logs",
        "agents": "agents.agents",
        "metrics": "look.metrics_verb",
        "table": "look.table",
    },
    "Steer": {
        "pause": "queueing.pause",
        "resume": "queueing.resume",
        "stop": "queueing.stop",
        "retry": "queueing.retry",
        "skip": "queueing.skip",
        "answer": "answering.answer",
        "edit": "editing.edit",
    },
    "Projects": {
        "projects": "projects.projects",
        "triggers": "triggers.triggers",
        "queue": "queue.queue",
        "sessions": "sessions.sessions",
        "export": "packing.export",
        "import": "packing.import_",
    },
    "On a timer": {
        "install": "installing.install",
        "uninstall": "installing.uninstall",
        "hook": "hook.hook",
        "mcp": "mcp.mcp",
    },
    "Mend": {
        "check": "checking.check",
        "doctor": "doctor.doctor",
        "restore": "look.restore",
        "replay": "replaying.replay",
    },
}
PLACES = {name: place for verbs in GROUPS.values() for name, place in verbs.items()}


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

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's name
        return list(PLACES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Of a name that is none, click says which it may have been meant for: of all there are."""
        for name in [cmd_name] if cmd_name in PLACES else PLACES:
            module, _, verb = PLACES[name].partition(".")
            self.add_command(getattr(import_module(f"awm_loop.cli.{module}"), verb), name)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, PLACES))
        for title, names in GROUPS.items():
            verbs = [(name, verb) for name in names if (verb := self.get_command(ctx, name))]
            helps = [(name.ljust(width), verb.get_short_help_str(formatter.width - width - 6)) for name, verb in verbs]
            with formatter.section(title):
                formatter.write_dl(helps)


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
            from awm_loop.cli import look  # noqa: PLC0415  a verb like the others

            look.print_json({"error": error.message, "hint": error.hint})
        return exit_code


if __name__ == "__main__":
    main()
