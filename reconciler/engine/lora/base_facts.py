"""The base of an adapter, by the file that a person or a target names of it; else as the catalogue has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from reconciler.engine.lora.adapter_facts import read_gguf_model
from reconciler.errors import ReconcilerError
from reconciler.formats.foreign_json import read_object
from reconciler.lora.adapter_config import CONFIG_LIMIT_BYTES
from reconciler.lora.base_shapes import BaseFacts, base_from_catalogue, base_from_config, base_from_gguf
from reconciler.lora.routes import Route
from reconciler.ports import AdapterFiles


def base_facts(route: Route, files: AdapterFiles, *, config: str | None, gguf: str | None) -> BaseFacts | None:
    """What the base is made of; None: nothing tells.

    Args:
        route: that it belongs to.
        files: where the paths are read.
        config: its ``config.json``, or its folder.
        gguf: its weights; they go before ``config``.

    Raises:
        ReconcilerError: ``base-invalid``: a file is not what it should be.
        OutsideError: it cannot be read.
    """
    if gguf is not None:
        return _base_of_gguf(gguf, route, files)
    if config is not None:
        return base_from_config(_base_config(config, files))
    return base_from_catalogue(route.model) if route.model is not None else None


def _base_of_gguf(path: str, route: Route, files: AdapterFiles) -> BaseFacts:
    """By all its shards; where some are not there, what the first of them says of its architecture is all."""
    try:
        header, tensors, missing = read_gguf_model(path, files)
    except ValueError as flaw:
        raise _invalid(path, str(flaw), "give the base's GGUF file") from flaw
    if header.kind != "model":
        what = f"an {header.kind}" if header.kind[:1] in "aeiou" else f"a {header.kind}"
        raise _invalid(path, f"it holds {what}", "give the base's GGUF file")
    if not missing:
        return base_from_gguf(header, tensors)
    known = base_from_catalogue(route.model) if route.model is not None else None
    return replace(known or BaseFacts("gguf", header.architecture, header.layers), missing=missing)


def _base_config(given: str, files: AdapterFiles) -> Mapping[str, Any]:
    path = given if given.endswith(".json") else f"{given.rstrip('/')}/config.json"
    raw = files.beginning(path, CONFIG_LIMIT_BYTES + 1)
    try:
        return read_object(raw, limit_bytes=CONFIG_LIMIT_BYTES)
    except ValueError as flaw:
        raise _invalid(path, str(flaw), "give the config.json of the base, or its folder") from flaw


def _invalid(path: str, reason: str, hint: str) -> ReconcilerError:
    return ReconcilerError(f"{path}: {reason}", code="base-invalid", hint=hint)
