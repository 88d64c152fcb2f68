"""Everything a decision may look at, prepared once per plan: the arguments of ``make_plan`` in the form it asks for.

What does not belong here: a decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from reconciler.domain.artifact import HubArtifact
from reconciler.domain.catalog import CatalogModel
from reconciler.domain.desired import DesiredState, Target
from reconciler.domain.estimate import Assessment, Candidate, Requirement
from reconciler.domain.hardware import Hardware
from reconciler.domain.measurement import measured_by
from reconciler.domain.names import OllamaName, stable_name_key
from reconciler.domain.observation import Alias, Installed, Observation, ObservedTarget, Resolved, Unavailable
from reconciler.domain.plan import Overrides
from reconciler.domain.record import Record, RecordAlias, RecordEntry
from reconciler.ranking.calibration import UNCALIBRATED, Calibration
from reconciler.ranking.candidates import candidates
from reconciler.ranking.numbers import Numbers, assess, assess_longest, numbers_for
from reconciler.ranking.quality import EvidenceIndex

Sifted = tuple[tuple[Candidate, ...], tuple[Candidate, ...]]
"""The candidates that the file trusts, and those that it refuses."""


@dataclass(frozen=True)
class Scene:
    """The desired state, the observation and the record, indexed."""

    desired: DesiredState
    observation: Observation
    record: Record
    overrides: Overrides

    @cached_property
    def today(self) -> date:
        return self.observation.now.date()

    @cached_property
    def targets(self) -> Mapping[str, Target]:
        return {target.name: target for target in self.desired.targets}

    @cached_property
    def addresses(self) -> frozenset[str]:
        """Every slot address of the file."""
        return frozenset(address for slot in self.desired.slots for address in slot.addresses)

    @cached_property
    def observed(self) -> Mapping[str, ObservedTarget]:
        """Targets of the file that answered, by name."""
        return {
            target.name: target
            for target in self.observation.targets
            if isinstance(target, ObservedTarget) and target.name in self.targets
        }

    @cached_property
    def models(self) -> Mapping[str, CatalogModel]:
        return {model.id: model for model in self.observation.catalogue.models}

    @cached_property
    def models_by_tag(self) -> Mapping[str, CatalogModel]:
        """By name in the Ollama library."""
        return {model.ollama_tag: model for model in self.observation.catalogue.models if model.ollama_tag}

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        return candidates(self.observation.catalogue)

    @cached_property
    def sifted(self) -> dict[str, Sifted]:
        """By target: what ``planning.eligible`` found trusted; kept here, since every slot asks again."""
        return {}

    @cached_property
    def evidence(self) -> EvidenceIndex:
        return EvidenceIndex.of(self.observation.catalogue, self.today)

    @cached_property
    def _answers(self) -> Mapping[object, Resolved | Unavailable]:
        return {answer.need: answer for answer in self.observation.answers}

    def answer(self, need: object) -> Resolved | Unavailable | None:
        return self._answers.get(need)

    def hardware(self, target: Target) -> Hardware:
        """The machine a target runs models on: this one, or the one its own override describes."""
        observed = self.observed.get(target.name)
        if observed is not None and observed.hardware is not None:
            return observed.hardware
        return self.observation.hardware.hardware

    @cached_property
    def _calibrations(self) -> dict[tuple[int, str], Calibration]:
        """By machine (its id: the observation holds it) and runtime."""
        return {}

    def calibration(self, target: Target) -> Calibration:
        """What was measured on the machine a target runs models on; of another machine nothing counts."""
        if not self.observation.measurements:
            return UNCALIBRATED
        hardware, runtime = self.hardware(target), measured_by(target.runtime)
        found = self._calibrations.get((id(hardware), runtime))
        if found is None:
            found = Calibration.of(self.observation.measurements, self.models, hardware, runtime=runtime)
            self._calibrations[id(hardware), runtime] = found
        return found

    def assess(self, candidate: Candidate, requirement: Requirement, target: Target) -> Assessment:
        """The numbers of a candidate on the machine a target runs models on."""
        hardware = self.hardware(target)
        return assess(candidate, requirement, hardware, self.evidence, self.today, calibration=self.calibration(target))

    def numbers(self, requirement: Requirement, target: Target) -> Numbers:
        """The numbers that ``assess`` gives, for those that compare many candidates by few of them."""
        return numbers_for(requirement, self.hardware(target), self.evidence, self.calibration(target))

    def assess_longest(self, candidate: Candidate, least: Requirement, target: Target) -> tuple[int, Assessment]:
        """The longest context that fits the machine a target runs models on, and the numbers there."""
        hardware = self.hardware(target)
        return assess_longest(
            candidate, least, hardware, self.evidence, self.today, calibration=self.calibration(target)
        )

    @cached_property
    def models_on(self) -> Mapping[str, tuple[Installed, ...]]:
        """By target: the models that stand there. A stable name of ours is none, even where a target lists it so."""
        return {
            name: tuple(model for model in target.installed if not self._is_our_alias(target, model.name))
            for name, target in self.observed.items()
        }

    def _is_our_alias(self, target: ObservedTarget, name: str) -> bool:
        key = stable_name_key(target.key, name)
        return (target.key, key) in self._recorded_aliases and key in self._aliases[target.name]

    @cached_property
    def _aliases(self) -> Mapping[str, Mapping[str, Alias]]:
        return {
            name: {stable_name_key(target.key, alias.name): alias for alias in target.aliases}
            for name, target in self.observed.items()
        }

    @cached_property
    def _recorded_aliases(self) -> Mapping[tuple[str, str], RecordAlias]:
        return {(one.target_key, stable_name_key(one.target_key, one.name)): one for one in self.record.aliases}

    def alias(self, target: Target, name: str) -> Alias | None:
        """What stands under a stable name on an observed target, whoever made it."""
        return self._aliases.get(target.name, {}).get(stable_name_key(target.key, name))

    def recorded_alias(self, target_key: str, name: str) -> RecordAlias | None:
        """Our record of a stable name on a target."""
        return self._recorded_aliases.get((target_key, stable_name_key(target_key, name)))

    def in_use(self, target: str, model: Installed) -> bool:
        """Loaded under its own name, under one that stands for it, or with an adapter."""
        named = (alias.model for alias in self._aliases[target].values() if alias.loaded)
        adapted = (adapter.base for adapter in self.observed[target].adapters if adapter.loaded)
        used = (name for name in (*named, *adapted) if name is not None)
        return model.loaded or any(self.same_model(target, name, model.name) for name in used)

    def same_model(self, target: str, one: str, other: str) -> bool:
        """Whether two names mean one model on a target."""
        return self._fold(target, one) == self._fold(target, other)

    @cached_property
    def _installed(self) -> Mapping[str, Mapping[str, Installed]]:
        return {
            name: {self._fold(name, model.name): model for model in models if not model.remote}
            for name, models in self.models_on.items()
        }

    @cached_property
    def _installed_builds(self) -> Mapping[str, Mapping[tuple[str, str], Installed]]:
        """By target, then (repository, quant): first by name, so that the answer never depends on listing order."""
        return {
            name: {
                (model.repo, model.quant): model
                for model in sorted(models, key=lambda model: model.name, reverse=True)
                if model.repo and model.quant and not model.remote
            }
            for name, models in self.models_on.items()
        }

    def installed(self, target: str, name: str) -> Installed | None:
        """What stands under a name on an observed target."""
        return self._installed.get(target, {}).get(self._fold(target, name))

    def installed_build(self, target: str, repo: str, quant: str) -> Installed | None:
        """The installed model that is this quant of this repository, by its name or place."""
        return self._installed_builds.get(target, {}).get((repo, quant))

    @cached_property
    def _mentions(self) -> dict[str, str]:
        return {}

    def mentions(self, target: Target) -> str:
        """Every name and repository that stands on a target, is recorded there, or was asked about; in small letters.

        A candidate whose repository is not named here has nothing that stands for it and no answer.
        """
        found = self._mentions.get(target.name)
        if found is None:
            names = [name for model in self.models_on.get(target.name, ()) for name in (model.name, model.repo)]
            for entry in self.record.entries:
                if entry.target_key == target.key:
                    names += (entry.name, entry.artifact.repo if isinstance(entry.artifact, HubArtifact) else None)
            for answer in self.observation.answers:
                if answer.need.kind != "adapter":
                    names.append(answer.need.repo if answer.need.kind == "hub" else answer.need.name)
            found = self._mentions[target.name] = "\n".join(name for name in names if name).casefold()
        return found

    @cached_property
    def _entries(self) -> Mapping[tuple[str, str], RecordEntry]:
        return {(entry.target_key, entry.name): entry for entry in self.record.entries}

    def entry(self, target_key: str, name: str) -> RecordEntry | None:
        """Our record of a name on a target."""
        return self._entries.get((target_key, name))

    @cached_property
    def entries_by_slot(self) -> Mapping[str, tuple[RecordEntry, ...]]:
        """By slot address: what we installed for it, on targets of this file; the newest first.

        Two can claim one address while an eviction waits: the one that took over is the later one.
        """
        keys = {target.key for target in self.desired.targets}
        found: dict[str, tuple[RecordEntry, ...]] = {}
        for entry in sorted(self.record.entries, key=lambda one: (-one.installed_at.timestamp(), one.name)):
            for address in entry.slots:
                if entry.target_key in keys:
                    found[address] = (*found.get(address, ()), entry)
        return found

    def _fold(self, target: str, name: str) -> str:
        """Ollama compares names whatever their case; a file system does not."""
        if self.targets[target].runtime != "ollama":
            return name
        try:
            return OllamaName.parse(name).canonical.casefold()
        except ValueError:
            return name.casefold()


def names_of(candidate: Candidate, *, installed_name: str = "") -> tuple[str, ...]:
    """Every canonical name ``keep`` and ``never`` may mean by a candidate."""
    repo, quant = candidate.repository.id, candidate.quant
    tag = (candidate.model.ollama_tag,) if candidate.model.ollama_tag else ()
    return tuple(
        dict.fromkeys(
            (candidate.model.id, repo, f"{repo}:{quant}", *tag, *((installed_name,) if installed_name else ()))
        )
    )
