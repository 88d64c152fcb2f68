"""Hypothesis plays the operator, the strangers, the power, the network and the clock, in any order, on real parts.

Two stores on disk under one record, or one model server; the books balance at every step.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from reconciler.domain.desired import Target
from reconciler.domain.units import Bytes
from reconciler.errors import ReconcilerError
from tests.campaign.bad_answers import KINDS as OF_A_SERVER
from tests.campaign.bad_answers import PARTS
from tests.campaign.bad_line import KINDS as OF_A_HUB
from tests.campaign.power import Power
from tests.campaign.real_world import MODELS, SIZE, Machine
from tests.campaign.served_world import ServedMachine
from tests.campaign.sites import SITES, Site

HOUR, YEAR = 3600.0, 365 * 86_400.0


class Life(RuleBasedStateMachine):
    """One machine's life, with two stores."""

    targets: ClassVar[Sequence[str]] = ("box", "spare")
    badly: ClassVar[Sequence[tuple[str, str]]] = [
        (kind, part) for kind in sorted(OF_A_HUB) for part in ("/api/", "resolve", "cdn.")
    ]
    """What can go wrong, and where."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.root = Path(tempfile.mkdtemp(prefix="life-"))
        self.stack.callback(shutil.rmtree, self.root, ignore_errors=True)
        self.machine = self.made()
        self.size = SIZE
        self.theirs: dict[tuple[str, str], str] = {}

    def made(self) -> Machine:
        places = [Target(name=name, runtime="store", path=str(self.root / name)) for name in self.targets]
        return Machine(self.root, tuple(places))

    @initialize()
    def begin(self) -> None:
        self.machine.edit()

    def teardown(self) -> None:
        self.stack.close()

    def target(self, name: str) -> Target:
        return next(one for one in self.machine.targets if one.name == name)

    # the operator

    @rule(data=st.data(), models=st.lists(st.sampled_from(MODELS), max_size=3, unique=True),
          most=st.sampled_from([1.5, 2.5, 3.5, 9.0]), prune=st.sampled_from(["always", "pressure", "never"]),
          gap=st.booleans())  # fmt: skip
    def edit(self, data: st.DataObject, models: list[str], most: float, prune: str, gap: bool) -> None:
        places = [data.draw(st.sampled_from([None, *self.targets])) for _ in models]
        slots = [
            self.machine.pin(f"s{n}", model, place) for n, (model, place) in enumerate(zip(models, places, strict=True))
        ]
        self.machine.edit(*slots, disk_budget=Bytes(int(most * self.size)), prune=prune, allow_gap=gap)

    @rule()
    def apply(self) -> None:
        ended = asyncio.run(self.machine.run())
        assert ended is not None

    @rule(at=st.integers(0, 40))
    def apply_while_the_power_goes(self, at: int) -> None:
        self.machine.power = Power(at)
        asyncio.run(self.machine.run())
        self.machine.power = None

    # the world

    @rule(data=st.data(), after=st.integers(0, 3))
    def the_answers_are_bad(self, data: st.DataObject, after: int) -> None:
        self.machine.answer_badly(*data.draw(st.sampled_from(self.badly)), after)

    @rule()
    def the_answers_are_good(self) -> None:
        self.machine.answer_well()

    @rule(seconds=st.sampled_from([-YEAR, -HOUR, HOUR, YEAR]))
    def the_clock_jumps(self, seconds: float) -> None:
        self.machine.clock.jump(seconds)

    @rule(model=st.sampled_from(MODELS))
    def the_source_offers_other_content_under_the_name(self, model: str) -> None:
        self.machine.move(model)

    # strangers

    @rule(data=st.data(), model=st.sampled_from(MODELS))
    def somebody_installs(self, data: st.DataObject, model: str) -> None:
        target = self.target(data.draw(st.sampled_from(self.targets)))
        key = target.key, self.machine.name_of(model)
        if key in self.machine.installed():
            return
        self.machine.put(target, model)
        record = self.machine.record
        begun = any((intent.target_key, intent.name) == key for intent in record.intents)
        if record.entry(*key) is None and not begun:
            self.theirs[key] = self.machine.installed()[key]

    @rule(data=st.data(), model=st.sampled_from(MODELS))
    def somebody_removes(self, data: st.DataObject, model: str) -> None:
        target = self.target(data.draw(st.sampled_from(self.targets)))
        self.machine.take_away(target, model)
        self.theirs.pop((target.key, self.machine.name_of(model)), None)

    @precondition(lambda self: self.machine.owned())
    @rule(data=st.data())
    def somebody_overwrites_ours(self, data: st.DataObject) -> None:
        key, name = data.draw(st.sampled_from(sorted(self.machine.owned())))
        model = next(one for one in MODELS if self.machine.name_of(one) == name)
        if (key, name) in self.machine.installed():
            self.machine.spoil(next(one for one in self.machine.targets if one.key == key), model)

    @rule(data=st.data())
    def a_target_is_away_for_one_run(self, data: st.DataObject) -> None:
        target = self.target(data.draw(st.sampled_from(self.targets)))
        with self.machine.away(target) as is_away:
            if not is_away:
                return
            before = {entry.name for entry in self.machine.record.entries if entry.target_name == target.name}
            asyncio.run(self.machine.run())
            after = {entry.name for entry in self.machine.record.entries if entry.target_name == target.name}
            assert before <= after, "an entry was dropped on the word of a target that was away"

    def at_rest(self) -> None:
        """Nobody uses anything any more."""

    # what always holds

    @invariant()
    def what_is_not_ours_is_there(self) -> None:
        installed = self.machine.installed()
        for key, digest in self.theirs.items():
            assert installed.get(key) == digest, f"{key} is somebody else's"
        adopted = set(self.machine.owned()) & set(self.theirs)
        assert not adopted, "somebody else's model became ours"

    @invariant()
    def the_record_is_whole_and_no_install_is_lost(self) -> None:
        record = self.machine.record
        known = {(one.target_key, one.name) for one in (*record.entries, *record.intents)}
        for key, installed in self.machine.installed().items():
            assert key in known or key in self.theirs, f"{key} ({installed[:8]}) is nobody's"

    @rule()
    def in_the_end_it_is_as_the_file_says(self) -> None:
        self.machine.answer_well()
        self.at_rest()
        for _ in range(3):
            ended = asyncio.run(self.machine.run())
        if isinstance(ended, ReconcilerError):
            return
        machine = self.machine
        planned = asyncio.run(machine.plan())
        assert not planned.plan.changes
        assert not machine.record.intents
        installed, owned = machine.installed(), machine.owned()
        assert set(owned) <= set(installed)
        assert set(installed) - set(owned) == set(self.theirs)
        assert machine.leftovers() == []
        state = (machine.root / "state" / "default" / "record.json").read_bytes() if owned else b""
        asyncio.run(machine.run())
        assert not owned or (machine.root / "state" / "default" / "record.json").read_bytes() == state


class ServedLife(Life):
    """One machine's life, with one model server."""

    kind: ClassVar[str] = ""

    def made(self) -> Machine:
        self.site: Site = self.stack.enter_context(SITES[self.kind](self.root / "site"))
        return ServedMachine(self.root, site=self.site)

    @initialize()
    def begin(self) -> None:
        self.size = self.site.size * 1.1
        self.machine.edit()

    @rule(model=st.sampled_from(MODELS))
    def somebody_uses(self, model: str) -> None:
        if self.machine.installed().get(
            (self.machine.targets[0].key, self.machine.name_of(model))
        ) == self.machine.promised(model):
            self.site.load(model)

    @rule(model=st.sampled_from(MODELS))
    def nobody_uses(self, model: str) -> None:
        self.site.unload(model)

    @rule()
    def the_server_is_started_again(self) -> None:
        self.site.restart()

    def at_rest(self) -> None:
        self.site.restart()


class OllamaLife(ServedLife):
    kind, targets = "ollama", ("gpu",)
    badly: ClassVar = [(kind, part) for kind in OF_A_SERVER for part in PARTS["ollama"]]


class RouterLife(ServedLife):
    kind, targets = "llama-server", ("router",)
    badly: ClassVar = [(kind, part) for kind in OF_A_SERVER for part in PARTS["llama-server"]]
