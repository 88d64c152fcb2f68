"""How a llama-server in router mode names what lies in its cache: a repository and the tag at the end of a file's name.

Source:
    llama.cpp b10434, tried on the real server: `Model-UD-Q4_K_M.gguf` is listed as `ORG/REPO:Q4_K_M`, and
    `model-fp16.gguf` as `:FP16`; `model.gguf` is downloaded and never listed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.domain.names import split_repo
from reconciler.formats.gguf_names import parse, quant_of

_TAG_AT_END = re.compile(r"[-.]([A-Za-z0-9_]+)$")
_TAG = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class RouterName:
    """``ORG/REPO:TAG``, as the router lists a model of its cache.

    >>> RouterName.parse("Qwen/Qwen3-8B-GGUF:Q4_K_M")
    RouterName(repo='Qwen/Qwen3-8B-GGUF', tag='Q4_K_M')
    """

    repo: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> RouterName:
        """The name in its two parts.

        Raises:
            ValueError: not a repository of the Hub with a tag behind it.
        """
        repo, colon, tag = text.partition(":")
        if not colon or not _TAG.fullmatch(tag):
            raise ValueError(f"not a model of a llama-server's cache: {text!r}; it is called ORG/REPO:QUANT")
        split_repo(repo)
        return cls(repo, tag)

    @property
    def quant(self) -> str | None:
        """The canonical quant that the tag states."""
        return quant_of(f"x-{self.tag}")

    def __str__(self) -> str:
        return f"{self.repo}:{self.tag}"


def tag_of(path: str) -> str | None:
    """The tag that a file is listed under: what stands after the last ``-`` or ``.``, in upper case; None: never.

    >>> tag_of("Q8_0/Model-Q8_0-00001-of-00002.gguf"), tag_of("model-fp16.gguf"), tag_of("model.gguf")
    ('Q8_0', 'FP16', None)
    >>> tag_of("Model-UD-Q4_K_M.gguf")
    'Q4_K_M'
    """
    found = _TAG_AT_END.search(parse(path).stem)
    return found[1].upper() if found else None


def unlisted_reason(files: Sequence[str], quant: str) -> str | None:
    """Why a router could not be asked for exactly these files by their tag; None where it can.

    Args:
        files: of one build, shard 1 first.
        quant: canonical, as the build's name states it.

    >>> unlisted_reason(["Model-Q4_K_M.gguf"], "Q4_K_M") is None
    True
    >>> unlisted_reason(["Model-UD-Q4_K_M.gguf"], "UD-Q4_K_M")
    "llama-server lists Model-UD-Q4_K_M.gguf as Q4_K_M, which is another build's name"
    """
    tag = tag_of(files[0])
    if tag is None:
        return f"llama-server never lists a file called {files[0]}: its name ends in no quant"
    if quant_of(f"x-{tag}") != quant:
        return f"llama-server lists {files[0]} as {tag}, which is another build's name"
    return None
