from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from reconciler.domain.observation import RegistryNeed
from reconciler.errors import Corrupt, Refused, Unreachable
from reconciler.integrations.catalog.registry import MANIFEST_TYPES, RegistryClient
from reconciler.integrations.clock import SystemClock
from reconciler.integrations.http import Http, MockTransport, Request, Response
from tests.doubles.docker_registry import DockerRegistry, skip_without
from tests.integrations.catalog.world import StillClock

A, B = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
MODEL = "application/vnd.ollama.image.model"
MANIFEST = {
    "schemaVersion": 2,
    "mediaType": MANIFEST_TYPES[0],
    "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": A, "size": 400},
    "layers": [{"mediaType": MODEL, "digest": B, "size": 5_000_000_000}],
}


def registry(response: Response, asked: list[Request] | None = None) -> RegistryClient:
    def answer(request: Request) -> Response:
        if asked is not None:
            asked.append(request)
        return response

    return RegistryClient(Http(clock=StillClock(), transport=MockTransport(answer), retries=0))


async def test_a_manifest_is_an_artifact_with_the_digest_of_its_bytes() -> None:
    body = json.dumps(MANIFEST, indent=3).encode()
    asked: list[Request] = []
    artifact = await registry(Response(200, content=body), asked).manifest(RegistryNeed(name="qwen3:8b"))
    assert str(asked[0].url) == "https://registry.ollama.ai/v2/library/qwen3/manifests/8b"
    assert asked[0].headers["accept"] == ", ".join(MANIFEST_TYPES)
    assert "authorization" not in asked[0].headers
    assert artifact.manifest_digest == hashlib.sha256(body).hexdigest()
    assert (artifact.registry, artifact.namespace, artifact.name, artifact.tag) == (
        "registry.ollama.ai",
        "library",
        "qwen3",
        "8b",
    )
    assert [(layer.digest, layer.bytes, layer.media_type) for layer in artifact.layers][1] == (B, 5_000_000_000, MODEL)
    assert artifact.bytes == 5_000_000_400


@pytest.mark.parametrize(
    ("need", "url"),
    [
        (RegistryNeed(name="llama3.2"), "https://registry.ollama.ai/v2/library/llama3.2/manifests/latest"),
        (RegistryNeed(name="me/mine:q4"), "https://registry.ollama.ai/v2/me/mine/manifests/q4"),
        (RegistryNeed(name="hf.co/Qwen/Qwen3-8B-GGUF:Q4_K_M"), "https://hf.co/v2/Qwen/Qwen3-8B-GGUF/manifests/Q4_K_M"),
        (
            RegistryNeed(name="10.0.0.2:5000/Qwen/X:Q8_0", registry="10.0.0.2:5000", insecure=True),
            "http://10.0.0.2:5000/v2/Qwen/X/manifests/Q8_0",
        ),
        (
            RegistryNeed(name="qwen3", registry="https://mirror.lan/"),
            "https://mirror.lan/v2/library/qwen3/manifests/latest",
        ),
        (RegistryNeed(name="http://mirror.lan/a/b:c"), "https://mirror.lan/v2/a/b/manifests/c"),
    ],
)
async def test_names_and_registries_become_addresses_and_plain_http_only_when_insecure(
    need: RegistryNeed, url: str
) -> None:
    asked: list[Request] = []
    await registry(Response(200, json=MANIFEST), asked).manifest(need)
    assert str(asked[0].url) == url


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (404, Refused, "not-found"),
        (401, Refused, "unauthorised"),
        (403, Refused, "unauthorised"),
        (400, Refused, "bad-name"),
        (429, Unreachable, "rate-limited"),
        (503, Unreachable, "unreachable"),
    ],
)
async def test_errors_have_clear_codes(status: int, kind: type[Exception], code: str) -> None:
    body = {"errors": [{"code": "X", "message": "said\x1b[0m so"}]}
    headers = {"Www-Authenticate": 'Bearer realm="https://auth.example/token"'} if status == 401 else {}
    with pytest.raises(kind) as caught:
        await registry(Response(status, json=body, headers=headers)).manifest(RegistryNeed(name="qwen3"))
    assert caught.value.code == code  # type: ignore[attr-defined]
    assert "said [0m so" in caught.value.message  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["", "a/b/c/d:e", "a b", "x:", "../etc:y"])
async def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(Refused) as caught:
        await registry(Response(200)).manifest(RegistryNeed(name=name))
    assert caught.value.code == "bad-name"


@pytest.mark.parametrize("host", ["evil.example/path", "user@host", "a b", "host?x"])
async def test_a_registry_that_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(Refused):
        await registry(Response(200)).manifest(RegistryNeed(name="qwen3", registry=host))


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b"{}",
        b'{"layers": []}',
        b'{"layers": [3]}',
        json.dumps({"layers": [{"digest": "sha256:short", "size": 1}]}).encode(),
        json.dumps({"layers": [{"digest": A, "size": -1}]}).encode(),
        json.dumps({"layers": [{"digest": A, "size": True}]}).encode(),
        json.dumps({"config": "x", "layers": [{"digest": A, "size": 1}]}).encode(),
    ],
)
async def test_what_is_no_manifest_is_a_bad_answer(body: bytes) -> None:
    with pytest.raises(Corrupt) as caught:
        await registry(Response(200, content=body)).manifest(RegistryNeed(name="qwen3"))
    assert caught.value.code == "bad-answer"


async def test_an_index_of_platforms_is_not_installable() -> None:
    with pytest.raises(Refused) as caught:
        await registry(Response(200, json={"manifests": []})).manifest(RegistryNeed(name="qwen3"))
    assert caught.value.code == "not-installable"


async def test_other_bytes_than_the_digest_promises_are_corrupt() -> None:
    with pytest.raises(Corrupt) as caught:
        await registry(Response(200, json=MANIFEST, headers={"Docker-Content-Digest": A})).manifest(
            RegistryNeed(name="q")
        )
    assert caught.value.code == "corrupt"


async def test_a_redirect_to_plain_http_is_not_followed_silently() -> None:
    def answer(request: Request) -> Response:
        if request.url.scheme == "https":
            return Response(307, headers={"Location": "http://registry.ollama.ai/x"})
        return Response(200, json=MANIFEST)

    client = RegistryClient(Http(clock=StillClock(), transport=MockTransport(answer), retries=0))
    with pytest.raises(Refused):
        await client.manifest(RegistryNeed(name="qwen3"))


async def test_a_redirect_to_another_host_is_not_followed_for_its_answer_would_name_the_digests() -> None:
    asked = []

    def answer(request: Request) -> Response:
        asked.append(request.url.host)
        if request.url.host == "registry.ollama.ai":
            return Response(307, headers={"Location": "https://evil.example/v2/library/qwen3/manifests/latest"})
        return Response(200, json=MANIFEST)

    with pytest.raises(Refused) as caught:
        await RegistryClient(Http(clock=StillClock(), transport=MockTransport(answer), retries=0)).manifest(
            RegistryNeed(name="qwen3")
        )
    assert (caught.value.code, asked) == ("bad-redirect", ["registry.ollama.ai"])


@pytest.mark.e2e
async def test_a_real_docker_registry_is_understood(tmp_path: Path) -> None:
    skip_without("docker-registry", "apt-get install docker-registry")
    weights, config = b"GGUF" + b"w" * 5000, b'{"model_format":"gguf"}'
    http = Http(clock=SystemClock())
    with DockerRegistry(tmp_path) as running:
        host = running.url.removeprefix("http://")
        blobs = {hashlib.sha256(blob).hexdigest(): blob for blob in (config, weights)}
        for digest, blob in blobs.items():
            await push_blob(running.url, digest, blob)
        digests = list(blobs)
        manifest = {
            **MANIFEST,
            "config": {**MANIFEST["config"], "digest": f"sha256:{digests[0]}", "size": len(config)},
            "layers": [{"mediaType": MODEL, "digest": f"sha256:{digests[1]}", "size": len(weights)}],
        }
        body = json.dumps(manifest).encode()
        await push(f"{running.url}/v2/library/tiny/manifests/q4", body, "PUT", MANIFEST_TYPES[0])
        client = RegistryClient(http)
        artifact = await client.manifest(RegistryNeed(name=f"{host}/library/tiny:q4", insecure=True))
        with pytest.raises(Refused) as caught:
            await client.manifest(RegistryNeed(name="tiny:nope", registry=host, insecure=True))
    await http.close()
    assert artifact.manifest_digest == hashlib.sha256(body).hexdigest()
    assert [layer.digest for layer in artifact.layers] == [f"sha256:{digest}" for digest in digests]
    assert artifact.bytes == len(config) + len(weights)
    assert caught.value.code == "not-found"
    assert "unknown" in caught.value.message.lower()


async def push_blob(url: str, digest: str, blob: bytes) -> None:
    where = await push(f"{url}/v2/library/tiny/blobs/uploads/", b"", "POST")
    await push(f"{where}&digest=sha256:{digest}", blob, "PUT", "application/octet-stream")


async def push(url: str, body: bytes, method: str, kind: str = "") -> str:
    import asyncio
    import urllib.request

    def send() -> str:
        request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": kind} if kind else {})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.headers.get("Location", "")

    return await asyncio.to_thread(send)
