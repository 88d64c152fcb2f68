"""What people call one base, and what only looks like it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.lora.base_names import match_names, plain_match

ID = "Qwen/Qwen3-8B"


@pytest.mark.parametrize(
    ("declared", "verdict"),
    [
        (None, "unknown"), ("", "unknown"), ("  ", "unknown"), ("Qwen/Qwen3-8B", "exact"), ("qwen/QWEN3-8b", "exact"),
        (" Qwen/Qwen3-8B ", "exact"), ("models/Qwen/Qwen3-8B", "exact"), ("models/models/Qwen/Qwen3-8B", "exact"),
        ("other/Qwen3-8B", "suffix"), ("Qwen3-8B", "suffix"), ("/data/Qwen3-8B", "suffix"), ("Qwen/Qwen3-14B", "mismatch"),
        ("Qwen/Qwen3-8B/", "mismatch"),
    ],
)  # fmt: skip
def test_the_origins_comparison(declared: str | None, verdict: str) -> None:
    assert plain_match(declared, ID) == verdict


@pytest.mark.parametrize(
    ("declared", "verdict"),
    [
        ("Qwen/Qwen3-8B/", "exact"), ("Qwen/Qwen3-8B@main", "exact"), ("Qwen/Qwen3-8B:Q4_K_M", "exact"), ("hf.co/Qwen/Qwen3-8B", "exact"),
        ("https://huggingface.co/Qwen/Qwen3-8B", "exact"), ("Qwen/Qwen3-8B-AWQ", "exact"), ("Qwen/Qwen3-8B-GGUF", "exact"),
        ("unsloth/Qwen3-8B-bnb-4bit", "exact"), ("evil/Qwen3-8B-unsloth-bnb-4bit", "suffix"), ("mlx-community/Qwen3-8B-MLX-4bit", "suffix"),
        ("/root/.cache/huggingface/hub/models--Qwen--Qwen3-8B/snapshots/895c8d171bc03c30e113cd7a28c02494b5e068b7", "exact"),
        ("models--Qwen--Qwen3-8B", "exact"), ("/cache/models--Qwen--Qwen3-14B/snapshots/1/", "mismatch"),
        ("C:\\models\\Qwen3-8B", "suffix"), ("/data/base", "unknown"), ("./base", "unknown"), ("~/base", "unknown"), ("Qwen/Qwen3-8B-Base", "mismatch"),
        ("Qwen/Qwen3-80B", "mismatch"), ("qwen3:8b", "exact"), ("qwen3:14b", "mismatch"), ("qwen3", "mismatch"), ("unsloth/Qwen3-8B-GGUF", "exact"), ("evil/Qwen3-8B-GGUF", "suffix"),
    ],
)  # fmt: skip
def test_caches_tags_revisions_and_copies_are_understood(declared: str, verdict: str) -> None:
    assert match_names(declared, ID, "unsloth/Qwen3-8B-GGUF", "qwen3:8b").verdict == verdict


def test_it_says_what_was_left_aside() -> None:
    assert match_names("Qwen/Qwen3-8B-AWQ@1f2e", ID).note == "left aside: the revision @1f2e, the suffix -AWQ"
    assert match_names("Qwen/Qwen3-8B", ID).note is None


@given(st.text(max_size=60), st.text(max_size=20))
def test_any_names_compare(declared: str, known: str) -> None:
    assert match_names(declared, known).verdict in ("exact", "suffix", "mismatch", "unknown")
    plain_match(declared, known)
