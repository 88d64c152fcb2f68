"""A seeded catalogue of any size, to measure and to compare: the same seed gives the same catalogue."""

from __future__ import annotations

import random
from datetime import date, timedelta

from reconciler.domain.catalog import (
    Architecture,
    Attention,
    BenchmarkObservation,
    Build,
    CatalogModel,
    Catalogue,
    Repository,
)
from reconciler.domain.units import Bytes
from reconciler.ranking.quants import bits_per_weight

QUANTS = (
    "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "IQ4_XS", "Q4_0", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "Q8_0",
    "UD-Q4_K_XL", "BF16",
)  # fmt: skip
_SIZES = (0.5, 1.5, 3, 4, 7, 8, 12, 14, 24, 27, 32, 70, 120, 235)
_BENCHMARKS = ("lmarena_text", "livebench_average", "livebench_coding", "ollb2_average", "bfcl_v4_overall")
_DAY = date(2026, 11, 22)


def generated_catalogue(models: int, seed: int = 7) -> Catalogue:
    """``models`` models with two GGUF repositories of 14 quants each on average seven; one in five was measured."""
    chance = random.Random(seed)
    made = [_model(chance, number) for number in range(models)]
    measured = [of for of in made if chance.random() < 0.2]
    observations = [
        BenchmarkObservation(
            of.id, name, 30 + 60 * chance.random(), "0-100", "livebench", _DAY - timedelta(days=chance.randrange(700))
        )
        for of in measured
        for name in chance.sample(_BENCHMARKS, 2)
    ]
    return Catalogue(tuple(made), tuple(observations), _DAY, "bundled")


def _model(chance: random.Random, number: int) -> CatalogModel:
    size = chance.choice(_SIZES)
    family = number // 12
    moe = size > 20 and chance.random() < 0.4
    params = round(size * 1e9)
    layers = 16 + round(size**0.5 * 6)
    windowed = Attention("swa", window=1024, global_every=6) if chance.random() < 0.2 else None
    name = f"publisher{family % 60}/family{family}-{number}-{size:g}B"
    builds = tuple(
        Build(quant, Bytes(round(params * bits_per_weight(quant) / 8)), exact=True)
        for quant in sorted(chance.sample(QUANTS, 7))
    )
    return CatalogModel(
        id=name, lineage=f"family{family}", generation=str(family % 4), line="general", params=params,
        active_params=params // 10 if moe else None, gguf_weights=params,
        architecture=Architecture(
            "llama", layers, 512 * (2 + layers // 8), 32, 8, 128, 128_256, 64 if moe else None, 4 if moe else None, windowed
        ),
        context_length=131_072, license="apache-2.0", released=_DAY - timedelta(days=chance.randrange(1200)),
        repositories=(Repository(f"{name}-GGUF", builds), Repository(f"packer/{name.split('/')[1]}-GGUF", builds)),
        generation_rank=family % 4, downloads=chance.randrange(10**6),
    )  # fmt: skip
