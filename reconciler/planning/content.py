"""Is what is installed what we recorded, or what we want? By stamp where that is enough, else by digest."""

from __future__ import annotations

from typing import Literal

from reconciler.domain.observation import DigestNeed, Installed, Resolved
from reconciler.domain.record import RecordEntry
from reconciler.planning.scene import Scene

Sameness = Literal["same", "other"]


def digest_of(scene: Scene, target: str, installed: Installed) -> str | DigestNeed | None:
    """The content's digest; the need whose answer would tell it; or None when nobody can tell."""
    if installed.digest is not None:
        return installed.digest
    need = DigestNeed(target=target, name=installed.name)
    answer = scene.answer(need)
    if answer is None:
        return need
    if isinstance(answer, Resolved) and answer.digest and answer.stamp in (None, installed.stamp):
        return answer.digest
    return None


def as_recorded(scene: Scene, target: str, installed: Installed, entry: RecordEntry) -> Sameness | DigestNeed:
    """Against our record. An untouched stamp is enough; where nothing can be compared, nothing has drifted."""
    if entry.stamp is not None and entry.stamp == installed.stamp:
        return "same"
    if entry.digest is None:
        return "same"
    found = digest_of(scene, target, installed)
    if isinstance(found, DigestNeed):
        return found
    return "same" if found is None or found == entry.digest else "other"


def as_wanted(scene: Scene, target: str, installed: Installed, wanted: Resolved | None) -> Sameness | DigestNeed:
    """A foreign model against what a pin resolves to: size first, because reading 20 GB is a last resort."""
    if wanted is None or wanted.artifact is None:
        return "same"
    blobs = {blob.removeprefix("sha256:") for blob in installed.blobs}
    parts = wanted.artifact.digest.split("+")
    if blobs and wanted.artifact.kind == "hub":
        return "same" if parts[0] in blobs else "other"
    if wanted.artifact.kind == "hub" and installed.files and installed.bytes != wanted.artifact.bytes:
        return "other"
    found = digest_of(scene, target, installed)
    if isinstance(found, DigestNeed):
        return found
    return "same" if found is None or found == wanted.artifact.digest else "other"
