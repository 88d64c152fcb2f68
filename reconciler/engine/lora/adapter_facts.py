"""An adapter as its files are: configuration and headers of the weights, read in bounded pieces."""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.domain.finding import Finding
from reconciler.errors import ReconcilerError
from reconciler.formats.gguf import PREFIX_BYTES, GgufHeader, NeedMore, TensorEntry, read_header, read_tensors
from reconciler.formats.gguf_adapter import AdapterTensor, gguf_adapter
from reconciler.formats.safetensors_header import LENGTH_BYTES, read_safetensors
from reconciler.lora.adapter_config import CONFIG_LIMIT_BYTES, AdapterConfig, read_adapter_config
from reconciler.lora.adapter_files import AdapterFile, AdapterPlace
from reconciler.lora.findings import error, note, warning
from reconciler.lora.weights import AdapterFacts, facts_of
from reconciler.ports import AdapterFiles

_PICKLES = (".bin", ".pt", ".pth")


@dataclass(frozen=True, slots=True)
class ReadAdapter:
    """What could be read, and what stood in the way."""

    config: AdapterConfig | None
    facts: AdapterFacts | None
    base_names: tuple[str, ...] = ()
    """What a GGUF file says it was made from."""
    findings: tuple[Finding, ...] = ()
    digests: dict[str, str] = field(default_factory=dict)
    """Hex SHA-256 by file name. Pickles are left out, and weights of which not even the header can be read."""


def read_adapter(place: AdapterPlace, files: AdapterFiles) -> ReadAdapter:
    """Everything that an adapter's files say of themselves.

    Raises:
        ReconcilerError: ``adapter-invalid``: its configuration is not JSON.
        OutsideError: a file cannot be read.
    """
    findings = [
        error("file_refused", f"{name} was not read: {reason}", "put the file itself there")
        for name, reason in place.refused
    ]
    config = _config(place.config, files) if place.config else None
    readable = [each for each in place.weights if not each.name.lower().endswith(_PICKLES)]
    facts, names, flaws = _weights(readable, files)
    findings += [*_missing(place), *_pickles(place, readable), *flaws]
    whole = readable if facts is not None else []
    digests = {each.name: files.digest(each.path) for each in (place.config, *whole) if each}
    return ReadAdapter(config, facts, names, tuple(findings), digests)


def read_gguf_table(path: str, files: AdapterFiles) -> tuple[GgufHeader, tuple[TensorEntry, ...], int]:
    """(header, tensor table, size) of a GGUF file.

    Raises:
        ValueError: it is none.
        OutsideError: it cannot be read.
    """
    size = files.size(path)
    data = files.beginning(path, PREFIX_BYTES)
    while True:
        header = read_header(data, size=size)
        tensors = header if isinstance(header, NeedMore) else read_tensors(data, header, size=size)
        if not isinstance(header, NeedMore) and not isinstance(tensors, NeedMore):
            return header, tensors, size
        wanted = tensors.bytes if isinstance(tensors, NeedMore) else 0
        longer = files.beginning(path, wanted)
        if len(longer) <= len(data):
            raise ValueError("the file became shorter while it was read")
        data = longer


def _config(file: AdapterFile, files: AdapterFiles) -> AdapterConfig:
    try:
        return read_adapter_config(files.beginning(file.path, CONFIG_LIMIT_BYTES + 1))
    except ValueError as flaw:
        raise ReconcilerError(
            f"{file.path} is not an adapter's configuration: {flaw}",
            code="adapter-invalid",
            hint="save the adapter again, or copy it again",
        ) from flaw


def _missing(place: AdapterPlace) -> list[Finding]:
    if not place.exists or place.weights:
        return []
    return [error("weights_missing", f"no weights in {place.path}", "adapter_model.safetensors belongs there")]


def _pickles(place: AdapterPlace, readable: list[AdapterFile]) -> list[Finding]:
    names = [each.name for each in place.weights if each not in readable]
    if not names:
        return []
    if readable:
        return [note("weights_pickle", f"{names[0]} is a pickle beside safer weights, and was not opened")]
    return [
        warning(
            "weights_pickle",
            f"{names[0]} is a pickle: it runs code when it is loaded. It was not opened, so nothing is verified",
            "ask for adapter_model.safetensors",
        )
    ]


def _weights(
    readable: list[AdapterFile], files: AdapterFiles
) -> tuple[AdapterFacts | None, tuple[str, ...], list[Finding]]:
    """Facts of the first file: safetensors before GGUF. A runtime loads one, so further ones are only named."""
    if not readable:
        return None, (), []
    first, *others = readable
    same = [each.name for each in others if each.name.lower().endswith(".gguf")]
    found: list[Finding] = []
    if same and first.name.lower().endswith(".gguf"):
        text = f"several GGUF files stand there: {', '.join([first.name, *same[:3]])}"
        found.append(error("weights_ambiguous", text, "name one of the files"))
    try:
        if first.name.lower().endswith(".gguf"):
            facts, names = _gguf(first, files)
        else:
            facts, names = _safetensors(first, files), ()
    except ValueError as flaw:
        found.append(error("weights_unreadable", f"{first.name}: {flaw}", "copy the file again, or save it again"))
        return None, (), found
    return facts, names, found


def _safetensors(file: AdapterFile, files: AdapterFiles) -> AdapterFacts:
    data = files.beginning(file.path, LENGTH_BYTES)
    header = read_safetensors(data, size=file.bytes)
    if isinstance(header, NeedMore):
        header = read_safetensors(files.beginning(file.path, header.bytes), size=file.bytes)
    if isinstance(header, NeedMore):
        raise ValueError("the file became shorter while it was read")  # noqa: TRY004 - as any flaw of the file
    rows = [AdapterTensor(each.name, each.dtype, each.shape) for each in header.tensors]
    return facts_of(rows, "safetensors", size=file.bytes)


def _gguf(file: AdapterFile, files: AdapterFiles) -> tuple[AdapterFacts, tuple[str, ...]]:
    header, tensors, size = read_gguf_table(file.path, files)
    adapter = gguf_adapter(header, tensors, size=size)
    facts = facts_of(
        adapter.tensors,
        "gguf",
        size=size,
        alpha=adapter.alpha,
        architecture=adapter.architecture,
        adapter_type=adapter.adapter_type,
    )
    return facts, adapter.base_names
