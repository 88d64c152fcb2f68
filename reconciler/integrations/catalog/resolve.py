"""What stands behind one quant of one Hub repository: commit, files, sizes, SHA-256, and whether it may be fetched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

from reconciler.domain.artifact import ArtifactFile, HubArtifact
from reconciler.domain.catalog import Build, CatalogModel
from reconciler.domain.observation import HubNeed, RegistryNeed, Resolved, Unavailable
from reconciler.errors import Corrupt, OutsideError, Refused
from reconciler.formats.gguf_names import builds, projectors, quant_of
from reconciler.integrations.catalog.discovery import (
    Find,
    HeaderFacts,
    Known,
    merged_claims,
    model_from,
    repository_of,
    smallest_file,
)
from reconciler.integrations.catalog.hub_wire import HubFile, HubRepo
from reconciler.integrations.catalog.refresh import header_facts
from reconciler.ranking.quants import bits_per_weight, normalise

if TYPE_CHECKING:
    from reconciler.integrations.catalog.hub import HubClient

HIGHEST_BITS = 8.6
"""Without a named quant the build of most bits wins, up to this: Q8_0 (8.5) keeps what F16 keeps in half the size."""
_PROJECTOR_ORDER = ("F16", "BF16", "Q8_0", "F32")
_CODES = frozenset({"not-found", "unauthorised", "gated", "not-installable"})


async def resolve_hub(client: HubClient, need: HubNeed, known: Known, *, today: date) -> Resolved | Unavailable:
    """The answer to a Hub need: two requests, one more for a gated repository, and a header for a model nobody knows.

    Raises:
        OutsideError: what ``unavailable`` turns into an answer.
    """
    repo = await client.model(need.repo, need.revision or "main")
    if repo.disabled:
        return Unavailable(need=need, code="not-installable", message=f"{repo.id} is disabled on the Hub")
    if repo.commit is None:
        raise Corrupt(f"the Hub names no commit of {repo.id}", code="bad-answer")
    tree = await client.tree(repo.id, repo.commit)
    chosen = _chosen(need, tree.files)
    if isinstance(chosen, Unavailable):
        return chosen
    files = _files(chosen, tree.files)
    without = [file.path for file in files if file.sha256 is None]
    if without:
        text = f"the Hub states no SHA-256 for {', '.join(without)} of {repo.id}: it could not be verified"
        return Unavailable(need=need, code="not-installable", message=text)
    refusal = await _gate(client, need, repo, files[0])
    if refusal is not None:
        return refusal
    model = await _model(client, repo, tree.files, known, today)
    return Resolved(
        need=need,
        artifact=HubArtifact(
            endpoint=client.endpoint,
            repo=repo.id,
            commit=repo.commit,
            files=tuple(ArtifactFile(path=each.path, bytes=each.bytes, sha256=each.sha256 or "") for each in files),
        ),
        gated=repo.gated,
        model=model,
        claimed_base=repo.quantized_from,
        notes=tree.notes,
    )


def unavailable(need: HubNeed | RegistryNeed, error: OutsideError) -> Unavailable:
    """An error as the answer it stands for. Nonsense counts as no answer: a login page must not cost a pick."""
    message = f"{error.message}; {error.hint}" if error.hint else error.message
    if isinstance(error, Refused) and error.code in _CODES:
        return Unavailable.model_validate({"need": need, "code": error.code, "message": message})
    if isinstance(error, Refused) and error.code == "bad-name":
        return Unavailable(need=need, code="not-found", message=message)
    if isinstance(error, Corrupt) and error.code != "bad-answer":
        return Unavailable(need=need, code="corrupt", message=message)
    return Unavailable(need=need, code="unreachable", message=message)


def best_build(made: Iterable[Build]) -> Build:
    """The build of most bits up to ``HIGHEST_BITS``, else the smallest; what states no known quant comes last."""
    ordered = sorted(made, key=lambda build: (not normalise(build.quant).known, build.bytes, build.quant))
    fine = [build for build in ordered if normalise(build.quant).known and bits_per_weight(build.quant) <= HIGHEST_BITS]
    return max(fine, key=lambda build: (bits_per_weight(build.quant), build.bytes)) if fine else ordered[0]


def _chosen(need: HubNeed, files: Iterable[HubFile]) -> Build | Unavailable:
    made = builds((file.path, file.bytes, file.sha256) for file in files)
    if not made:
        text = f"{need.repo} holds no complete GGUF model"
        return Unavailable(need=need, code="not-installable", message=text)
    if need.quant is None:
        return best_build(made)
    wanted = {need.quant.upper(), normalise(need.quant).canonical.upper(), (quant_of(need.quant) or "").upper()}
    found = next((build for build in made if build.quant.upper() in wanted), None)
    if found is not None:
        return found
    text = f"{need.repo} has no {need.quant}; it has {', '.join(build.quant for build in made)}"
    return Unavailable(need=need, code="not-found", message=text)


def _files(build: Build, files: Iterable[HubFile]) -> tuple[HubFile, ...]:
    """Shard 1 first, a projector last."""
    by_path = {file.path: file for file in files}
    held = projectors((file.path, file.bytes, file.sha256) for file in by_path.values())
    ranked = sorted(held, key=lambda file: (_projector_rank(file[0]), file[0]))
    return tuple(by_path[path] for path in (*build.files, *(file[0] for file in ranked[:1])))


def _projector_rank(path: str) -> int:
    quant = quant_of(path)
    return _PROJECTOR_ORDER.index(quant) if quant in _PROJECTOR_ORDER else len(_PROJECTOR_ORDER)


async def _gate(client: HubClient, need: HubNeed, repo: HubRepo, file: HubFile) -> Unavailable | None:
    """Whether a gated repository would give its files: only a request for one can tell."""
    if not repo.gated:
        return None
    page = f"{client.endpoint}/{repo.id}"
    if not client.has_token:
        text = f"{repo.id} is gated: accept its licence at {page}, then name a token in hub.tokenFrom or HF_TOKEN"
        return Unavailable(need=need, code="gated", message=text)
    try:
        await client.head(repo.id, repo.commit or "main", file.path)
    except Refused as error:
        if error.code not in {"gated", "unauthorised"}:
            raise
        text = f"{repo.id} is gated, and this token may not read it: accept its licence at {page}"
        return Unavailable(need=need, code="gated", message=text)
    return None


async def _model(
    client: HubClient, repo: HubRepo, files: Iterable[HubFile], known: Known, today: date
) -> CatalogModel | None:
    """What the source says of the model, where that is more than the catalogue says; None where it is not."""
    base = repo.quantized_from or repo.id
    own = (repo.organisation,) if base.partition("/")[0] == repo.organisation else ()
    find = known.packaged(repo, publishers=own) or Find(repo, repo.id, claimed=False, known=None)
    if find.known is not None:
        claims = merged_claims(find.known.capabilities, repo.capabilities)
        more = {name for name, _ in claims} - {name for name, _ in find.known.capabilities}
        return replace(find.known, capabilities=claims) if more else None
    held = tuple(files)
    repository = repository_of(find, held, today)
    header = await _header(client, repo, held)
    return model_from(find.model_id, [repo], header, None, known, (repository,) if repository else ())


async def _header(client: HubClient, repo: HubRepo, files: Iterable[HubFile]) -> HeaderFacts | None:
    """The header's facts. A header that cannot be read costs the dimensions, not the answer."""
    file = smallest_file(files)
    try:
        return await header_facts(client, repo, file) if file else None
    except OutsideError:
        return None
