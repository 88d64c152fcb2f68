"""What a GGUF file's name says: its quant, its place in a shard set, what it is for; and which files make one build.

Names are habits, not facts: two files of one repository may say the same, and the header has the last word. Nothing
here judges quality; bits per weight live in ``ranking.quants``.

Source:
    github.com/ggml-org/ggml docs/gguf.md, "GGUF naming convention"; the file lists of the catalogue's repositories.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from reconciler.domain.catalog import Build
from reconciler.domain.units import Bytes

Role = Literal["model", "projector", "adapter", "vocab", "imatrix", "draft"]
NamedFile: TypeAlias = tuple[str, int, str | None]
"""(path in the repository, bytes, hex SHA-256 or None)."""

UNKNOWN_QUANT = "unknown"
"""The quant of a build whose name states none; such a file can be pinned, never ranked."""

_SUFFIX = re.compile(r"\.gguf$", re.IGNORECASE)
_SHARD = re.compile(r"-(\d{5})-of-(?!00000)(\d{5})$", re.IGNORECASE)
_QUANT = re.compile(
    r"""(?<![A-Za-z0-9])(?:
        (?P<dynamic>UD[-_])?(?P<ggml>
            T?Q[1-8]_[01](?:_(?:4_4|4_8|8_8|XL|L))?
          | Q[1-8]_K(?:_(?:XXS|XS|XL|S|M|L|P))?
          | IQ[1-6]_(?:XXS|XS|S|M|NL(?:_XL)?|KSS|KS|KT|KL|K)
          | MXFP4(?:_MOE)?
          | NVFP4
          | Q[2-8]
        )
      | (?P<plain>BF16|FP?16|FP?32|FP?64)
      | (?<!bnb-)(?:MLX[-_])?(?P<mlx>[2-8])[-_]?bit
    )(?![A-Za-z0-9])""",
    re.IGNORECASE | re.VERBOSE,
)
_ALIASES = {
    "Q2": "Q2_K", "Q3": "Q3_K_M", "Q4": "Q4_K_M", "Q5": "Q5_K_M", "Q6": "Q6_K", "Q8": "Q8_0",
    "Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M",
    "FP16": "F16", "FP32": "F32", "FP64": "F64",
}  # fmt: skip
_TOKEN = re.compile(r"[-_. ]+")
_ADAPTER_QUANTS = frozenset({None, "F32", "F16", "BF16", "Q8_0"})


@dataclass(frozen=True, slots=True)
class GgufName:
    """One path, taken apart."""

    path: str
    stem: str
    """File name without folder, ``.gguf`` and shard suffix."""
    quant: str | None
    """Canonical: ``Q4_K_M``, ``UD-Q4_K_XL``, ``IQ4_XS``, ``MXFP4``, ``BF16``. None: the path states none."""
    shard: int | None
    """Counted from 1; None for a single file."""
    shards: int | None
    role: Role
    is_gguf: bool
    """Whether the name ends in ``.gguf``."""


def parse(path: str) -> GgufName:
    """A repository path taken apart. Never raises: what the name does not say is None.

    >>> name = parse("UD-Q4_K_XL/Qwen3-235B-A22B-UD-Q4_K_XL-00002-of-00003.gguf")
    >>> name.stem, name.quant, name.shard, name.shards, name.role
    ('Qwen3-235B-A22B-UD-Q4_K_XL', 'UD-Q4_K_XL', 2, 3, 'model')
    """
    folder, _, file = path.rpartition("/")
    bare = _SUFFIX.sub("", file)
    shard = _SHARD.search(bare)
    stem = bare[: shard.start()] if shard else bare
    quant = _last_quant(stem) or _last_quant(folder.rpartition("/")[2])
    return GgufName(
        path=path,
        stem=stem,
        quant=quant,
        shard=int(shard[1]) if shard else None,
        shards=int(shard[2]) if shard else None,
        role=_role(stem, quant),
        is_gguf=bare != file,
    )


def quant_of(path: str) -> str | None:
    """The canonical quant a path, file name or tag states, else None.

    >>> quant_of("gemma-3-12b-it-q4_k_m.gguf"), quant_of("qwen3:8b-fp16"), quant_of("Qwen3-8B")
    ('Q4_K_M', 'F16', None)
    """
    return parse(path.replace(":", "/")).quant


def builds(files: Iterable[NamedFile]) -> tuple[Build, ...]:
    """The installable builds of one repository, one per quant, smallest first.

    Shards are gathered and an incomplete set is left out; projectors, LoRA adapters and other companions are no
    builds. Of several files of one quant the plainest wins: a single file before shards, then the shortest path, then
    the first by spelling. Files without a quant in their name share ``UNKNOWN_QUANT``.
    """
    best: dict[str, tuple[tuple[bool, int, str], Build]] = {}
    for path, parts in _sets(files).items():
        build = _build(parts)
        preference = (len(parts) > 1, len(path), path)
        if build.quant not in best or preference < best[build.quant][0]:
            best[build.quant] = (preference, build)
    return tuple(sorted((build for _, build in best.values()), key=lambda build: (build.bytes, build.quant)))


def projectors(files: Iterable[NamedFile]) -> tuple[NamedFile, ...]:
    """The vision or audio projectors of one repository, by path."""
    return tuple(sorted({file[0]: file for file in files if _is(file[0], "projector")}.values()))


def _is(path: str, role: Role) -> bool:
    name = parse(path)
    return name.is_gguf and name.role == role


def _sets(files: Iterable[NamedFile]) -> dict[str, list[tuple[GgufName, NamedFile]]]:
    """Complete shard sets and single files of role model, by path without shard suffix, shard 1 first."""
    found: dict[tuple[str, int], dict[int, tuple[GgufName, NamedFile]]] = {}
    for file in files:
        name = parse(file[0])
        if name.is_gguf and name.role == "model":
            folder = file[0].rpartition("/")[0]
            key = (f"{folder}/{name.stem}" if folder else name.stem, name.shards or 0)
            found.setdefault(key, {})[name.shard or 0] = (name, file)
    complete: dict[str, list[tuple[GgufName, NamedFile]]] = {}
    for (path, shards), parts in sorted(found.items()):
        if set(parts) == (set(range(1, shards + 1)) if shards else {0}):
            complete.setdefault(path, [parts[number] for number in sorted(parts)])
    return complete


def _build(parts: list[tuple[GgufName, NamedFile]]) -> Build:
    digests = tuple(sha256 for _, (_, _, sha256) in parts if sha256)
    return Build(
        quant=parts[0][0].quant or UNKNOWN_QUANT,
        bytes=Bytes(sum(size for _, (_, size, _) in parts)),
        exact=True,
        files=tuple(path for _, (path, _, _) in parts),
        sha256=digests if len(digests) == len(parts) else (),
        sharded=len(parts) > 1,
    )


def _last_quant(text: str) -> str | None:
    """The rightmost quant token of a name: what stands before it belongs to the model's own name."""
    found = None
    for match in _QUANT.finditer(text):
        found = match
    if found is None:
        return None
    if found["mlx"]:
        return f"MLX-{found['mlx']}bit"
    token = (found["ggml"] or found["plain"]).upper()
    return ("UD-" if found["dynamic"] else "") + _ALIASES.get(token, token)


def _role(stem: str, quant: str | None) -> Role:
    tokens = [token for token in _TOKEN.split(stem.lower()) if token]
    if "mmproj" in tokens:
        return "projector"
    if tokens[-1:] == ["vocab"] or tokens[:2] == ["ggml", "vocab"]:
        return "vocab"
    if "imatrix" in tokens and quant is None:
        return "imatrix"
    if tokens[-1:] == ["lora"] or ("lora" in tokens and "merged" not in tokens and quant in _ADAPTER_QUANTS):
        return "adapter"
    if {"draft", "eagle", "eagle3"} & set(tokens) or tokens[:1] == ["mtp"]:
        return "draft"
    return "model"
