"""``AdapterHub``: the files of an adapter's repository at one commit, and what the headers of its weights say."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from reconciler.domain.artifact import ArtifactFile, HubArtifact
from reconciler.domain.units import Bytes
from reconciler.errors import Corrupt, Refused
from reconciler.formats.gguf import PREFIX_BYTES, NeedMore, read_header, read_tensors
from reconciler.formats.safetensors_header import read_safetensors
from reconciler.integrations.catalog.hub_wire import HubFile
from reconciler.lora.adapter_config import CONFIG_LIMIT_BYTES
from reconciler.lora.adapter_files import CONFIG, MLX, PICKLE, SAFETENSORS, is_shard
from reconciler.lora.remote_adapter import RemoteAdapter

if TYPE_CHECKING:
    from reconciler.integrations.catalog.hub import HubClient

LARGEST_HEAD_BYTES = 32 * 2**20


class HubAdapters:
    """The ``AdapterHub`` port over a Hub client, which is made when the first adapter is asked about.

    Args:
        client: makes it.
    """

    def __init__(self, client: Callable[[], HubClient]) -> None:
        self._make_client = client
        self._client: HubClient | None = None

    async def look(self, repo: str, revision: str | None, *, pickles: bool) -> RemoteAdapter:
        """Two requests, then one or two for each file's beginning. Only the repository's own folder counts."""
        client = self._client = self._client or self._make_client()
        found = await client.model(repo, revision or "main")
        if found.disabled:
            raise Refused(f"{repo} is disabled on the Hub", code="not-installable")
        if found.commit is None:
            raise Corrupt(f"the Hub names no commit of {repo}", code="bad-answer")
        tree = await client.tree(repo, found.commit)
        files, heads = [], {}
        for file in _chosen(repo, tree.files, pickles=pickles):
            head = b"" if file.path == PICKLE else await _head(client, repo, found.commit, file)
            sha256 = file.sha256 or (hashlib.sha256(head).hexdigest() if len(head) == file.bytes else None)
            if sha256 is None:
                text = f"the Hub states no SHA-256 of {file.path} of {repo}: it could not be verified"
                raise Refused(text, code="not-installable")
            if file.sha256 and len(head) == file.bytes and hashlib.sha256(head).hexdigest() != file.sha256:
                raise Corrupt(f"{repo}/{file.path} is not what the Hub says it is", code="bad-answer")
            files.append(ArtifactFile(path=file.path, bytes=file.bytes, sha256=sha256))
            heads[file.path] = head
        artifact = HubArtifact(endpoint=client.endpoint, repo=repo, commit=found.commit, files=tuple(files))
        return RemoteAdapter(artifact, heads)


def _chosen(repo: str, files: Iterable[HubFile], *, pickles: bool) -> tuple[HubFile, ...]:
    """The configuration and one file of weights, or one GGUF file.

    Raises:
        Refused: there is no adapter, or nothing says which of several.
    """
    here = {file.path: file for file in files if "/" not in file.path}
    ggufs = [file for path, file in sorted(here.items()) if path.lower().endswith(".gguf")]
    weights = here.get(SAFETENSORS) or (here.get(PICKLE) if pickles else None)
    if weights is not None and CONFIG in here:
        if here[CONFIG].bytes > CONFIG_LIMIT_BYTES:
            raise Refused(f"{CONFIG} of {repo} is larger than {CONFIG_LIMIT_BYTES} bytes", code="not-installable")
        return here[CONFIG], weights
    if len(ggufs) == 1:
        return (ggufs[0],)
    if ggufs:
        names = ", ".join(file.path for file in ggufs[:3])
        text, hint = f"{repo} holds several GGUF files ({names})", "name a repository of one adapter"
    elif PICKLE in here and weights is None:
        text, hint = f"{repo} holds its weights as a pickle only", "ask its owner for adapter_model.safetensors"
    elif MLX in here:
        text, hint = f"{repo} holds an adapter of MLX, which no target here takes", "ask for one as peft saves it"
    elif any(is_shard(path) for path in here):
        text, hint = f"{repo} holds weights in several files", "ask its owner for them as one file"
    else:
        text, hint = f"{repo} holds no LoRA adapter", f"an adapter is {CONFIG} with {SAFETENSORS}, or one GGUF file"
    raise Refused(text, code="not-installable", hint=hint)


async def _head(client: HubClient, repo: str, commit: str, file: HubFile) -> bytes:
    """As much of a file as its header needs; of a header that makes no sense what was read so far."""
    size = Bytes(file.bytes)
    wanted = size if file.path == CONFIG else min(size, PREFIX_BYTES)
    data = b""
    while True:
        data += await client.read_range(repo, commit, file.path, len(data), wanted - len(data))
        if len(data) < wanted:
            raise Corrupt(f"{repo}/{file.path} ends after {len(data)} bytes", code="bad-answer")
        more = None if file.path == CONFIG else _missing(file.path, data, size)
        if more is None or more <= len(data) or more > min(size, LARGEST_HEAD_BYTES):
            return data
        wanted = more


def _missing(path: str, data: bytes, size: int) -> int | None:
    """How long the beginning must be; None: it is long enough, or no header."""
    try:
        if not path.lower().endswith(".gguf"):
            found = read_safetensors(data, size=size)
            return found.bytes if isinstance(found, NeedMore) else None
        header = read_header(data, size=size)
        if isinstance(header, NeedMore):
            return header.bytes
        tensors = read_tensors(data, header, size=size)
    except ValueError:
        return None
    return tensors.bytes if isinstance(tensors, NeedMore) else None
