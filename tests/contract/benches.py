"""One launcher of each kind, behind the same few questions: what is there, is it begun, is it over."""

from __future__ import annotations

import select
from dataclasses import dataclass, field
from datetime import UTC, datetime

from claw import TOKEN, Claw
from home import Home

from awm_loop.attempt.directory import AttemptDirectory
from awm_loop.core.model import Attempt, Phase, Task
from awm_loop.core.observation import Alive, Exited, NotStarted, ProbeFailed, Starting
from awm_loop.gateway import Gateway, Trouble
from awm_loop.launchers.gateway import GatewayLauncher, Wanted, prefix_of
from awm_loop.launchers.local import LocalLauncher
from awm_loop.wiring import Home as Wired


def attempt(home: Home, script: str, number: int = 1) -> Attempt:
    return Attempt(
        task="S1",
        number=number,
        phase=Phase.LAUNCHING,
        agent="local",
        account="local",
        model="",
        title="Thing",
        spec_path=str(home.spec("S1", script)),
        workspace=str(home.project),
        type="",
        require_commit=False,
        limit_seconds=1000.0,
        promised_at=datetime.now(UTC),
    )


def local_launcher(home: Home) -> LocalLauncher:
    """That of a home without a state, so that no beat meddles."""
    found = Wired.open(home.path).ports().launcher
    assert isinstance(found, LocalLauncher)
    return found


@dataclass
class LocalBench:
    """Attempts of S1 as processes of this machine."""

    home: Home

    def start(self, script: str, number: int = 1) -> bool:
        return local_launcher(self.home).start(attempt(self.home, script, number), Task(id="S1"))

    def seen(self, number: int = 1) -> str:
        one = attempt(self.home, "true", number)
        match local_launcher(self.home).probe([one])[one.key]:
            case NotStarted():
                return "absent"
            case Starting() | Alive():
                return "alive"
            case Exited(result=result):
                return f"over: {result.outcome}"
            case ProbeFailed():
                return "unknown"
            case other:
                return str(other)

    def stop(self, number: int = 1) -> None:
        local_launcher(self.home).stop(attempt(self.home, "true", number).key, "operator")

    def blind(self, number: int = 1) -> None:
        """From now on nothing can be seen of it."""
        path = local_launcher(self.home).directory(attempt(self.home, "true", number).key).path
        path.mkdir(parents=True)
        (path / "sup.lock").symlink_to("elsewhere")

    ENDED = "over: succeeded"
    STOPPED = "over: stopped"


@dataclass
class GatewayBench:
    """Attempts of S1 as sub-agents of a gateway."""

    home: Home
    claw: Claw
    waits: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.prefix = prefix_of(self.home.path)

    @property
    def launcher(self) -> GatewayLauncher:
        """A new one each time: nothing is kept but on disk and in the gateway."""

        def wait(why: str) -> None:
            self.waits.append(why)
            select.select((), (), (), 0.05)

        return GatewayLauncher(prefix=self.prefix, gateway=Gateway(self.claw.url, TOKEN), grace_seconds=0.5, wait=wait)

    def wanted(self, script: str, number: int = 1) -> Wanted:
        key = attempt(self.home, script, number).key
        directory = AttemptDirectory(self.home.path / "state" / "attempts" / key)
        directory.path.mkdir(parents=True, exist_ok=True)
        told = f"# Sprint S1: Thing\n\n```sh run\n{script}\n```\n"
        return Wanted(directory=directory, told=told, workspace=str(self.home.project))

    def start(self, script: str, number: int = 1) -> bool:
        begun = self.launcher.start(self.wanted(script, number))
        assert not isinstance(begun, Trouble)
        return begun

    def label(self, number: int = 1) -> str:
        return self.launcher.label(attempt(self.home, "true", number).key)

    def seen(self, number: int = 1) -> str:
        found = self.launcher.probe([self.label(number)])
        if isinstance(found, Trouble):
            return "unknown"
        one = found[self.label(number)]
        return "absent" if one is None else f"over: {one.status}" if one.is_over else "alive"

    def stop(self, number: int = 1) -> None:
        self.launcher.stop(self.label(number))

    def blind(self, number: int = 1) -> None:
        self.claw.kill()

    ENDED = "over: completed"
    STOPPED = "over: cancelled"


Bench = LocalBench | GatewayBench
