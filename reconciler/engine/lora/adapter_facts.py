"""An adapter as its files are: configuration and headers of the weights, read in bounded pieces."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from reconciler.domain.finding import Finding
from reconciler.errors import OutsideError, ReconcilerError
from reconciler.formats.foreign_json import read_object
from reconciler.formats.gguf import GgufHeader, NeedMore, TensorEntry, read_table
from reconciler.formats.gguf_adapter import AdapterTensor, NotAnAdapter, gguf_adapter
from reconciler.formats.safetensors_header import LENGTH_BYTES, read_safetensors
from reconciler.lora.adapter_config import CONFIG_LIMIT_BYTES, AdapterConfig, read_adapter_config
from reconciler.lora.adapter_files import AdapterFile, AdapterPlace, missing_shards
from reconciler.lora.findings import error, note, warning
from reconciler.lora.weights import AdapterFacts, facts_of, is_mlx
from reconciler.ports import AdapterFiles

_PICKLES = (".bin", ".pt", ".pth")
_INDEX_LIMIT_BYTES = 16 * 2**20
_BASE_SHARD = re.compile(r"(.+-)(\d{5})(-of-)(\d{5})(\.gguf)", re.DOTALL | re.IGNORECASE)
_BASE_SHARDS_AT_MOST = 256
_NO_ADAPTER = "name the adapter's own file; a base is given with --base-gguf"
_COPY = "copy all of its files again, or save it again as one"


@dataclass(frozen=True, slots=True)
class ReadAdapter:
    """What could be read, and what stood in the way."""

    config: AdapterConfig | None
    facts: AdapterFacts | None
    base_names: tuple[str, ...] = ()
    """What a GGUF file says it was made from."""
    findings: tuple[Finding, ...] = ()
    digests: dict[str, str] = field(default_factory=dict)
    """Hex SHA-256 by file name, pickles too, for bytes are hashed without being loaded. Left out are weights of which
    not even the header can be read, and pickles that cannot be read at all."""


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
    facts, names, flaws = _weights(place, readable, files)
    findings += [*_missing(place), *_pickles(place, readable), *flaws]
    whole = readable if facts is not None else []
    digests = {each.name: files.digest(each.path) for each in (place.config, *whole) if each}
    pickled = [each for each in place.weights if each not in readable]
    return ReadAdapter(config, facts, names, tuple(findings), digests | dict(_of_pickles(pickled, files)))


def _of_pickles(pickled: list[AdapterFile], files: AdapterFiles) -> Iterator[tuple[str, str]]:
    """Their hashes: bytes are read and never loaded. Nothing else needs them, so what cannot be read has none."""
    for each in pickled:
        with suppress(OutsideError):
            yield each.name, files.digest(each.path)


def read_gguf_table(path: str, files: AdapterFiles) -> tuple[GgufHeader, tuple[TensorEntry, ...], int]:
    """(header, tensor table, size) of a GGUF file.

    Raises:
        ValueError: it is none.
        OutsideError: it cannot be read.
    """
    size = files.size(path)
    header, tensors = read_table(lambda count: files.beginning(path, count), size=size)
    return header, tensors, size


def read_gguf_model(path: str, files: AdapterFiles) -> tuple[GgufHeader, tuple[TensorEntry, ...], tuple[str, ...]]:
    """(header, tensors of all shards, names of shards that are not there) of a model, whichever of its files is named.

    Raises:
        ValueError: one of them is no GGUF file.
        OutsideError: one cannot be read.
    """
    paths = _gguf_shards(path)
    missing = tuple(each.rpartition("/")[2] for each in paths if not files.find(each).exists)
    header, tensors, _ = read_gguf_table(paths[0] if paths[0].rpartition("/")[2] not in missing else path, files)
    count = header.whole("split.count") or 1
    if missing or len(paths) != count:
        return header, tensors, missing or (f"{count} shards, of which one was named by another name",)
    for each in paths[1:]:
        tensors += read_gguf_table(each, files)[1]
    return header, tensors, ()


def _gguf_shards(path: str) -> tuple[str, ...]:
    found = _BASE_SHARD.fullmatch(path)
    count = int(found[4]) if found else 0
    if found is None or not 1 < count <= _BASE_SHARDS_AT_MOST:
        return (path,)
    return tuple(f"{found[1]}{number:05d}{found[3]}{found[4]}{found[5]}" for number in range(1, count + 1))


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
        return [note("weights_pickle", f"{names[0]} is a pickle beside safer weights, and was hashed, not loaded")]
    return [
        warning(
            "weights_pickle",
            f"{names[0]} is a pickle: it runs code when it is loaded. It was only hashed, so nothing in it is verified",
            "ask for adapter_model.safetensors",
        )
    ]


def _weights(
    place: AdapterPlace, readable: list[AdapterFile], files: AdapterFiles
) -> tuple[AdapterFacts | None, tuple[str, ...], list[Finding]]:
    """Facts of the first file, or of all shards: safetensors before GGUF. Further ones are only named."""
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
            facts, names = _safetensors(place.shards or (first,), files), ()
            found += _shard_flaws(place, files) if place.shards else []
    except NotAnAdapter as flaw:
        found.append(error("weights_unreadable", f"{first.name}: {flaw}", _NO_ADAPTER))
        return None, (), found
    except ValueError as flaw:
        found.append(error("weights_unreadable", f"{first.name}: {flaw}", "copy the file again, or save it again"))
        return None, (), found
    return facts, names, found


def _shard_flaws(place: AdapterPlace, files: AdapterFiles) -> Iterator[Finding]:
    """Whether all shards are there, and hold what their index says."""
    names = tuple(each.name for each in place.shards)
    missing = missing_shards(names)
    if missing:
        yield error("shards_missing", f"of weights in several files are not there: {', '.join(missing[:3])}", _COPY)
    if place.index is None:
        text = f"weights in {len(names)} files, without an index that says so"
        yield warning("shard_index_missing", text, _COPY)
        return
    try:
        found = read_object(files.beginning(place.index.path, _INDEX_LIMIT_BYTES + 1), limit_bytes=_INDEX_LIMIT_BYTES)
    except ValueError as flaw:
        yield error("weights_unreadable", f"{place.index.name}: {flaw}", _COPY)
        return
    placed = found.get("weight_map")
    listed = Counter(each for each in placed.values() if isinstance(each, str)) if isinstance(placed, dict) else None
    held = Counter({each.name: len(_rows(each, files)) for each in place.shards})
    if listed != +held:
        yield error("shard_index_differs", f"{place.index.name} lists other tensors than the files hold", _COPY)


def _safetensors(shards: tuple[AdapterFile, ...], files: AdapterFiles) -> AdapterFacts:
    rows = [row for file in shards for row in _rows(file, files)]
    twice = [name for name, count in Counter(row.name for row in rows).items() if count > 1]
    if twice:
        raise ValueError(f"tensor {twice[0]!r} stands in two of its files")
    size = sum(file.bytes for file in shards)
    return facts_of(rows, "mlx" if is_mlx(rows) else "safetensors", size=size, files=len(shards))


def _rows(file: AdapterFile, files: AdapterFiles) -> list[AdapterTensor]:
    data = files.beginning(file.path, LENGTH_BYTES)
    header = read_safetensors(data, size=file.bytes)
    if isinstance(header, NeedMore):
        header = read_safetensors(files.beginning(file.path, header.bytes), size=file.bytes)
    if isinstance(header, NeedMore):
        raise ValueError("the file became shorter while it was read")  # noqa: TRY004 - as any flaw of the file
    return [AdapterTensor(each.name, each.dtype, each.shape) for each in header.tensors]


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
