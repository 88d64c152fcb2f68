"""Stories whose models lie on a server, told to the real program that dies, or whose server does, and told again."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reconciler.domain.record import Record
from tests.campaign.lab import Ended, Lab, Trouble
from tests.campaign.sites import THEIRS, Site, target_of_file


@dataclass
class Scene:
    """A machine and the server it works on."""

    lab: Lab
    site: Site

    def file(self, *models: str, pool: dict[str, Any] | None = None, **slot: Any) -> None:
        slots = [self.site.slot(model) | slot for model in models]
        self.lab.machine.write(*slots, pool=pool, targets=[target_of_file(self.site)])

    def swap(self, old: str, new: str, models_at_most: float, *, gap: bool = False) -> None:
        """One slot, another model in it, and so much room for ours."""
        room = {"diskBudget": f"{int(models_at_most * self.site.size / 1000)}KB", "allowGap": gap}
        self.file(old, pool=room)
        self.settled()
        slot = self.site.slot(new) | {"name": old}
        self.lab.machine.write(slot, pool=room, targets=[target_of_file(self.site)])

    def settled(self) -> None:
        ended = self.lab.apply()
        assert ended.code == 0, ended.text

    def owned(self) -> dict[str, tuple[str | None, tuple[str, ...]]]:
        record = self.lab.record()
        return {one.name: (one.digest, one.slots) for one in record.entries} if record else {}

    def names(self) -> dict[str, str]:
        """Stable names that are ours, and what each stands for."""
        record = self.lab.record()
        return {one.name: one.model for one in record.aliases} if record else {}


def _install(scene: Scene) -> None:
    scene.file("alpha", "beta")


def _evict(scene: Scene) -> None:
    scene.file("alpha", "beta")
    scene.settled()
    scene.file("beta")


def _swap(scene: Scene) -> None:
    scene.swap("alpha", "beta", 2.3)


def _gap(scene: Scene) -> None:
    scene.swap("alpha", "beta", 1.3, gap=True)


def _drift(scene: Scene) -> None:
    scene.file("alpha", "beta")
    scene.settled()
    scene.site.spoil("alpha")


def _named(scene: Scene) -> None:
    """Clients ask for a stable name; the model behind it is another one now."""
    room = {"diskBudget": f"{int(2.3 * scene.site.size / 1000)}KB"}
    places = [target_of_file(scene.site)]
    scene.lab.machine.write(scene.site.slot("alpha") | {"alias": "house"}, pool=room, targets=places)
    scene.settled()
    scene.lab.machine.write(scene.site.slot("beta") | {"name": "alpha", "alias": "house"}, pool=room, targets=places)


def _loaded_when_it_should_go(scene: Scene) -> None:
    """What is loaded and idle goes on a router, and stays on Ollama, which does not tell idle from busy."""
    scene.file("alpha", "beta")
    scene.settled()
    scene.file("beta")
    scene.site.load("alpha")


def _settings(scene: Scene) -> None:
    scene.file("alpha", context=1024)
    scene.settled()
    scene.file("alpha", "beta", context=512)


@dataclass(frozen=True)
class Story:
    """A state of the machine and its server, and the file that asks for another one."""

    prepare: Callable[[Scene], None]
    stands: frozenset[str] = frozenset()
    """At least one of these is there, whole, at every instant."""
    models_at_most: float = 9
    """How many the budget lets lie there, ours and the stranger's."""
    only: str | None = None
    """The one kind of server that it can be told of."""
    loads: str = ""
    """Loaded while the story is told."""


STORIES = {
    "install": Story(_install),
    "evict": Story(_evict, frozenset({"beta"})),
    "swap": Story(_swap, frozenset({"alpha", "beta"}), 3.3),
    "swap under a name": Story(_named, frozenset({"alpha", "beta"}), 3.4),
    "gap": Story(_gap, models_at_most=2.3),
    "drift": Story(_drift, frozenset({"beta"})),
    "loaded at eviction time": Story(_loaded_when_it_should_go, frozenset({"beta"}), loads="alpha"),
    "settings": Story(_settings, frozenset({"alpha"}), only="llama-server"),
}


def stories_of(kind: str) -> list[str]:
    return [name for name, story in STORIES.items() if story.only in (None, kind)]


@dataclass(frozen=True)
class End:
    """Where an undisturbed run leads."""

    instants: int
    seconds: float
    installed: dict[str, str]
    owned: dict[str, tuple[str | None, tuple[str, ...]]]
    names: dict[str, str]
    sent: int


class ServedTrial:
    """One story on one site, told undisturbed once, and then with trouble as often as asked."""

    def __init__(self, lab: Lab, site: Site, name: str) -> None:
        self.scene, self.story, self.lab, self.site = Scene(lab, site), STORIES[name], lab, site
        site.put(THEIRS)
        self.story.prepare(self.scene)
        lab.run("plan")  # what a Hub lists is known from here on
        lab.keep()
        site.keep()
        before = site.sent
        ended = lab.apply()
        assert ended.code == 0, ended.text
        assert ended.instants
        self.end = End(
            ended.instants, 0.4, site.installed(), self.scene.owned(), self.scene.names(), site.sent - before
        )
        assert site.leftovers() == []

    def bring_back(self) -> None:
        self.lab.bring_back()
        self.site.bring_back()
        self.load_what_is_loaded()

    def survive(self, *troubles: Trouble) -> list[Ended]:
        """Bring everything back, meet each trouble in turn, then run undisturbed: all is as it should be."""
        lab, site = self.lab, self.site
        self.bring_back()
        before, ends = site.sent, []
        for trouble in troubles:
            ends.append(self.meet(trouble))
            self.check_meanwhile(trouble)
        self.go_on(troubles)
        assert site.sent - before <= self.end.sent * 1.2 + self.lost(troubles), (troubles, "fetched again")
        lab.check_second_apply()
        return ends

    def go_on(self, troubles: tuple[Trouble, ...] = ()) -> None:
        """Run undisturbed from however it was left: all is as it should be."""
        lab, site = self.lab, self.site
        last = lab.apply()
        assert last.code == 0, (troubles, last.text)
        assert site.installed() == self.end.installed, (troubles, site.installed(), last.text)
        assert self.scene.owned() == self.end.owned, troubles
        assert self.scene.names() == self.end.names, troubles
        assert not (lab.record() or Record(name="")).intents, troubles
        assert site.leftovers() == [], (troubles, last.text)

    def meet(self, trouble: Trouble) -> Ended:
        if trouble.restart_after_seconds is None:
            return self.lab.apply(trouble)
        restart = threading.Timer(trouble.restart_after_seconds, self.site.restart)
        restart.start()
        ended = self.lab.apply(trouble)
        restart.join()
        self.load_what_is_loaded()
        return ended

    def load_what_is_loaded(self) -> None:
        """A server that was started again has loaded nothing; somebody asks it again."""
        if self.story.loads and self.site.name_of(self.story.loads) in self.site.installed():
            self.site.load(self.story.loads)

    def lost(self, troubles: tuple[Trouble, ...]) -> int:
        """What the server itself may fetch again: of what was under way, once for each trouble."""
        return (self.site.size + 60_000) * len(troubles)

    def check_meanwhile(self, trouble: Trouble) -> None:
        """What holds however the machine was left."""
        site, installed = self.site, self.site.installed()
        theirs = site.name_of(THEIRS)
        assert installed.get(theirs) == site.promised(THEIRS), (trouble, "somebody else's model was touched")
        self.lab.record()
        stands = self.story.stands
        whole = [model for model in stands if installed.get(site.name_of(model)) == site.promised(model)]
        assert not stands or whole, (trouble, "what worked is gone", installed)
        held, limit = site.held_bytes(), int(self.story.models_at_most * site.size)
        assert held <= limit, (trouble, f"{held} bytes are held, and {limit} may be")


def trouble_of(end: End, dice: random.Random) -> Trouble:
    """Killed at a boundary or anywhere, switched off, its disk filled by others; or its server goes down and comes back."""
    kind = dice.choice(["boundary", "boundary", "anywhere", "anywhere", "server"])
    if kind == "anywhere":
        return Trouble(after_seconds=dice.uniform(0.02, end.seconds))
    if kind == "server":
        return Trouble(restart_after_seconds=dice.uniform(0.05, end.seconds))
    return Trouble(dice.randint(1, end.instants), dice.choice(["kill", "torn", "power", "filled"]))
