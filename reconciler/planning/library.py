"""Tags of the Ollama library as candidates for ranked slots: what is pulled already, and what has no allowed file.

A library tag is served without a size or digest known beforehand, so files of a Hub repository come first.
"""

from __future__ import annotations

from reconciler.domain.catalog import Build, CatalogModel, Repository
from reconciler.domain.desired import Target
from reconciler.domain.estimate import Candidate
from reconciler.domain.names import OLLAMA_LIBRARY, OllamaName
from reconciler.planning.scene import Scene
from reconciler.planning.trust import distrust_of_repository
from reconciler.ranking.candidates import estimated_bytes

DEFAULT_TAG_QUANT = "Q4_K_M"
"""What a tag without a quant in its name holds, by the library's own habit."""


def library_candidates(scene: Scene, target: Target) -> tuple[Candidate, ...]:
    """One candidate per model that the library serves, where this target and the policy make it one."""
    if target.runtime != "ollama" or OLLAMA_LIBRARY not in scene.desired.pool.packagers:
        return ()
    found = (_candidate(model) for model in scene.observation.catalogue.models if _counts(scene, target, model))
    return tuple(candidate for candidate in found if candidate is not None)


def _counts(scene: Scene, target: Target, model: CatalogModel) -> bool:
    if model.ollama_tag is None or model.publisher not in scene.desired.pool.allowed_orgs:
        return False
    return scene.installed(target.name, model.ollama_tag) is not None or not _has_allowed_file(scene, model)


def _has_allowed_file(scene: Scene, model: CatalogModel) -> bool:
    pool = scene.desired.pool
    return any(
        repository.builds
        and distrust_of_repository(pool, organisation=repository.organisation, publisher=model.publisher) is None
        for repository in model.repositories
    )


def _candidate(model: CatalogModel) -> Candidate | None:
    size = estimated_bytes(model, DEFAULT_TAG_QUANT)
    if size is None or model.ollama_tag is None:
        return None
    repository = Repository(f"{OLLAMA_LIBRARY}/{OllamaName.parse(model.ollama_tag).canonical}", (), format="ollama")
    return Candidate(model, repository, Build(quant=DEFAULT_TAG_QUANT, bytes=size, exact=False))
