import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.catalog import Build
from reconciler.formats.gguf_names import UNKNOWN_QUANT, builds, parse, projectors, quant_of

QUANTS = [
    "F32", "BF16", "F16", "Q8_0", "Q6_K", "Q6_K_L", "Q5_K_M", "Q5_K_S", "Q5_1", "Q4_K_M", "Q4_0", "Q4_0_4_8", "IQ4_XS",
    "IQ4_NL", "IQ3_XXS", "Q2_K_L", "IQ1_S", "TQ1_0", "MXFP4", "MXFP4_MOE", "UD-Q4_K_XL", "UD-IQ2_XXS", "UD-TQ1_0",
    "UD-Q6_K", "UD-IQ4_NL_XL", "Q8_0_L",
]  # fmt: skip


@pytest.mark.parametrize("quant", QUANTS)
@pytest.mark.parametrize(
    "shape", ["Qwen3-30B-A3B-{}.gguf", "model.{}.gguf", "{}/m-00001-of-00002.gguf", "m.i1-{}.gguf"]
)
def test_quant_is_found_in_every_habit_of_naming(quant, shape):
    assert quant_of(shape.format(quant)) == quant
    assert quant_of(shape.format(quant.lower())) == quant


@pytest.mark.parametrize(
    ("path", "quant"),
    [
        ("a-fp16.gguf", "F16"),
        ("a.Q4_K.gguf", "Q4_K_M"),
        ("a-q8.gguf", "Q8_0"),
        ("Model-f16-Q4_K_M.gguf", "Q4_K_M"),
        ("hf.co/unsloth/Qwen3-8B-GGUF:UD-Q4_K_XL", "UD-Q4_K_XL"),
        ("mlx-community/Qwen3-8B-4bit", "MLX-4bit"),
        ("unsloth/Qwen3-8B-bnb-4bit", None),
        ("Qwen3-8B.gguf", None),
        ("w4a16-model.gguf", None),
        ("", None),
    ],
)
def test_quant_of(path, quant):
    assert quant_of(path) == quant


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("mmproj-model-f16.gguf", "projector"),
        ("sub/Qwen2.5-VL-7B-mmproj-Q8_0.gguf", "projector"),
        ("ggml-vocab-llama-bpe.gguf", "vocab"),
        ("gemma-3-vocab.gguf", "vocab"),
        ("Qwen3-8B.imatrix.gguf", "imatrix"),
        ("Qwen3-8B-imatrix-Q4_K_M.gguf", "model"),
        ("my-style-f16-lora.gguf", "adapter"),
        ("my-style-lora-f16.gguf", "adapter"),
        ("my-style-lora-merged-Q4_K_M.gguf", "model"),
        ("Explorer-8B-Q4_K_M.gguf", "model"),
        ("Kimi-DRAFT-0.6B-Q4_0.gguf", "draft"),
        ("mtp-GLM-5-Q8_0.gguf", "draft"),
    ],
)
def test_role(path, role):
    assert parse(path).role == role


def test_shards_are_gathered_and_incomplete_sets_left_out():
    found = builds(
        [
            ("BF16/m-BF16-00002-of-00002.gguf", 20, "b"),
            ("BF16/m-BF16-00001-of-00002.gguf", 10, "a"),
            ("F32/m-F32-00002-of-00002.gguf", 20, "c"),
            ("m-Q4_K_M.gguf", 5, None),
            ("mmproj-F16.gguf", 2, "p"),
            ("README.md", 1, None),
        ]
    )
    assert found == (
        Build("Q4_K_M", 5, exact=True, files=("m-Q4_K_M.gguf",), sharded=False),
        Build(
            "BF16",
            30,
            exact=True,
            files=("BF16/m-BF16-00001-of-00002.gguf", "BF16/m-BF16-00002-of-00002.gguf"),
            sha256=("a", "b"),
            sharded=True,
        ),
    )
    assert projectors([("mmproj-F16.gguf", 2, "p"), ("m-Q4_K_M.gguf", 5, None)]) == (("mmproj-F16.gguf", 2, "p"),)


def test_digests_are_all_or_none():
    parts = [("m-F16-00001-of-00002.gguf", 1, "a"), ("m-F16-00002-of-00002.gguf", 1, None)]
    assert builds(parts)[0].sha256 == ()


def test_the_plainest_of_several_files_of_one_quant_wins():
    files = [
        ("m-long-Q4_K_M.gguf", 1, None),
        ("m-Q4_K_M-00001-of-00001.gguf", 2, None),
        ("b-Q4_K_M.gguf", 3, None),
        ("a-Q4_K_M.gguf", 4, None),
    ]
    assert builds(files)[0].files == ("a-Q4_K_M.gguf",)


def test_a_file_without_a_quant_stays_reachable():
    assert builds([("model.gguf", 1, None)])[0].quant == UNKNOWN_QUANT


@given(st.text())
def test_any_text_parses(text):
    name = parse(text)
    assert name.path == text
    assert name.quant is None or quant_of(f"x-{name.quant}.gguf") == name.quant


names = st.sampled_from(
    [
        f"{stem}-{quant}{shard}.gguf"
        for stem in ("a", "bb", "mmproj")
        for quant in ("Q4_K_M", "F16")
        for shard in ("", "-00001-of-00002", "-00002-of-00002")
    ]
)


@given(st.lists(st.tuples(names, st.just(1), st.none()), unique=True), st.randoms())
def test_order_of_files_is_irrelevant(files, rng):
    shuffled = list(files)
    rng.shuffle(shuffled)
    assert builds(files) == builds(shuffled)
    assert {path for build in builds(files) for path in build.files} <= {path for path, _, _ in files}
