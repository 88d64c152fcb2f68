"""What a profile asks for: which model lines may serve it, and which benchmarks measure it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from reconciler.domain.catalog import CatalogModel
from reconciler.domain.estimate import Profile

_TALKERS = frozenset({"general", "reasoning", "vision", "multimodal", "omni"})

PROFILE_LINES: Mapping[Profile, frozenset[str]] = MappingProxyType(
    {
        "general": _TALKERS,
        "coding": frozenset({"general", "coder", "reasoning"}),
        "reasoning": frozenset({"general", "reasoning", "math"}),
        "vision": frozenset({"vision", "multimodal", "omni"}),
        "embedding": frozenset({"embedding"}),
    }
)
"""The lines that may serve a profile: a guard, OCR model, reranker or embedding model never answers for ``general``."""


def line_serves(line: str, profile: Profile) -> bool:
    """Whether a model of this line may serve the profile by its line alone."""
    return line in PROFILE_LINES[profile]


def model_serves(model: CatalogModel, profile: Profile) -> bool:
    """Whether this model may serve the profile: by its line, or a general model that a source says can see."""
    if line_serves(model.line, profile):
        return True
    sees = any(capability == "vision" for capability, _ in model.capabilities)
    return profile == "vision" and model.line in _TALKERS and sees


# How much a benchmark says about a profile, 1 is all. Sub-scores of one leaderboard share what the whole would weigh.
# Our judgement, written down: broad preference and broad averages for general, the named categories for the others.
_WEIGHTS: dict[Profile, dict[str, float]] = {
    "general": {
        "lmarena_text_style_control": 1.0, "lmarena_text": 0.5, "lmarena_text_instruction_following": 0.25,
        "lmarena_text_hard": 0.25, "arena_text": 1.0, "livebench_average": 1.0, "livebench_if": 0.25,
        "livebench_language": 0.25, "livebench_reasoning": 0.25, "livebench_data_analysis": 0.25,
        "ollb2_average": 0.6, "ollb2_ifeval": 0.3, "ollb2_mmlu_pro": 0.4, "arena_code": 0.3, "bfcl_v4_overall": 0.25,
        "vectara_hallucination_rate": 0.1,
    },
    "coding": {
        "arena_code": 1.0, "livebench_coding": 1.0, "livebench_agentic_coding": 1.0, "aider_polyglot": 1.0,
        "aider_edit": 0.7, "lmarena_text_style_control_coding": 0.7, "lmarena_text_coding": 0.3,
        "evalplus_humaneval_plus": 0.4, "evalplus_humaneval": 0.2, "evalplus_mbpp_plus": 0.4, "evalplus_mbpp": 0.2,
        "bfcl_v4_multi_turn": 0.2,
    },
    "reasoning": {
        "livebench_reasoning": 1.0, "livebench_mathematics": 1.0, "livebench_data_analysis": 0.3,
        "lmarena_text_style_control_math": 0.6, "lmarena_text_math": 0.3, "lmarena_text_style_control_hard": 0.6,
        "lmarena_text_hard": 0.3, "ollb2_gpqa": 0.5, "ollb2_math_lvl_5": 0.5, "ollb2_bbh": 0.4, "ollb2_musr": 0.4,
        "ollb2_mmlu_pro": 0.3,
    },
    "vision": {"arena_vision": 1.0},
    "embedding": {
        "mteb_eng_v2_mean_task": 1.0, "mteb_eng_v2_retrieval": 1.0, "mteb_eng_v2_sts": 0.3,
        "mteb_eng_v2_clustering": 0.3, "mteb_eng_v2_classification": 0.3, "mteb_eng_v2_reranking": 0.3,
        "mteb_eng_v2_pairclassification": 0.2, "mteb_eng_v2_summarization": 0.1,
    },
}  # fmt: skip

_LISTED = frozenset(name for weights in _WEIGHTS.values() for name in weights)
_LEADERBOARDS = ("livebench_", "lmarena_", "arena_", "ollb2_", "evalplus_", "aider_", "bfcl_", "mteb_", "vectara_")

# How an unlisted benchmark is read from its name, coding first. Source: the origin's ``profiles.ts``.
_CODING_WORDS = (
    "cod", "humaneval", "mbpp", "swe-bench", "swebench", "repobench", "bigcode", "leetcode", "program", "polyglot",
    "apps",
)  # fmt: skip
_REASONING_WORDS = ("reason", "math", "gsm", "gpqa", "theorem", "aime", "logic", "proof", "drop")
_REASONING_WHOLE = frozenset({"arc", "aqua", "bbh"})
_VISION_WORDS = ("vision", "mmmu", "docvqa", "chartqa", "image")
_POPULARITY_WORDS = ("popularity", "downloads", "likes", "stars")
_EMBEDDING_WORDS = ("mteb", "embed", "retrieval", "beir")


def _named_for(benchmark: str) -> Profile | None:
    """The profile an unlisted benchmark's name speaks of; None where it counts heads, which says nothing of quality."""
    slug = benchmark.lower()
    if any(word in slug for word in _POPULARITY_WORDS):
        return None
    words = frozenset(slug.replace("_", "-").split("-"))
    if any(word in slug for word in _EMBEDDING_WORDS):
        return "embedding"
    if any(word in slug for word in _VISION_WORDS):
        return "vision"
    if any(word in slug for word in _CODING_WORDS):
        return "coding"
    if any(word in slug for word in _REASONING_WORDS) or words & _REASONING_WHOLE:
        return "reasoning"
    return "general"


def is_listed(benchmark: str) -> bool:
    """Whether our table says what the benchmark measures; any other is read from its name."""
    return benchmark in _LISTED


@lru_cache(maxsize=4096)
def benchmark_weight(benchmark: str, profile: Profile) -> float:
    """How much a benchmark says about a profile, 0 to 1; 0: nothing.

    A benchmark outside our table is read from its name; ``general`` then takes it too, unless it is about images or
    embeddings. Popularity measures nothing: it breaks ties, elsewhere. A sub-score of a leaderboard in the table that
    the table does not name is left out: its whole is in.
    """
    listed = _WEIGHTS[profile].get(benchmark)
    if listed is not None:
        return listed
    if benchmark in _LISTED or benchmark.startswith(_LEADERBOARDS):
        return 0.0
    named = _named_for(benchmark)
    if named == profile:
        return 1.0
    return 0.5 if profile == "general" and named in ("coding", "reasoning") else 0.0
