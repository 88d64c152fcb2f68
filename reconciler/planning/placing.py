"""What a candidate is called on a target, what must be asked to fetch it, and what the answer makes of it."""

from __future__ import annotations

from dataclasses import replace

from reconciler.domain.artifact import HubArtifact, RegistryArtifact
from reconciler.domain.catalog import Build
from reconciler.domain.desired import Target
from reconciler.domain.estimate import Candidate
from reconciler.domain.names import OllamaName
from reconciler.domain.observation import HubNeed, RegistryNeed, Resolved
from reconciler.formats.gguf_names import parse
from reconciler.formats.router_names import tag_of
from reconciler.planning.trust import DEFAULT_REGISTRIES


def is_tag(candidate: Candidate) -> bool:
    """A tag of a registry rather than files of a Hub repository."""
    return candidate.repository.format == "ollama"


def tag_name(candidate: Candidate) -> str:
    return candidate.repository.id.partition("/")[2]


def name_on(target: Target, candidate: Candidate, answer: Resolved | None = None) -> str:
    """The canonical name a candidate has, or will have, on a target; provisional while its files are not known."""
    repo, quant = candidate.repository.id, candidate.quant
    if target.runtime == "ollama":
        if is_tag(candidate):
            return tag_name(candidate)
        return _tagged(_on_registry(target.registry, repo), quant)
    if target.runtime == "advisory":
        return _tagged(repo, quant)
    artifact = answer.artifact if answer else None
    if target.runtime == "llama-server":
        files = [file.path for file in artifact.files] if isinstance(artifact, HubArtifact) else candidate.build.files
        return _tagged(repo, tag_of(files[0]) or quant if files else quant)
    if isinstance(artifact, HubArtifact):
        return f"{artifact.repo}/{artifact.files[0].path}"
    return f"{repo}/{candidate.build.files[0]}" if candidate.build.files else _tagged(repo, quant)


def _on_registry(registry: str | None, repo: str) -> str:
    """A Hub repository as a registry names it: only the Hub's own keeps its case.

    Source: OCI distribution specification 1.1, "Pulling manifests": names are lower case; docker-registry answers 404
    for others.
    """
    host = registry or "hf.co"
    return f"{host}/{repo if host in DEFAULT_REGISTRIES else repo.lower()}"


def _tagged(name: str, quant: str) -> str:
    """With its quant, where that is known already."""
    return f"{name}:{quant}" if quant else name


def need_for(candidate: Candidate, target: Target, revision: str | None) -> HubNeed | RegistryNeed | None:
    """The question whose answer makes a candidate fetchable for a target; None where we never fetch."""
    if target.runtime == "advisory":
        return None
    if target.runtime == "ollama" and (target.registry or is_tag(candidate)):
        return registry_need(target, name_on(target, candidate))
    return HubNeed(repo=candidate.repository.id, quant=candidate.quant, revision=revision)


def registry_need(target: Target, name: str) -> RegistryNeed:
    """The question about a name, put to the registry that Ollama will pull it from: the one in the name."""
    try:
        host = OllamaName.parse(name).host
    except ValueError:  # whoever is asked refuses it
        return RegistryNeed(name=name, registry=target.registry, insecure=target.insecure)
    own = target.registry if host == target.registry else None
    return RegistryNeed(name=name, registry=own, insecure=target.is_insecure(host))


def refine(candidate: Candidate, answer: Resolved | None) -> Candidate:
    """The candidate with what the source said of it: exact sizes and files, and facts of a model nobody knew."""
    if answer is None or answer.artifact is None:
        return candidate
    artifact = answer.artifact
    if isinstance(artifact, RegistryArtifact):
        build = replace(candidate.build, bytes=artifact.bytes, exact=True)
    else:
        models = [file for file in artifact.files if parse(file.path).role == "model"]
        build = Build(
            quant=candidate.quant,
            bytes=artifact.bytes,
            exact=True,
            files=tuple(file.path for file in artifact.files),
            sha256=tuple(file.sha256 for file in artifact.files),
            sharded=len(models) > 1,
        )
    model = answer.model if answer.model is not None and not candidate.model.sources else candidate.model
    return replace(candidate, build=build, model=model)
