import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.catalog import Architecture, Build, Repository
from reconciler.domain.units import GIB, Bytes
from reconciler.formats.measured_file import MeasuredPoint
from reconciler.ranking.decode import CONSTANTS, backend_key
from reconciler.ranking.measured import ModelNames, plain_name, platform_of, quant_of, runner_of, subject, subjects
from reconciler.ranking.scoring import SpeedQuestion
from reconciler.ranking.speed import machine_confidence
from tests.ranking.made import LLAMA_8B, catalogue, model

ALPHA = model(
    "acme/Alpha-8B-Instruct",
    architecture=LLAMA_8B,
    ollama_tag="alpha:8b",
    repositories=(
        Repository("acme/Alpha-8B-Instruct-GGUF", (Build("Q4_K_M", Bytes(5_100_000_000), exact=False),)),
        Repository("packager/Alpha-8B-Instruct-GGUF", (Build("Q4_K_M", Bytes(4_900_000_000), exact=True),)),
    ),
)
BETA = model("acme/Beta-30B-A3B", billions=30.0, active=3.0)
CATALOGUE = catalogue([ALPHA, BETA])


def point(name="acme/Alpha-8B-Instruct", params=8.0, **more) -> MeasuredPoint:
    return MeasuredPoint("p", more.pop("hardware", "RTX 4090"), name, params, **({"quant": "Q4_K_M"} | more))


def found(name, params=8.0, **more):
    return ModelNames(CATALOGUE).find(point(name, params, **more))


@pytest.mark.parametrize(
    "name",
    [
        "acme/Alpha-8B-Instruct",
        "ACME/alpha-8b-instruct",
        "packager/Alpha-8B-Instruct-GGUF",
        "Alpha-8B-Instruct-Q4_K_M",
        "somebody/Alpha-8B-UD-Q4_K_XL-mlx",
        "alpha:8b",
        "somebody/wild-alpha-8b-finetune-GGUF",
    ],
)
def test_a_model_is_found_by_any_of_its_names(name):
    assert found(name) is ALPHA


def test_a_model_is_found_by_the_source_of_its_parameter_count():
    assert found("what-is-this", params_src="catalogue:acme/Alpha-8B-Base") is ALPHA


def test_nobody_is_found_by_a_size_or_for_other_weights():
    assert found("Omega-8B") is None
    assert found("omega-alpha-8b-merge-of-two", params=16.0) is None


def test_a_model_nobody_knows_is_made_of_what_the_point_says():
    made = subject(point("Omega-30B", 30.0, active_params_b=3.0, moe=True), ModelNames(CATALOGUE))
    assert not made.known
    assert (made.model.params, made.model.active_params) == (30_000_000_000, 3_000_000_000)
    assert made.model.architecture == Architecture(None)


def test_other_weights_under_a_known_name_keep_the_dimensions_only():
    (made,) = subjects([point(params=6.0)], CATALOGUE)
    assert (made.model.params, made.model.architecture) == (6_000_000_000, LLAMA_8B)
    assert made.build.bytes == 0


def test_the_file_is_the_points_own_repository_then_an_exact_one():
    own = subjects([point("acme/Alpha-8B-Instruct-GGUF")], CATALOGUE)[0].build
    other = subjects([point("Alpha-8B-Instruct-Q4_K_M")], CATALOGUE)[0].build
    assert (own.bytes, own.exact) == (5_100_000_000, False)
    assert (other.bytes, other.exact) == (4_900_000_000, True)


def test_only_gguf_engines_load_gguf_files():
    assert subjects([point(engine="vllm")], CATALOGUE)[0].build.bytes == 0


def test_a_quant_nobody_knows_takes_its_nominal_bytes():
    (made,) = subjects([point(quant="ZQ4", bytes_per_weight_nominal=0.5)], CATALOGUE)
    assert made.build.bytes == 4_000_000_000


@pytest.mark.parametrize(
    ("hardware", "more", "platform"),
    [
        ("NVIDIA GeForce RTX 4090", {}, "nvidia"),
        ("NVIDIA GB10", {}, "nvidia"),
        ("H100", {}, "nvidia"),
        ("L4", {}, "nvidia"),
        ("Apple M3 Max", {}, "macos"),
        ("RX 7900 XTX", {}, "amd"),
        ("AMD Ryzen 7 8745H w/ Radeon 780M", {"hw_class": "CPU_ONLY"}, "amd"),
        ("AMD Ryzen 7 8745H w/ Radeon 780M", {"hw_class": "CPU_ONLY", "backend": "cpu"}, "cpu"),
        ("Intel Arc B580", {}, "intel"),
        ("Intel(R) Core(TM) Ultra 7 155H", {"hw_class": "CPU_ONLY"}, "cpu"),
        ("AMD Ryzen 7 7840HS", {"hw_class": "CPU_ONLY"}, "cpu"),
        ("mystery", {"backend": "rocm"}, "amd"),
        ("mystery", {}, "cpu"),
    ],
)
def test_the_platform_is_read_from_the_device_then_from_the_backend(hardware, more, platform):
    assert platform_of(point(hardware=hardware, **more)) == platform


@pytest.mark.parametrize(
    ("more", "runner"),
    [
        ({"engine": "llamacpp"}, "llama.cpp"),
        ({"engine": "llama.cpp", "backend": "vulkan"}, "vulkan"),
        ({"engine": "ollama"}, "ollama"),
        ({"engine": "ollama", "hardware": "Apple M5", "quant": "MLX"}, "mlx"),
        ({"engine": "vllm"}, "vllm"),
        ({"engine": "something new"}, "llama.cpp"),
    ],
)
def test_the_runner_is_whose_kernels_decode(more, runner):
    assert runner_of(point(**more)) == runner


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Q4_K_M(ollama default, assumed)", "Q4_K_M"),
        ("Q4_K_XL", "UD-Q4_K_XL"),
        ("UD-Q4_K_XL-QAT", "UD-Q4_K_XL"),
        ("NVFP4 modelopt-mixed W4A16+FP8", "NVFP4"),
        ("8bit", "MLX-8bit"),
        (None, "Q4_K_M"),
        ("ZQ4", "ZQ4"),
    ],
)
def test_quants_have_one_name(text, name):
    assert quant_of(point(quant=text)) == name


def test_a_name_that_ends_in_its_bits_is_an_mlx_file():
    assert quant_of(point("Alpha-4bit", engine="mlx", quant=None)) == "MLX-4bit"


def depth(**more):
    return subjects([point(**more)], CATALOGUE)[0].depth


def test_the_depth_is_the_prompt_and_half_of_what_was_generated():
    assert depth(prompt_tokens=512, gen_tokens=128) == 576
    assert depth(gen_tokens=300) == 150
    assert depth() == 128


def test_a_benchmark_that_starts_deep_allocates_what_stands_in_the_cache():
    assert depth(prompt_tokens=512, gen_tokens=128, ctx_alloc=32768 + 640) == 32768 + 576
    assert depth(prompt_tokens=939, gen_tokens=128, ctx_alloc=131072) == 1003


def test_the_requirement_is_what_was_allocated():
    (made,) = subjects([point(ctx_alloc=8192, kv_dtype="fp8_e4m3")], CATALOGUE)
    assert (made.requirement.context, made.requirement.kv_cache) == (8192, "q8_0")


def test_a_shared_memory_is_the_machines():
    (made,) = subjects([point(hardware="Apple M3 Max", hw_class="UNIFIED", mem_gb=36.0, bw_gbps=400.0)], CATALOGUE)
    assert made.hardware.is_unified
    assert made.hardware.ram_bytes == 36 * GIB


def test_packaging_is_no_part_of_a_name():
    assert plain_name("google/gemma-4-26B-A4B-it-qat-GGUF") == plain_name("gemma-4-26B-A4B-it") == "gemma426ba4b"


@pytest.mark.parametrize(
    ("name", "params", "more", "active"),
    [
        ("acme/Foo-30B-A3B", 30.0, {"moe": True}, 3.0),
        ("acme/Foo-30B-A3.5B", 30.0, {}, 3.5),
        ("acme/Foo-8x7B", 46.7, {}, 12.9),
        ("acme/Foo", 30.0, {"moe": True}, 3.6),
        ("acme/Foo", 30.0, {}, None),
        ("acme/gemma-4-E4B-tuned", 8.0, {}, 4.0),
    ],
)
def test_active_weights_are_stated_then_named_then_typical(name, params, more, active):
    made = subjects([point(name, params, **more)], CATALOGUE)[0].model
    assert (made.active_params or 0) / 1e9 == pytest.approx(active or 0, rel=0.05)


@pytest.mark.parametrize(
    ("name", "params", "more", "moe"),
    [
        ("acme/Beta-30B-A3B", 30.0, {}, True),
        ("acme/Alpha-8B-Instruct", 8.0, {}, False),
        ("acme/Foo", 30.0, {"active_params_b": 3.0}, True),
        ("acme/gemma-4-E4B", 8.0, {"active_params_b": 4.0}, False),
        ("acme/Foo", 30.0, {"moe": False}, False),
    ],
)
def test_whether_a_point_is_a_mixture_is_told_where_it_does_not_say(name, params, more, moe):
    assert subjects([point(name, params, **more)], CATALOGUE)[0].point.moe is moe


@pytest.mark.parametrize(
    ("hardware", "backend", "platform"),
    [
        ("Snapdragon 8 Gen 3", "opencl", "cpu"), ("Samsung Galaxy S24", None, "cpu"), ("Pixel 9", None, "cpu"),
        ("iPhone 16 Pro", "metal", "macos"), ("RK3588", None, "cpu"), ("Ascend 910B", None, "intel"),
        ("MTT S80", "musa", "intel"), ("GPU 0", None, "nvidia"), ("GPU 0", "vulkan", "amd"),
    ],
)  # fmt: skip
def test_what_nobody_knows_is_unsure_and_wide(hardware, backend, platform):
    asked = subjects([point(hardware=hardware, backend=backend, bw_gbps=400.0, mem_gb=16.0, decode_tps=9.0)], CATALOGUE)
    estimate = SpeedQuestion.of(asked[0]).estimate()
    assert (asked[0].hardware.platform, estimate.confidence) == (platform, "low")
    assert estimate.high / estimate.low == pytest.approx(CONSTANTS.widths.unsure**2)


@pytest.mark.parametrize("name", ["Tesla M40", "K80", "Titan X (Pascal)", "P102-100", "GTX 780", "GTX 1080 Ti", "P100"])
def test_old_cards_are_old_and_at_most_of_medium_confidence(name):
    (made,) = subjects([point(hardware=name, bw_gbps=400.0, mem_gb=16.0)], CATALOGUE)
    (device,) = made.hardware.devices
    assert backend_key("nvidia", "llama.cpp", device) == "old_cuda"
    assert machine_confidence(made.hardware) == "medium"


@pytest.mark.parametrize("name", ["GTX 1660", "RTX 3090", "Tesla T4", "Titan RTX", "Titan V", "Jetson Orin Nano"])
def test_later_cards_are_not_old(name):
    (device,) = subjects([point(hardware=name, bw_gbps=400.0)], CATALOGUE)[0].hardware.devices
    assert backend_key("nvidia", "llama.cpp", device) == "cuda"


@pytest.mark.parametrize(
    ("hardware", "memory", "bandwidth", "count"),
    [
        ("2x RTX 3090", 48.0, 1872.0, 2), ("2× RTX 3090", 24.0, 936.0, 2), ("Dual RTX 3090", 48.0, 936.0, 2),
        ("RTX 3090 (x2)", 24.0, 1872.0, 2), ("4 x RTX 3090", 96.0, 936.0, 4), ("1x RTX 3090", 24.0, 936.0, 1),
    ],
)  # fmt: skip
def test_several_devices_have_their_shares(hardware, memory, bandwidth, count):
    (made,) = subjects([point(hardware=hardware, mem_gb=memory, bw_gbps=bandwidth)], CATALOGUE)
    assert len(made.hardware.devices) == count
    assert {(it.memory_bytes // GIB, it.bandwidth_gbps) for it in made.hardware.devices} == {(24, 936.0)}
    assert machine_confidence(made.hardware) == ("high" if count == 1 else "low")


@pytest.mark.parametrize(
    ("name", "quant", "expected"),
    [
        ("Foo", "MLX 3bit", "MLX-3bit"), ("Foo", "5bit", "MLX-5bit"), ("acme/Foo-6bit", None, "MLX-6bit"),
        ("acme/Foo-8bit", "MLX", "MLX-8bit"), ("acme/Foo", "MLX", "MLX-4bit"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("how", [{"engine": "mlx-lm"}, {"engine": "LM Studio (MLX)"}, {"backend": "mlx"}])
def test_mlx_is_known_by_its_engines_and_widths(name, quant, expected, how):
    of = point(name, quant=quant, hardware="Apple M3 Max", **how)
    assert (runner_of(of), quant_of(of)) == ("mlx", expected)


def test_a_file_named_after_its_quant_needs_no_other():
    assert quant_of(point("acme/Foo-Q5_K_M.gguf", quant=None)) == "Q5_K_M"


texts = st.text(max_size=20)


@given(texts.filter(bool), texts.filter(bool), st.floats(0.001, 2000), texts, texts, texts, st.booleans())
def test_any_point_becomes_a_question(hardware, name, params, engine, backend, quant, moe):
    (made,) = subjects(
        [point(name, params, hardware=hardware, engine=engine, backend=backend, quant=quant, moe=moe)], CATALOGUE
    )
    assert made.requirement.context > 0
    assert made.depth > 0
