"""Hypothesis plays the operator, the strangers, the power and the network, in any order, on real parts.

Two stores on disk under one record; the books balance at every step.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from reconciler.domain.desired import Target
from reconciler.domain.units import Bytes
from reconciler.errors import ReconcilerError
from tests.campaign.bad_line import KINDS, Fault
from tests.campaign.power import Power
from tests.campaign.real_world import CONTENT, MODELS, SIZE, Machine, name_of, pin, sha_of

EXAMPLES = int(os.environ.get("LOCALMODELS_CAMPAIGN_EXAMPLES", "12"))
TARGETS = ("box", "spare")


class Life(RuleBasedStateMachine):
    """One machine's life."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.root = Path(tempfile.mkdtemp(prefix="life-"))
        self.stack.callback(shutil.rmtree, self.root, ignore_errors=True)
        targets = tuple(Target(name=name, runtime="store", path=str(self.root / name)) for name in TARGETS)
        self.machine = Machine(self.root, targets)
        self.theirs: dict[tuple[str, str], str] = {}
        self.budget = 10**9

    @initialize()
    def begin(self) -> None:
        self.machine.edit()

    def teardown(self) -> None:
        self.stack.close()

    def target(self, name: str) -> Target:
        return next(one for one in self.machine.targets if one.name == name)

    # the operator

    @rule(
        picks=st.lists(
            st.tuples(st.sampled_from(MODELS), st.sampled_from([None, *TARGETS])),
            max_size=3,
            unique_by=lambda it: it[0],
        ),
        budget=st.sampled_from([SIZE * 1.5, SIZE * 2.5, SIZE * 3.5, 10**9]),
        prune=st.sampled_from(["always", "pressure", "never"]),
        gap=st.booleans(),
    )
    def edit(self, picks: list[tuple[str, str | None]], budget: float, prune: str, gap: bool) -> None:
        self.budget = int(budget)
        slots = [pin(f"s{number}", model, target) for number, (model, target) in enumerate(picks)]
        self.machine.edit(*slots, disk_budget=Bytes(self.budget), prune=prune, allow_gap=gap)

    @rule()
    def apply(self) -> None:
        ended = asyncio.run(self.machine.run())
        assert ended is not None

    @rule(at=st.integers(0, 40))
    def apply_while_the_power_goes(self, at: int) -> None:
        self.machine.power = Power(at)
        asyncio.run(self.machine.run())
        self.machine.power = None

    # the network

    @rule(
        kind=st.sampled_from(sorted(KINDS)), part=st.sampled_from(["/api/", "resolve", "cdn."]), after=st.integers(0, 3)
    )
    def the_line_is_bad(self, kind: str, part: str, after: int) -> None:
        self.machine.line.faults = [Fault(kind, part, after, times=2)]

    @rule()
    def the_line_is_good(self) -> None:
        self.machine.line.faults = []

    # strangers

    @rule(model=st.sampled_from(MODELS), where=st.sampled_from(TARGETS))
    def somebody_installs(self, model: str, where: str) -> None:
        target = self.target(where)
        key = target.key, name_of(model)
        if key in self.machine.installed():
            return
        self.machine.put(target, model)
        record = self.machine.record
        begun = any((intent.target_key, intent.name) == key for intent in record.intents)
        if record.entry(*key) is None and not begun:
            self.theirs[key] = sha_of(model)

    @rule(model=st.sampled_from(MODELS), where=st.sampled_from(TARGETS))
    def somebody_removes(self, model: str, where: str) -> None:
        self.machine.take_away(self.target(where), model)
        self.theirs.pop((self.target(where).key, name_of(model)), None)

    @precondition(lambda self: self.machine.owned())
    @rule(data=st.data())
    def somebody_overwrites_ours(self, data: st.DataObject) -> None:
        key, name = data.draw(st.sampled_from(sorted(self.machine.owned())))
        model = name.split("/")[1].removesuffix("-GGUF")
        target = next(one for one in self.machine.targets if one.key == key)
        self.machine.put(target, model, CONTENT[model][::-1])

    @rule(where=st.sampled_from(TARGETS))
    def a_target_is_away_for_one_run(self, where: str) -> None:
        root = self.machine.store(self.target(where))
        away = root.with_name(f"{root.name}.away")
        if not root.is_dir():
            return
        root.rename(away)
        root.write_text("not a folder", encoding="utf-8")
        before = {entry.name for entry in self.machine.record.entries if entry.target_name == where}
        asyncio.run(self.machine.run())
        after = {entry.name for entry in self.machine.record.entries if entry.target_name == where}
        assert before <= after, "an entry was dropped on the word of a target that was away"
        root.unlink()
        away.rename(root)

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
        self.machine.line.faults = []
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


def test_whatever_happens_to_a_machine_the_books_balance_and_nothing_foreign_is_lost() -> None:
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=bool(os.environ.get("CI")),
        ),
    )
