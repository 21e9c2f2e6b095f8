"""The channels a configuration names, and who sends to each (SPEC 12.2)."""

from __future__ import annotations

import hashlib

from awm_loop import config, gateway
from awm_loop.core.model import Notice
from awm_loop.errors import ConfigError
from awm_loop.notify import apprise_urls, command, openclaw, outbox
from awm_loop.ports import Send


def names(settings: config.Config) -> tuple[str, ...]:
    """The channels every notice goes to. A URL may be a secret, so its channel is named by a hash of its entry."""
    urls = tuple(f"url-{_short_hash(url)}" for url in settings.notify.urls)
    own = (("command", settings.notify.command), ("openclaw", has_messages(settings)))
    return (outbox.CONSOLE, *urls, *(name for name, is_there in own if is_there))


def has_messages(settings: config.Config) -> bool:
    """Whether notices go through a gateway. Raises ConfigError where it is half said."""
    told = settings.openclaw
    if bool(told.channel) != bool(told.target):
        hint = 'channel = "telegram" and target = "123456", or neither of them'
        raise ConfigError("awm.toml: [openclaw] `channel` and `target` go together", hint)
    return bool(told.channel)


def senders(settings: config.Config) -> dict[str, Send]:
    """A sender for each channel but the console. An `env:` value that is not set is that channel's trouble."""
    found: dict[str, Send] = {f"url-{_short_hash(url)}": _url_sender(url) for url in settings.notify.urls}
    if settings.notify.command:
        found["command"] = command.channel(settings.notify.command)
    if has_messages(settings):
        told = settings.openclaw
        found["openclaw"] = openclaw.channel(gateway.of(told), told.channel, told.target)
    return found


def _url_sender(entry: str) -> Send:
    def send(notice: Notice) -> str | None:
        try:
            url = config.environment_value(entry)
        except ConfigError as error:
            return error.message
        return apprise_urls.channel(url)(notice)

    return send


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
