"""Requests about adapters whose answers a vLLM and its double are compared by, with what differs each time taken out."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BASE = ("acme/tiny", "tiny")
KEY = "a-key-of-the-tests"
REFUSED = ("tokens", "replicated", "alora", "lorabias", "pissa", "olora", "corda", "loftq", "bdlora", "qalora")
"""By what they say of themselves, or a tensor that is no half of a pair."""
TAKEN = ("ranks", "embedding", "orthogonal", "eva", "deep")
_NAME = "localmodels-answers"


@dataclass(frozen=True)
class Asked:
    """One request; ``body`` is sent as it is."""

    title: str
    path: str
    body: bytes | None = None
    key: str | None = KEY
    kind: str = "application/json"


def asked(folder: Path) -> Iterator[Asked]:
    """In this order; at the end the server serves what it served before.

    Args:
        folder: where the base and the adapters of ``scripts/real_vllm_model.py`` are, as the server sees it.
    """
    yield from (
        Asked("health", "/health"),
        Asked("health without a key", "/health", key=None),
        Asked("version", "/version"),
        Asked("no key", "/v1/models", key=None),
        Asked("a wrong key", "/v1/models", key="wrong"),
        Asked("no key for a route that is not there", "/v1/nothing", key=None),
        Asked("a route that is not there", "/v1/nothing"),
        Asked("the loading route is there", "/v1/load_lora_adapter"),
        Asked("the unloading route is there", "/v1/unload_lora_adapter"),
        Asked("what it was started with", "/server_info?config_format=json", key=None),
        Asked("the prefix cache", "/reset_prefix_cache", b""),
        Asked("models", "/v1/models"),
        _completion("the base answers", BASE[0]),
        _completion("by its other name", BASE[1]),
        _completion("a name that is not served", "nobody"),
        Asked("no embeddings", "/v1/embeddings", json.dumps({"model": BASE[0], "input": "a"}).encode()),
        Asked("metrics", "/metrics", key=None),
    )
    yield from _loading(folder)
    yield from _unloading()


def _loading(folder: Path) -> Iterator[Asked]:
    yield from (
        _load("an adapter", _NAME, folder / "one"),
        _load("it again", _NAME, folder / "one"),
        _load("another under its name", _NAME, folder / "two"),
        Asked("models with an adapter", "/v1/models"),
        _completion("the adapter answers", _NAME),
        _load("a rank beyond the limit, in place", _NAME, folder / "rank24", load_inplace=True),
        _load("another in place", _NAME, folder / "two", load_inplace=True),
        _load("the highest rank", f"{_NAME}-2", folder / "rank16"),
        Asked("models with two adapters", "/v1/models"),
    )
    for name in (
        "rank24",
        "pattern",
        "dora",
        "bias",
        "saved",
        "truncated",
        "noweights",
        "noconfig",
        "nowhere",
        *REFUSED,
    ):
        yield _load(name, f"{_NAME}-{name}", folder / name)
    for name in TAKEN:
        yield _load(name, f"{_NAME}-{name}", folder / name)
        yield _completion(f"{name} answers", f"{_NAME}-{name}")
        yield _step("unload", name, {"lora_name": f"{_NAME}-{name}"})
    yield from (
        _load("of a Hub that does not answer", f"{_NAME}-hub", "acme/nowhere"),
        _load("the name of the base", BASE[1], folder / "one"),
        _load("no name", "", folder / "one"),
        _step("load", "nothing said", {}),
        _step("load", "a number for a name", {"lora_name": 7, "lora_path": "a"}),
        _step("load", "a list", [1]),
        Asked("load: no JSON", "/v1/load_lora_adapter", b"x"),
        Asked("load: not said to be JSON", "/v1/load_lora_adapter", b"{}", kind="text/plain"),
    )


def _unloading() -> Iterator[Asked]:
    yield from (
        _step("unload", "the adapter", {"lora_name": _NAME}),
        _step("unload", "the other", {"lora_name": f"{_NAME}-2"}),
        _step("unload", "it again", {"lora_name": _NAME}),
        _step("unload", "no name", {"lora_name": ""}),
        _step("unload", "nothing said", {}),
        _completion("the adapter answers no more", _NAME),
        Asked("models at the end", "/v1/models"),
    )


def _load(title: str, name: str, path: Path | str, **more: Any) -> Asked:
    return _step("load", title, {"lora_name": name, "lora_path": str(path), **more})


def _step(verb: str, title: str, body: Any) -> Asked:
    return Asked(f"{verb}: {title}", f"/v1/{verb}_lora_adapter", json.dumps(body).encode())


def _completion(title: str, model: str) -> Asked:
    body = {"model": model, "prompt": "a", "max_tokens": 1, "temperature": 0}
    return Asked(title, "/v1/completions", json.dumps(body).encode())


def answers(url: str, folder: Path) -> dict[str, list[Any]]:
    """Title → status and body, comparable."""
    return {one.title: list(_answer(url, one, folder)) for one in asked(folder)}


def _answer(url: str, one: Asked, folder: Path) -> tuple[int, Any]:
    headers = {"Content-Type": one.kind} | ({"Authorization": f"Bearer {one.key}"} if one.key else {})
    request = urllib.request.Request(url + one.path, one.body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, _comparable(one.path, reply.read().decode(), folder)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _comparable(one.path, error.read().decode(), folder)


def _comparable(path: str, text: str, folder: Path) -> Any:
    """Without times, identities and the places of this host. The server hides some of those itself, in errors only."""
    if path == "/metrics":
        return _measured(text)
    text = re.sub(r'"(created)":\d+', r'"\1":0', re.sub(r"modelperm-[0-9a-f]{16}", "modelperm-0", text))
    text = text.replace(str(folder), "FOLDER")
    try:
        document = json.loads(text)
    except ValueError:
        return text
    if "error" in document and isinstance(document["error"], dict):
        document["error"]["message"] = re.sub(r"FOLDER/\w+", "<path>", document["error"]["message"])
    if document.get("object") == "text_completion":
        return {key: document[key] for key in ("object", "model")}
    if "vllm_config" in document:
        lora = document["vllm_config"]["lora_config"]
        return {key: lora[key] for key in ("max_lora_rank", "max_loras", "max_cpu_loras")}
    return document


def _measured(text: str) -> list[str]:
    """What is told of requests and adapters while nobody is answered."""
    wanted = re.compile(r"(?:# (?:HELP|TYPE) )?vllm:(?:num_requests_(?:running|waiting)|lora_requests_info)[ {]")
    lines = [re.sub(r" \d\.\d+e\+09$", " MOMENT", line) for line in text.splitlines() if wanted.match(line)]
    return [line for line in lines if "lora_adapters=" not in line or 'running_lora_adapters=""' in line]
