"""`awm hook`: the webhook receiver's verb (SPEC 13.4). What serves is in `receiver`, which the extra `[web]` brings."""

from __future__ import annotations

import ctypes
import ipaddress
import os
import socket
import sys

import click

from awm_loop.cli.setting_up import open_home
from awm_loop.config import HOOK_PORT, HOOK_SECRET_BYTES_MIN, environment_value
from awm_loop.errors import AwmError, ConfigError
from awm_loop.wiring import Home

PR_SET_DUMPABLE = 4


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option(
    "--port", default=HOOK_PORT, show_default=True, type=click.IntRange(0, 65535), help="0: any that is free."
)
@click.pass_context
def hook(context: click.Context, host: str, port: int) -> None:
    """Take webhooks, which fire triggers, until it is stopped.

    Deliveries are signed with a secret of 32 bytes or more, from the environment: AWM_HOOK_SECRET, or what [hook]
    secrets of awm.toml names. They only write a request to the inbox and start a beat.

    \b
    Example:  export AWM_HOOK_SECRET="$(openssl rand -hex 32)"
              awm hook --port 8787
    """
    home = open_home(context)
    secrets = secrets_of(home)
    try:
        from awm_loop.cli import receiver  # noqa: PLC0415  only this verb needs the extra
    except ModuleNotFoundError as error:
        hint = "in the checkout: .venv/bin/pip install --editable '.[web]'"
        raise AwmError(f"`awm hook` needs {error.name}, which is not installed", hint) from error
    home.store.prepare()
    with listening(host, port) as listener:
        receiver.serve(home, secrets, listener, host)


def secrets_of(home: Home) -> dict[str, list[bytes]]:
    """The secrets by trigger, under "" those of all others. Raises ConfigError.

    They are taken out of the environment, so that no process started here has them, and what other processes of this
    user may see of this one, the environment as it began, is shut.
    """
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    names = {"": home.config.hook.secrets, **home.config.hook.triggers}
    if not any(names.values()):
        raise ConfigError("awm.toml: [hook] secrets is empty, so nobody could be believed", 'secrets = ["env:NAME"]')
    secrets = {trigger: [_secret(name) for name in listed] for trigger, listed in names.items()}
    for name in (name for listed in names.values() for name in listed):
        os.environ.pop(name.removeprefix("env:"), None)
    return secrets


def _secret(name: str) -> bytes:
    secret = os.fsencode(environment_value(name))
    if len(secret) < HOOK_SECRET_BYTES_MIN:
        what = f"the secret in {name.removeprefix('env:')} has fewer than {HOOK_SECRET_BYTES_MIN} bytes"
        raise ConfigError(what, "openssl rand -hex 32 makes a good one")
    return secret


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. An address that others can reach is said aloud. Raises AwmError."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server((str(address[0]), port), family=family, backlog=128)
    except (OSError, UnicodeError) as error:
        why = str(error.strerror).partition(" (")[0] if isinstance(error, OSError) else "no name of a host"
        raise AwmError(f"cannot listen at {host} port {port}: {why}", "--port N, --host 127.0.0.1") from error
    if not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        print(
            f"awm: whoever can reach {host} can talk to this receiver, and without TLS read what is sent to it; "
            "a reverse proxy or tunnel before 127.0.0.1 is the safer way",
            file=sys.stderr,
        )
    return listener
