"""``/api/create``, as far as tests need it, by Ollama 0.33.0-rc2."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tests.doubles.ollama_download import Faults
from tests.doubles.ollama_model import CONFIG_TYPE, MANIFEST_TYPE
from tests.doubles.ollama_pull import pull
from tests.doubles.ollama_store import IMAGE, Name, gguf_pairs

if TYPE_CHECKING:
    from tests.doubles.ollama import OllamaDouble

_ADAPTERS_REMOVED = (0, 34, 1)


def create(server: OllamaDouble, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Status lines. A first line with only ``error`` is a 400; a later one may be followed by ``success`` all the same."""
    store, name = server.store, Name.parse(str(body.get("model") or body.get("name")))
    version = tuple(int(part) for part in server.version.split("-")[0].split("."))
    if body.get("adapters") and version >= _ADAPTERS_REMOVED:
        yield {"error": "adapters are not supported"}
        return
    missing = [d for d in (body.get("files") or {}).values() if not store.blob(d).exists()]
    if missing or not (body.get("from") or body.get("files")):
        yield {"error": f"blob {missing[0]} not found" if missing else "neither 'from' or 'files' was specified"}
        return
    layers: list[dict[str, Any]] = []
    described: dict[str, Any] = {"model_format": "gguf", "model_family": "llama"}
    if body.get("from"):
        source = Name.parse(body["from"])
        if store.find(source) is None:  # a full pull, inside the create
            server.pulled.append(source.short)
            yield from (
                line for line in pull(server, source, insecure=False, faults=Faults()) if isinstance(line, dict)
            )
        stored = store.find(source)
        if stored is not None:
            # every layer says whose it was; the weights' word is what /api/show calls parent_model
            layers = [{**layer, "from": stored.name.short} for layer in stored.layers[:-1]]
            described = json.loads(store.blob(stored.document["config"]["digest"]).read_bytes())
    for digest in (body.get("files") or {}).values():
        yield {"status": "parsing GGUF"}
        # since 0.30 the upload is rewritten: another digest, and the upload stays behind as an orphan
        layers.append(store.add_blob(store.blob(digest).read_bytes() + b"\0", IMAGE + "model"))
        yield {"status": f"creating new layer {layers[-1]['digest']}"}
    for digest in (body.get("adapters") or {}).values():
        if not store.blob(digest).exists():
            yield {"error": f"blob {digest} not found"}
            return
        with store.blob(digest).open("rb") as file:
            if gguf_pairs(file).get("general.type", "adapter") != "adapter":
                yield {"error": "no adapter in it"}
                return
        layers.append({"mediaType": IMAGE + "adapter", "digest": digest, "size": store.blob(digest).stat().st_size})
    inherited = {layer["digest"] for layer in layers}
    layers = _with_texts(server, body, layers)
    described["rootfs"] = {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}
    config = store.add_blob(json.dumps(described).encode(), CONFIG_TYPE)
    for layer in (*layers, config):
        known = layer["digest"] in inherited
        yield {"status": f"{'using existing' if known else 'creating new'} layer {layer['digest']}"}
    yield {"status": "writing manifest"}
    document = {
        "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config,
        "layers": layers,
    }  # fmt: skip
    old = store.find(name)
    store.write(name, json.dumps(document, separators=(",", ":")).encode())
    if old is not None and not server.no_prune:
        store.remove_unused(layer["digest"] for layer in old.layers)
    yield {"status": "success"}


def _with_texts(server: OllamaDouble, body: dict[str, Any], layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Template and system of the body replace those that came with ``from``; parameters are laid over theirs."""
    texts = {"template": body.get("template"), "system": body.get("system")}
    if body.get("parameters"):
        inherited = next((layer for layer in layers if layer["mediaType"] == IMAGE + "params"), None)
        before = json.loads(server.store.blob(inherited["digest"]).read_bytes()) if inherited else {}
        texts["params"] = json.dumps({**before, **body["parameters"]})
    for kind, text in texts.items():
        if text:
            layers = [layer for layer in layers if layer["mediaType"] != IMAGE + kind]
            layers.append(server.store.add_blob(text.encode(), IMAGE + kind))
    return layers
