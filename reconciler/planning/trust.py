"""May this be installed? Publishers, packagers, families, licences, and the names the file forbids.

Asked when a plan is made, and again by apply, before the first byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from reconciler.domain.adapter import Adapter
from reconciler.domain.artifact import Artifact, HubArtifact
from reconciler.domain.catalog import CatalogModel
from reconciler.domain.desired import Pool
from reconciler.domain.families import family_matches, normalise_license
from reconciler.domain.names import DEFAULT_HOST, HUB_HOSTS, OLLAMA_LIBRARY, glob_matches

DEFAULT_REGISTRIES = (DEFAULT_HOST, *HUB_HOSTS)

PolicyReason = Literal[
    "publisher-not-allowed", "packager-not-allowed", "family-not-allowed", "license-not-allowed", "never-listed"
]


@dataclass(frozen=True, slots=True)
class Distrust:
    """Why the file does not allow something, and which half of the permission is missing."""

    reason: PolicyReason
    message: str


def distrust_of_repository(pool: Pool, *, organisation: str, publisher: str | None) -> Distrust | None:
    """Why files of this organisation may not be installed; None when they may.

    Args:
        pool: the policy.
        organisation: owner of the repository, or ``ollama-library``; compared exactly.
        publisher: maker of the model the repository packages; None where nobody says.
    """
    if organisation in pool.allowed_orgs:
        return None
    if publisher is None:
        return Distrust(
            "publisher-not-allowed",
            f"{organisation} is not in allowedOrgs, and nothing says whose model its repository packages",
        )
    if publisher not in pool.allowed_orgs:
        return Distrust("publisher-not-allowed", f"publisher {publisher} is not in allowedOrgs")
    if organisation not in pool.packagers:
        return Distrust(
            "packager-not-allowed",
            f"publisher {publisher} is allowed, but the files are {organisation}'s, which is not in packagers",
        )
    return None


def distrust_of_model(pool: Pool, model: CatalogModel) -> Distrust | None:
    """Why the family or the licence of a model is not allowed; None when both are."""
    if pool.allowed_families and not any(
        family_matches(family, lineage=model.lineage, generation=model.generation) for family in pool.allowed_families
    ):
        family = f"{model.lineage} {model.generation}".strip() or "unknown"
        return Distrust("family-not-allowed", f"family {family} is not in allowedFamilies")
    if pool.allowed_licenses:
        allowed = {normalise_license(license_name) for license_name in pool.allowed_licenses}
        if model.license is None:
            return Distrust("license-not-allowed", "its licence is not known, and allowedLicenses is set")
        if normalise_license(model.license) not in allowed:
            return Distrust("license-not-allowed", f"licence {model.license} is not in allowedLicenses")
    return None


def distrust_of_names(pool: Pool, names: Iterable[str]) -> Distrust | None:
    """Which entry of ``never`` forbids one of these names; None when none does."""
    for name in names:
        for pattern in pool.never:
            if glob_matches(pattern, name):
                return Distrust("never-listed", f"{name} is forbidden by never: {pattern!r}")
    return None


def distrust_of_artifact(
    pool: Pool, artifact: Artifact, *, model_id: str, name: str, trusted_registry: str | None = None
) -> Distrust | None:
    """The same question at the moment of fetching, from what is about to be fetched."""
    if isinstance(artifact, HubArtifact):
        organisation, names = artifact.repo.partition("/")[0], (artifact.repo, model_id, name)
    else:
        organisation = registry_organisation(artifact.registry, artifact.namespace, trusted=trusted_registry)
        organisation = _spelled(pool, organisation) if artifact.registry == trusted_registry else organisation
        names = (f"{artifact.namespace}/{artifact.name}:{artifact.tag}", model_id, name)
    publisher = model_id.partition("/")[0] if "/" in model_id else None
    return distrust_of_repository(pool, organisation=organisation, publisher=publisher) or distrust_of_names(
        pool, names
    )


def distrust_of_adapter(pool: Pool, adapter: Adapter) -> tuple[str, str] | None:
    """Why the file does not allow an adapter's source, and what to do; None: it does, as a path of this host always is.

    A path is the operator's own. Asked by the plan and again by the step, so that neither is weaker.
    """
    repo = adapter.source.repo
    if repo is None:
        return None
    organisation = repo.partition("/")[0]
    if organisation not in pool.allowed_orgs:
        return f"{repo}: {organisation} is not in pool.allowedOrgs", f"add {organisation} there, if you trust it"
    forbidden = distrust_of_names(pool, (repo,))
    return (forbidden.message, "see pool.never, or take the adapter out") if forbidden is not None else None


def registry_organisation(registry: str, namespace: str, *, trusted: str | None = None) -> str:
    """Who packages what a registry serves under a namespace: the Ollama library, or the namespace's owner.

    A registry that neither the runtime uses by default nor the target names stands for itself: nobody allowed it.
    """
    if registry not in (*DEFAULT_REGISTRIES, trusted):
        return registry
    return OLLAMA_LIBRARY if namespace == "library" else namespace


def _spelled(pool: Pool, organisation: str) -> str:
    """An organisation as the file spells it: a registry of one's own knows lower case only."""
    known = (*pool.allowed_orgs, *pool.packagers)
    return next((one for one in known if one.lower() == organisation), organisation)


def keep_pattern_for(pool: Pool, names: Iterable[str]) -> str | None:
    """The entry of ``keep`` that protects one of these names, if any."""
    wanted = tuple(names)
    return next((pattern for pattern in pool.keep if any(glob_matches(pattern, name) for name in wanted)), None)
