"""The variant that fills a slot now, as our record says, and whether it still may."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.domain.artifact import HubArtifact
from reconciler.domain.desired import Slot, Target
from reconciler.domain.estimate import Candidate
from reconciler.domain.record import RecordEntry
from reconciler.planning.eligible import numbers_of, option_of
from reconciler.planning.option import BY_THE_FILE, FORBIDDEN, Option, Rejected
from reconciler.planning.options import Options, Rejections
from reconciler.planning.pins import recorded_candidate
from reconciler.planning.scene import Scene


@dataclass(frozen=True, slots=True)
class Incumbent:
    """What fills a slot address now."""

    entry: RecordEntry
    option: Option
    """As eligible; or, when it no longer is, the same numbers without the verdict."""
    rejection: Rejected | None = None
    """Why it no longer meets the slot; None while it does, or while nobody knows it any more."""

    @property
    def is_refused_by_the_file(self) -> bool:
        """Ineligible by what the file itself states: its replacement needs no approval."""
        return self.rejection is not None and self.rejection.reason in BY_THE_FILE

    @property
    def is_forbidden(self) -> bool:
        """The policy no longer allows it at all: it goes even where nothing takes its place."""
        return self.rejection is not None and self.rejection.reason in FORBIDDEN


def incumbent_of(scene: Scene, slot: Slot, address: str, options: Options, rejected: Rejections) -> Incumbent | None:
    """The incumbent of one address; None for an empty slot, or where an ineligible one is gone anyway."""
    for entry in scene.entries_by_slot.get(address, ()):
        target = next(target for target in scene.desired.targets if target.key == entry.target_key)
        if target.name not in scene.observed or (slot.target and slot.target != target.name):
            continue
        option = next((option for option in options.there() if option.entry == entry), None)
        if option is not None:
            return Incumbent(entry, option)
        if scene.installed(target.name, entry.name) is None:
            continue
        repo = entry.artifact.repo if isinstance(entry.artifact, HubArtifact) else None
        rejection = rejected.of_build(target, repo, entry.quant)
        candidate = rejection.candidate if rejection else recorded_candidate(scene, entry)
        return Incumbent(entry, _forced(scene, slot, target, candidate), rejection)
    return None


def _forced(scene: Scene, slot: Slot, target: Target, candidate: Candidate) -> Option:
    context, assessment = numbers_of(scene, slot, target, candidate)
    return option_of(scene, slot, target, context, assessment, need=None, answer=None)
