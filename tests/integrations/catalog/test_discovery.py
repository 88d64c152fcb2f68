from __future__ import annotations

import contextlib
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.desired import Pool
from reconciler.domain.units import Bytes
from reconciler.errors import Corrupt
from reconciler.integrations.catalog.discovery import (
    Known,
    Learnt,
    finds,
    generation_rank,
    line_of,
    lineage_of,
    merged_claims,
    weights_in,
    with_live,
)
from reconciler.integrations.catalog.hub_wire import HubFile, files_of, next_page, repo_of, repos_of
from tests.integrations.catalog.world import known_model

TODAY = date(2026, 11, 22)
MODELS = (
    known_model("Qwen/Qwen2.5-7B", generation="2.5", rank=3),
    known_model("Qwen/Qwen3-8B", "unsloth/Qwen3-8B-GGUF"),
    known_model("Qwen/Qwen3.5-9B", generation="3.5", rank=7),
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Qwen4-8B", ("qwen", "4")),
        ("Qwen3.5-27B", ("qwen", "3.5")),
        ("Qwen-3-14B", ("qwen", "3")),
        ("gemma-3n-E4B-it", ("gemma", "3n")),
        ("Llama-3.1-8B", ("llama", "3.1")),
        ("Phi", ("phi", "")),
        ("Yi-34B", ("yi", "")),
        ("7B", ("7b", "")),
    ],
)
def test_lineage_and_generation_of_a_name(name: str, expected: tuple[str, str]) -> None:
    assert lineage_of(name, MODELS) == expected


@pytest.mark.parametrize(("generation", "rank"), [("3", 4), ("4", 8), ("3.2", 4), ("1", 0), ("", 0), ("10", 8)])
def test_generation_rank(generation: str, rank: int) -> None:
    assert generation_rank("qwen", generation, MODELS) == rank


@pytest.mark.parametrize(
    ("name", "pipeline", "line"),
    [
        ("Qwen9-8B-Instruct", "text-generation", "general"),
        ("Qwen9-Coder-30B", "text-generation", "coder"),
        ("codegemma-7b", None, "coder"),
        ("Qwen9-VL-8B", "image-text-to-text", "vision"),
        ("gemma-9-12b-it", "image-text-to-text", "general"),
        ("Qwen9-Embedding-0.6B", None, "embedding"),
        ("nomic-thing", "sentence-similarity", "embedding"),
        ("Qwen9-Reranker-4B", None, "reranker"),
        ("Llama-Guard-9", None, "guard"),
        ("Qwen9-Thinking", None, "reasoning"),
        ("DeepSeek-OCR", "image-text-to-text", "ocr"),
        ("Encoder-9B", None, "general"),
    ],
)
def test_line_of_a_name(name: str, pipeline: str | None, line: str) -> None:
    assert line_of(name, pipeline, ()) == line


@pytest.mark.parametrize(
    ("name", "weights"),
    [("Qwen3-0.6B", 600_000_000), ("gemma-3n-E4B", 4 * 10**9), ("x-8x22B", 176 * 10**9), ("v2", None)],
)
def test_weights_of_a_name(name: str, weights: int | None) -> None:
    assert weights_in(name) == weights


def test_claims_are_merged_with_everybody_who_makes_them() -> None:
    assert merged_claims((("tools", ("b",)),), (("tools", ("a",)), ("chat", ("c",)))) == (
        ("chat", ("c",)),
        ("tools", ("a", "b")),
    )


def repo(identity: str, **facts: object):
    return repo_of({"id": identity, "tags": ["gguf"], **facts})


def test_the_catalogues_word_comes_before_the_packagers_claim() -> None:
    claimed = repo("unsloth/Qwen3-8B-GGUF", tags=["gguf", "base_model:quantized:Qwen/Other"])
    (find,) = finds([claimed], Known(MODELS), Pool(allowed_orgs=("Qwen",), packagers=("unsloth",)))
    assert (find.model_id, find.claimed) == ("Qwen/Qwen3-8B", False)


def test_trust_is_by_exact_case() -> None:
    pool = Pool(allowed_orgs=("qwen",), packagers=("Unsloth",))
    listed = [repo("Qwen/Qwen9-8B-GGUF"), repo("unsloth/Q-GGUF", tags=["gguf", "base_model:quantized:Qwen/Q"])]
    assert finds(listed, Known(MODELS), pool) == ()


def test_a_model_comes_in_once_its_files_are_known() -> None:
    known = Known(MODELS)
    found = finds([repo("Qwen/Qwen9-8B-GGUF")], known, Pool(allowed_orgs=("Qwen",)))
    assert with_live(known, found, Learnt({}, {}, {}), today=TODAY) == MODELS
    trees = {"Qwen/Qwen9-8B-GGUF": (HubFile("a-Q4_0.gguf", Bytes(5), "a" * 64),)}
    models = with_live(known, found, Learnt(trees, {}, {}), today=TODAY)
    assert [model.id for model in models[:3]] == [model.id for model in MODELS]
    assert models[3].id == "Qwen/Qwen9-8B"


@pytest.mark.parametrize(
    ("row", "base"),
    [
        ({"tags": ["base_model:a/b", "base_model:quantized:a/b"]}, "a/b"),
        ({"tags": ["base_model:a/b"]}, "a/b"),
        ({"cardData": {"base_model": "a/b"}}, "a/b"),
        ({"cardData": {"base_model": ["a/b"], "base_model_relation": "quantized"}}, "a/b"),
        ({"cardData": {"base_model": ["a/b"], "base_model_relation": "merge"}}, None),
        ({"tags": ["base_model:a/b", "base_model:finetune:a/b"]}, None),
        ({"tags": ["base_model:adapter:a/b"]}, None),
        ({"tags": ["base_model:quantized:a/b", "base_model:quantized:a/c"]}, None),
        ({"tags": []}, None),
    ],
)
def test_whose_model_a_repository_says_it_packages(row: dict[str, object], base: str | None) -> None:
    assert repo_of({"id": "x/y", **row}).quantized_from == base


def test_the_real_capture_of_a_detail_answer() -> None:
    found = repo_of(
        {
            "id": "ggml-org/gemma-3-12b-it-GGUF",
            "pipeline_tag": "image-text-to-text",
            "tags": [
                "gguf",
                "base_model:google/gemma-3-12b-it",
                "base_model:quantized:google/gemma-3-12b-it",
                "license:gemma",
            ],
            "downloads": 3783,
            "sha": "ec0cbabd8dbff316f659876a50202295c3c4a314",
            "gated": False,
            "cardData": {"license": "gemma", "base_model": ["google/gemma-3-12b-it"]},
            "gguf": {
                "total": 11765788416,
                "architecture": "gemma3",
                "context_length": 131072,
                "chat_template": "<cut>",
            },
            "siblings": [{"rfilename": "gemma-3-12b-it-Q4_K_M.gguf"}, {"rfilename": 3}],
            "createdAt": "2025-03-12T06:28:34.000Z",
        }
    )
    assert (found.quantized_from, found.license, found.weights) == ("google/gemma-3-12b-it", "gemma", 11765788416)
    assert (found.created, found.files, found.author) == (
        date(2025, 3, 12),
        ("gemma-3-12b-it-Q4_K_M.gguf",),
        "ggml-org",
    )
    assert dict(found.capabilities) == {"chat": ("chat-template",), "vision": ("hub-tags",)}


def test_odd_values_are_left_out_instead_of_believed() -> None:
    found = repo_of(
        {
            "modelId": "a/b",
            "downloads": True,
            "likes": "9",
            "tags": ["x", 3],
            "license": 7,
            "gated": [],
            "sha": "x",
            "createdAt": "soon",
        }
    )
    assert (found.id, found.downloads, found.likes, found.tags, found.license) == ("a/b", 0, 0, ("x",), None)
    assert (found.gated, found.commit, found.created) == (False, None, None)


@pytest.mark.parametrize("identity", ["x", "/x"])
def test_an_author_needs_a_slash_that_is_not_first(identity: str) -> None:
    assert repo_of({"id": identity}).author is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "tags",
                    "gguf",
                    "path",
                    "size",
                    "lfs",
                    "oid",
                    "cardData",
                    "siblings",
                    "type",
                    "gated",
                    "sha",
                    "total",
                    "base_model",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_whatever_the_hub_sends_only_corrupt_is_raised(value: object) -> None:
    for read in (repo_of, repos_of, files_of):
        with contextlib.suppress(Corrupt):
            read(value)


@given(st.text())
def test_any_link_header_gives_a_page_or_none(text: str) -> None:
    page = next_page(text)
    assert page is None or page in text
