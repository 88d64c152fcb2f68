"""From what the Hub lists to models of the catalogue: whose model a repository packages, and what a new one is.

Pure: what was asked, remembered or never answered is decided elsewhere. Trust is the file's (design, section 3): a
repository counts when its organisation is an allowed publisher, or an allowed packager of such a publisher's model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date

from reconciler.domain.catalog import Architecture, Build, CatalogModel, Repository
from reconciler.domain.desired import Pool
from reconciler.domain.names import split_repo, squash
from reconciler.formats.gguf import GgufHeader, architecture_of, capabilities_of
from reconciler.formats.gguf_names import builds
from reconciler.integrations.catalog.hub_wire import HubFile, HubRepo

Claims = tuple[tuple[str, tuple[str, ...]], ...]

_PACKAGED = re.compile(r"[-_.](?:gguf|ggml)$", re.IGNORECASE)
_ACTIVE = re.compile(r"(?<![A-Za-z0-9])A(\d+(?:\.\d+)?)B(?![A-Za-z0-9])", re.IGNORECASE)
_EXPERTS = re.compile(r"(?<![A-Za-z0-9.])(\d+)x(\d+(?:\.\d+)?)B(?![A-Za-z0-9])", re.IGNORECASE)
_SIZE = re.compile(r"(?<![A-Za-z0-9.])E?(\d+(?:\.\d+)?)([BM])(?![A-Za-z0-9])", re.IGNORECASE)
_GENERATION = re.compile(r"[-_. ]?v?(\d+(?:\.\d+)*[ac-ln-z]?)(?![A-Za-z0-9.])", re.IGNORECASE)
_TEXT_PIPELINES = frozenset({
    None, "text-generation", "image-text-to-text", "feature-extraction", "sentence-similarity", "any-to-any",
    "text-ranking", "conversational", "audio-text-to-text", "video-text-to-text",
})  # fmt: skip
_LINES = (
    ("embedding", re.compile(r"embed|(?<![a-z])(?:bge|e5|gte)(?![a-z])")),
    ("reranker", re.compile(r"rerank")),
    ("guard", re.compile(r"guard|shield")),
    ("ocr", re.compile(r"ocr")),
    ("coder", re.compile(r"(?<!en)(?<!de)coder|(?<![a-z])code|devstral")),
    ("math", re.compile(r"math")),
    ("medical", re.compile(r"(?<![a-z])med")),
    ("vision", re.compile(r"(?<![a-z])vl(?![a-z])|vision|llava|pixtral")),
    ("reasoning", re.compile(r"thinking|reason|(?<![a-z])r1(?![a-z0-9])|qwq|magistral")),
)
_PIPELINE_LINES = {"feature-extraction": "embedding", "sentence-similarity": "embedding", "text-ranking": "reranker"}


@dataclass(frozen=True, slots=True)
class HeaderFacts:
    """What the header of one file of a repository says of its model."""

    architecture: Architecture
    context_length: int | None
    capabilities: Claims
    license: str | None

    @classmethod
    def of(cls, header: GgufHeader) -> HeaderFacts:
        return cls(architecture_of(header), header.context_length, capabilities_of(header), header.license)


@dataclass(frozen=True, slots=True)
class Find:
    """One repository that may be used, and the model it packages."""

    repo: HubRepo
    model_id: str
    claimed: bool
    """The packager says so; our catalogue does not."""
    known: CatalogModel | None

    @property
    def is_own(self) -> bool:
        """Under its publisher's own name."""
        return self.repo.organisation == self.model_id.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Learnt:
    """What further questions told, by repository id (``headers``, ``trees``) or model id (``bases``)."""

    trees: Mapping[str, tuple[HubFile, ...]]
    headers: Mapping[str, HeaderFacts]
    bases: Mapping[str, HubRepo]


class Known:
    """The catalogue's models, found by id or by repository."""

    def __init__(self, models: Iterable[CatalogModel]) -> None:
        self.models = tuple(models)
        self._by_id = {model.id.lower(): model for model in self.models}
        self._by_repo = {repository.id: model for model in self.models for repository in model.repositories}

    def model(self, model_id: str) -> CatalogModel | None:
        return self._by_id.get(model_id.lower())

    def packaged(self, repo: HubRepo, *, publishers: Iterable[str]) -> Find | None:
        """Whose model a repository is: the catalogue's word, else its own name, else the packager's claim."""
        known = self._by_repo.get(repo.id)
        if known is not None:
            return Find(repo, known.id, claimed=False, known=known)
        base = repo.quantized_from
        if repo.organisation in publishers:
            own = base if base and base.partition("/")[0] == repo.organisation else _PACKAGED.sub("", repo.id)
            known = self.model(own)
            return Find(repo, known.id if known else own, claimed=False, known=known)
        if base is None or not _is_repo(base):
            return None
        known = self.model(base)
        return Find(repo, known.id if known else base, claimed=True, known=known)


def finds(repos: Iterable[HubRepo], known: Known, pool: Pool) -> tuple[Find, ...]:
    """The listed repositories that the file trusts and that hold language models, most downloaded first."""
    found: dict[str, Find] = {}
    for repo in repos:
        usable = repo.is_gguf and not repo.disabled and repo.pipeline in _TEXT_PIPELINES and _is_repo(repo.id)
        find = known.packaged(repo, publishers=pool.allowed_orgs) if usable else None
        if find is not None and _is_trusted(find, pool):
            found.setdefault(repo.id, find)
    return tuple(sorted(found.values(), key=lambda find: (-find.repo.downloads, find.repo.id)))


def _is_trusted(find: Find, pool: Pool) -> bool:
    publisher = find.model_id.partition("/")[0]
    organisation = find.repo.organisation
    return organisation in pool.allowed_orgs or (organisation in pool.packagers and publisher in pool.allowed_orgs)


def with_live(known: Known, found: Iterable[Find], learnt: Learnt, *, today: date) -> tuple[CatalogModel, ...]:
    """The catalogue's models with exact builds where the Hub gave them, then the new ones by id.

    A new model comes in once its files are known: without sizes nothing could be said of it.
    """
    by_model: dict[str, list[Find]] = {}
    for find in found:
        by_model.setdefault(find.model_id, []).append(find)
    refreshed = [_refreshed(model, by_model.pop(model.id, []), learnt, today) for model in known.models]
    made = (_new_model(model_id, group, known, learnt, today) for model_id, group in sorted(by_model.items()))
    return (*refreshed, *(model for model in made if model is not None))


def repository_of(find: Find, files: Iterable[HubFile], today: date) -> Repository | None:
    """A repository with its builds; None where it holds none."""
    made = builds((file.path, file.bytes, file.sha256) for file in files)
    source = f"hub {today.isoformat()}" + (f" @{find.repo.commit[:7]}" if find.repo.commit else "")
    return Repository(find.repo.id, made, source=source, claimed=find.claimed) if made else None


def smallest_file(files: Iterable[HubFile]) -> HubFile | None:
    """The first file of the smallest build: whose header says what the model is."""
    by_path = {file.path: file for file in files}
    made: tuple[Build, ...] = builds((file.path, file.bytes, file.sha256) for file in by_path.values())
    return by_path[made[0].files[0]] if made else None


def merged_claims(*claims: Claims) -> Claims:
    """Every capability with everybody who claims it, both sorted."""
    together: dict[str, set[str]] = {}
    for name, sources in (pair for each in claims for pair in each):
        together.setdefault(name, set()).update(sources)
    return tuple((name, tuple(sorted(sources))) for name, sources in sorted(together.items()))


def _refreshed(model: CatalogModel, group: Iterable[Find], learnt: Learnt, today: date) -> CatalogModel:
    repositories = {repository.id: repository for repository in model.repositories}
    architecture = model.architecture
    capabilities = model.capabilities
    for find in group:
        read = repository_of(find, learnt.trees.get(find.repo.id, ()), today)
        if read is not None:
            repositories[read.id] = read
        header = learnt.headers.get(find.repo.id)
        if header is not None and architecture.layers is None:
            architecture = header.architecture
        capabilities = merged_claims(capabilities, find.repo.capabilities) if find.is_own else capabilities
    return replace(
        model, repositories=tuple(repositories.values()), architecture=architecture, capabilities=capabilities
    )


def _new_model(model_id: str, group: Iterable[Find], known: Known, learnt: Learnt, today: date) -> CatalogModel | None:
    ordered = sorted(group, key=lambda find: (not find.is_own, -find.repo.downloads, find.repo.id))
    read = [(find, repository_of(find, learnt.trees.get(find.repo.id, ()), today)) for find in ordered]
    held = [(find, repository) for find, repository in read if repository is not None]
    if not held:
        return None
    header = next((learnt.headers[find.repo.id] for find, _ in held if find.repo.id in learnt.headers), None)
    repositories = tuple(repository for _, repository in held)
    return model_from(
        model_id, [find.repo for find, _ in held], header, learnt.bases.get(model_id), known, repositories
    )


def model_from(
    model_id: str,
    repos: list[HubRepo],
    header: HeaderFacts | None,
    base: HubRepo | None,
    known: Known,
    repositories: tuple[Repository, ...],
) -> CatalogModel:
    """A model the catalogue does not have, from what its repositories say.

    Args:
        model_id: ``publisher/name``.
        repos: its repositories, the most trustworthy first.
        header: of one of its files, where one was read.
        base: the publisher's own repository, where it was asked.
        known: the catalogue, whose lineages the name is compared with.
        repositories: with their builds.
    """
    says = [each for each in (base, *repos) if each is not None]
    name = model_id.partition("/")[2]
    lineage, generation = lineage_of(name, known.models)
    weights = next((each.weights for each in repos if each.weights), None) or weights_in(name)
    active = _ACTIVE.search(name)
    claims = merged_claims(header.capabilities if header else (), *(each.capabilities for each in says))
    context = header.context_length if header else None
    return CatalogModel(
        id=model_id,
        lineage=lineage,
        generation=generation,
        line=line_of(name, next((each.pipeline for each in says if each.pipeline), None), claims),
        params=weights,
        active_params=round(float(active[1]) * 1e9) if active else None,
        gguf_weights=next((each.weights for each in repos if each.weights), None),
        architecture=header.architecture if header else Architecture(next((r.architecture for r in repos), None)),
        context_length=context or next((each.context_length for each in repos if each.context_length), None),
        license=next((each.license for each in says if each.license), None) or (header.license if header else None),
        released=(base.created if base else None)
        or min((each.created for each in repos if each.created), default=None),
        capabilities=claims,
        repositories=repositories,
        generation_rank=generation_rank(lineage, generation, known.models),
        downloads=max(each.downloads for each in says),
        likes=max(each.likes for each in says),
        sources=tuple(sorted({repository.source for repository in repositories})),
    )


def lineage_of(name: str, models: Iterable[CatalogModel]) -> tuple[str, str]:
    """(lineage, generation) a name tells: the longest lineage of the catalogue that it begins with, else its letters.

    >>> lineage_of("Tiny-2.5-4B-Instruct", ())
    ('tiny', '2.5')
    """
    lineages = {model.lineage for model in models if model.lineage and squash(name).startswith(squash(model.lineage))}
    lineage = max(lineages, key=lambda each: (len(squash(each)), each), default="")
    rest = _after(name, lineage)
    if not lineage:
        letters = re.match(r"[A-Za-z]+", name)
        lineage, rest = (letters[0].lower(), name[letters.end() :]) if letters else (name.lower(), "")
    generation = _GENERATION.match(rest)
    return lineage, generation[1].lower() if generation else ""


def generation_rank(lineage: str, generation: str, models: Iterable[CatalogModel]) -> int:
    """Where a generation stands in its lineage: its own rank, else one above the newest that it is newer than."""
    ranks: dict[str, int] = {}
    for model in models:
        if model.lineage == lineage:
            ranks[model.generation] = max(model.generation_rank, ranks.get(model.generation, 0))
    if generation in ranks or not generation:
        return ranks.get(generation, 0)
    older = [rank for other, rank in ranks.items() if _version(other) < _version(generation)]
    newest = max(ranks.values(), default=0)
    below = max(older, default=0)
    return newest + 1 if older and below == newest else below


def line_of(name: str, pipeline: str | None, claims: Claims) -> str:
    """What a model is for, by its name and by what it claims.

    >>> line_of("Qwen9-Coder-8B", "text-generation", ()), line_of("Qwen9-8B", None, ())
    ('coder', 'general')
    """
    if pipeline in _PIPELINE_LINES:
        return _PIPELINE_LINES[pipeline]
    lowered = name.lower()
    named = next((line for line, shape in _LINES if shape.search(lowered)), None)
    if named is None and any(capability == "embedding" for capability, _ in claims):
        return "embedding"
    return named or "general"


def weights_in(name: str) -> int | None:
    """Weights in all, as a name states them: ``8x7B`` multiplied, else the largest ``…B`` or ``…M``.

    >>> weights_in("Qwen3-30B-A3B"), weights_in("Mixtral-8x7B"), weights_in("gemma-3-270m-it"), weights_in("Phi")
    (30000000000, 56000000000, 270000000, None)
    """
    experts = _EXPERTS.search(name)
    if experts:
        return round(int(experts[1]) * float(experts[2]) * 1e9)
    found = [round(float(number) * (1e9 if unit in "bB" else 1e6)) for number, unit in _SIZE.findall(name)]
    return max(found, default=None)


def _after(name: str, lineage: str) -> str:
    """What follows the lineage in a name, whatever separators either of them has."""
    left = len(squash(lineage))
    for index, letter in enumerate(name):
        if left == 0:
            return name[index:]
        left -= len(squash(letter))
    return ""


def _version(generation: str) -> tuple[float, ...]:
    return tuple(float(number) for number in re.findall(r"\d+", generation))


def _is_repo(text: str) -> bool:
    try:
        split_repo(text)
    except ValueError:
        return False
    return True
