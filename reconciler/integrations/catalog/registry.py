"""A Docker-style registry: which manifest stands behind a name, without fetching its blobs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from reconciler.domain.artifact import Layer, RegistryArtifact
from reconciler.domain.names import OllamaName
from reconciler.domain.observation import RegistryNeed
from reconciler.domain.units import Bytes
from reconciler.errors import Corrupt, OutsideError, Refused, Unreachable
from reconciler.formats.foreign_json import read_json
from reconciler.integrations.http import Http, Reply
from reconciler.integrations.pauses import retry_after_seconds

MANIFEST_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)
_INDEX_TYPES = frozenset({
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
})  # fmt: skip
_LARGEST_MANIFEST_BYTES = 4 * 2**20
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_AUTHORITY = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*)(?::\d{1,5})?|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?")


class RegistryClient:
    """Reads manifests, anonymously.

    API: OCI distribution 1.1 as registry.ollama.ai, hf.co and Debian's docker-registry 2.8.2 speak it.
    No token is ever sent: a registry that asks for one is refused. A redirect to another host, or to plain HTTP, is not
    followed: what a manifest says is what the digests are taken from.

    Args:
        http: the door.
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    async def manifest(self, need: RegistryNeed) -> RegistryArtifact:
        """The manifest behind a name, with the digest of its bytes and the sizes of what it refers to.

        Plain HTTP only where the need says ``insecure``; a scheme in front of the name or the registry is dropped.

        Raises:
            Refused: ``not-found``, ``unauthorised``, ``not-installable`` (an index of several platforms), ``bad-name``.
            Unreachable: no answer, or one that says "later".
            Corrupt: not a manifest, or not the bytes its own digest header promises.
        """
        name = _name_of(need)
        scheme = "http" if need.insecure else "https"
        url = f"{scheme}://{name.host}/v2/{name.namespace}/{name.model}/manifests/{name.tag}"
        reply = await self._http.request(
            "GET",
            url,
            headers={"Accept": ", ".join(MANIFEST_TYPES)},
            follow_redirects="within-host",
            max_bytes=_LARGEST_MANIFEST_BYTES,
        )
        if not reply.ok:
            raise _error(reply, name)
        digest = hashlib.sha256(reply.body).hexdigest()
        promised = reply.headers.get("docker-content-digest", "")
        if _DIGEST.fullmatch(promised) and promised != f"sha256:{digest}":
            raise Corrupt(f"{name.host} sent other bytes for {name.canonical} than its digest promises")
        return RegistryArtifact(
            registry=name.host,
            namespace=name.namespace,
            name=name.model,
            tag=name.tag,
            manifest_digest=digest,
            layers=_layers(reply, name),
        )


def _name_of(need: RegistryNeed) -> OllamaName:
    try:
        name = OllamaName.parse(need.name)
    except ValueError as error:
        raise Refused(str(error), code="bad-name") from error
    host = re.sub(r"^https?://", "", need.registry or name.host, flags=re.IGNORECASE).rstrip("/")
    if not _AUTHORITY.fullmatch(host):
        raise Refused(f"not a registry: {host!r}; write a host, with :port where one is needed", code="bad-name")
    return OllamaName(host, name.namespace, name.model, name.tag)


def _layers(reply: Reply, name: OllamaName) -> tuple[Layer, ...]:
    manifest = reply.json()
    if not isinstance(manifest, Mapping):
        raise _not_a_manifest(name)
    kind = manifest.get("mediaType") or reply.headers.get("content-type", "").partition(";")[0]
    if kind in _INDEX_TYPES or "manifests" in manifest:
        raise Refused(f"{name.canonical} is an index of several images, not a model", code="not-installable")
    layers = manifest.get("layers")
    config = [manifest["config"]] if manifest.get("config") else []
    if not isinstance(layers, list) or not layers:
        raise _not_a_manifest(name)
    return tuple(_layer(row, name) for row in (*config, *layers))


def _layer(row: Any, name: OllamaName) -> Layer:
    digest, size = (row.get("digest"), row.get("size")) if isinstance(row, Mapping) else (None, None)
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest) or type(size) is not int or size < 0:
        raise _not_a_manifest(name)
    kind = row.get("mediaType")
    return Layer(digest=digest, bytes=Bytes(size), media_type=kind if isinstance(kind, str) else "")


def _not_a_manifest(name: OllamaName) -> Corrupt:
    return Corrupt(f"{name.host} did not answer with a manifest for {name.canonical}", code="bad-answer")


def _error(reply: Reply, name: OllamaName) -> OutsideError:
    """Our error for an answer that is not 2xx. Source: OCI distribution specification 1.1, "Error codes"."""
    text = f"{name.host} answers {reply.status} for {name.canonical}"
    said = _said(reply)
    text = f"{text}: {said}" if said else text
    if reply.status == 404:
        hint = "check the name and the tag"
        return Refused(text, code="not-found", hint=hint)
    if reply.status in {401, 403}:
        hint = (
            "it does not exist, or the registry wants a login, which is not supported: use one that answers anonymously"
        )
        return Refused(text, code="unauthorised", hint=hint)
    if reply.status == 400:
        return Refused(text, code="bad-name")
    wait = retry_after_seconds(reply.headers)
    code = "rate-limited" if reply.status == 429 else "unreachable"
    return Unreachable(text, code=code, retry_after_seconds=wait)


def _said(reply: Reply) -> str:
    """The registry's own words, made harmless for a terminal."""
    try:
        errors = read_json(reply.body).get("errors") or [{}]
        said = str(errors[0].get("message") or errors[0].get("code") or "")
    except (ValueError, AttributeError, LookupError, TypeError, RecursionError):
        said = ""
    return "".join(letter if letter.isprintable() else " " for letter in said[:200]).strip()
