import random

from reconciler.domain.catalog import Build, Repository
from reconciler.domain.units import Bytes
from reconciler.ranking.candidates import candidates, estimated_bytes
from tests.ranking.made import catalogue, model


def test_every_build_of_every_gguf_repository_is_a_candidate():
    of = model(
        "acme/a-8B",
        repositories=(
            Repository("acme/a-8B-GGUF", (Build("Q8_0", Bytes(9), True), Build("Q4_K_M", Bytes(5), True))),
            Repository("packer/a-8B-GGUF", (Build("Q4_K_M", Bytes(5), True),)),
            Repository("mlx-community/a-8B", (Build("MLX-4bit", Bytes(4), True),), format="mlx"),
        ),
    )
    assert [found.key for found in candidates(catalogue([of]))] == [
        "acme/a-8B@Q4_K_M <- acme/a-8B-GGUF",
        "acme/a-8B@Q8_0 <- acme/a-8B-GGUF",
        "acme/a-8B@Q4_K_M <- packer/a-8B-GGUF",
    ]


def test_a_build_without_a_size_gets_one_and_says_it_is_not_exact():
    (found,) = candidates(catalogue([model(billions=8, builds=("Q4_K_M",))]))
    assert (found.bytes, found.build.exact) == (round(8e9 * 4.85 / 8), False)


def test_the_weights_that_load_go_before_the_published_count():
    assert estimated_bytes(model(billions=8, gguf_weights=4_000_000_000), "Q8_0") == round(4e9 * 8.5 / 8)


def test_a_build_nobody_can_size_is_left_out():
    assert candidates(catalogue([model(billions=None)])) == ()


def test_a_repository_without_builds_gives_none():
    assert candidates(catalogue([model(repositories=(Repository("mradermacher/a-GGUF", ()),))])) == ()


def test_the_order_of_the_catalogue_does_not_matter():
    models = [model(f"acme/{name}-8B", builds=("Q8_0", "Q4_K_M")) for name in "abcdef"]
    shuffled = models[:]
    random.Random(7).shuffle(shuffled)
    assert candidates(catalogue(models)) == candidates(catalogue(shuffled))
