"""A publisher's own weights as candidates, for a program that serves those and not GGUF files: vLLM."""

from __future__ import annotations

from reconciler.domain.catalog import Build, CatalogModel, Repository
from reconciler.domain.desired import Target
from reconciler.domain.estimate import Candidate
from reconciler.ranking.candidates import estimated_bytes

ORIGINAL_QUANT = "BF16"
"""How publishers release weights, unless their repository says otherwise."""


def serves_originals(target: Target) -> bool:
    return target.runtime == "advisory" and target.program == "vllm"


def originals(models: tuple[CatalogModel, ...]) -> tuple[Candidate, ...]:
    """Every model whose size is known, as its publisher's own repository at 16 bits."""
    found = []
    for model in models:
        size = estimated_bytes(model, ORIGINAL_QUANT)
        if size is not None:
            repository = Repository(model.id, (), format="safetensors")
            found.append(Candidate(model, repository, Build(quant=ORIGINAL_QUANT, bytes=size, exact=False)))
    return tuple(found)
