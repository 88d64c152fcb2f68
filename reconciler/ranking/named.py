"""What a person means by a model's name: an id, a repository, a repository with a quant, or an Ollama name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reconciler.domain.catalog import CatalogModel
from reconciler.domain.estimate import Candidate, Profile
from reconciler.domain.names import nearest, squash
from reconciler.errors import UsageError
from reconciler.ranking.profiles import PROFILE_LINES
from reconciler.ranking.quants import normalise


@dataclass(frozen=True, slots=True)
class Named:
    """What a name means in the catalogue."""

    model: CatalogModel
    repository: str | None = None
    quant: str | None = None

    def means(self, candidate: Candidate) -> bool:
        """Whether the candidate is of the repository and the quant that were named, where they were."""
        in_repository = self.repository in (None, candidate.repository.id)
        same = self.quant is None or normalise(candidate.quant).canonical == normalise(self.quant).canonical
        return in_repository and same


def find(models: Iterable[CatalogModel], text: str) -> Named:
    """What ``meaning`` says, where a name must mean something.

    Raises:
        UsageError: code ``unknown-model``, with the nearest names.
    """
    known = tuple(models)
    found = meaning(known, text)
    if found is not None:
        return found
    names = {word: word for model in known for word in _names(model)}
    near = nearest(text, names, 3)
    raise UsageError(
        f"nothing in the catalogue is called {text}",
        code="unknown-model",
        hint=f"did you mean {' or '.join(near)}?" if near else "localmodels suggest lists what there is",
    )


def meaning(models: Iterable[CatalogModel], text: str) -> Named | None:
    """The model of a catalogue id, repository, ``repository:QUANT``, ``id@QUANT`` or Ollama name; None: of none."""
    known = tuple(models)
    wanted = text.strip().removeprefix("hf.co/").removeprefix("https://huggingface.co/").strip("/")
    bare, _, quant = wanted.replace("@", ":").rpartition(":")
    for name, size in ((wanted, None), (bare, quant)):
        found = _by_name(known, name, size) if name else None
        if found is not None:
            return found
    return None


def _by_name(models: tuple[CatalogModel, ...], name: str, quant: str | None) -> Named | None:
    folded = name.casefold()
    for model in models:
        if model.id.casefold() == folded:
            return Named(model, None, quant)
        for repository in model.repositories:
            if repository.id.casefold() == folded:
                return Named(model, repository.id, quant)
    tagged = folded if quant is None else f"{folded}:{quant.casefold()}"
    for model in models:
        if model.ollama_tag and tagged in (model.ollama_tag.casefold(), model.ollama_tag.casefold() + ":latest"):
            return Named(model)
    short = [model for model in models if squash(model.id.partition("/")[2]) == squash(name)]
    return Named(short[0], None, quant) if len(short) == 1 else None


def _names(model: CatalogModel) -> Iterable[str]:
    yield model.id
    yield model.id.partition("/")[2]
    yield from (repository.id for repository in model.repositories)
    if model.ollama_tag:
        yield model.ollama_tag


def profile_of(model: CatalogModel) -> Profile:
    """The profile a model is made for, by its line; ``general`` where it serves that."""
    if model.line == "coder":
        return "coding"
    serving = profiles_served_by(model)
    return serving[0] if serving else "general"


def profiles_served_by(model: CatalogModel) -> tuple[Profile, ...]:
    """Every profile whose lines hold the model's."""
    return tuple(profile for profile, lines in PROFILE_LINES.items() if model.line in lines)
