"""What a candidate is called where it goes."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.domain.artifact import Layer, RegistryArtifact
from reconciler.domain.catalog import Build, Repository
from reconciler.domain.desired import Pool, Target
from reconciler.domain.estimate import Candidate
from reconciler.domain.units import Bytes
from reconciler.planning.pins import stub_model
from reconciler.planning.placing import name_on, need_for, registry_need
from reconciler.planning.trust import distrust_of_artifact

REPO = "HuggingFaceTB/SmolLM2-135M-Instruct-GGUF"


def named(quant: str = "Q4_1", **target: Any) -> str:
    build = Build(quant=quant, bytes=Bytes(1), exact=False)
    return name_on(Target(name="one", **target), Candidate(stub_model(REPO), Repository(REPO, ()), build))


@pytest.mark.parametrize(
    ("registry", "expected"),
    [
        (None, f"hf.co/{REPO}:Q4_1"),
        ("hf.co", f"hf.co/{REPO}:Q4_1"),
        ("box.lan:5000", "box.lan:5000/huggingfacetb/smollm2-135m-instruct-gguf:Q4_1"),
    ],
)
def test_a_registry_of_ones_own_knows_lower_case_only(registry: str | None, expected: str) -> None:
    assert named(runtime="ollama", registry=registry) == expected


def test_a_quant_that_is_not_known_yet_leaves_no_colon_behind() -> None:
    assert named("", runtime="ollama") == f"hf.co/{REPO}"
    assert named("", path="/models") == REPO
    assert named("", runtime="advisory") == REPO


def test_what_is_asked_is_what_is_pulled() -> None:
    target = Target(name="one", runtime="ollama", registry="box.lan:5000", insecure=True)
    candidate = Candidate(stub_model(REPO), Repository(REPO, ()), Build(quant="Q4_1", bytes=Bytes(1), exact=False))
    need = need_for(candidate, target, None)
    assert need is not None
    assert need.kind == "registry"
    assert need.name == name_on(target, candidate)


def test_trust_reads_the_lower_case_of_the_targets_own_registry_as_the_file_spells_it() -> None:
    def refused(registry: str, *organisations: str) -> bool:
        artifact = RegistryArtifact(
            registry=registry,
            namespace="huggingfacetb",
            name="smollm2",
            tag="Q4_1",
            manifest_digest="0" * 64,
            layers=(Layer(digest="sha256:" + "0" * 64, bytes=Bytes(1), media_type=""),),
        )
        found = distrust_of_artifact(
            Pool(allowed_orgs=organisations), artifact, model_id=REPO, name="x", trusted_registry="box.lan:5000"
        )
        return found is not None

    assert not refused("box.lan:5000", "HuggingFaceTB")
    assert refused("box.lan:5000", "google")
    assert refused("elsewhere:5000", "HuggingFaceTB")
    assert refused("hf.co", "HuggingFaceTB"), "where case is kept it counts"


@pytest.mark.parametrize(
    ("name", "registry", "insecure"),
    [
        ("qwen3:8b", None, False),
        ("acme/house:1b", None, False),
        ("box.lan:5000/acme/house:1b", "box.lan:5000", True),
    ],
)
def test_a_tag_is_asked_about_where_it_will_be_pulled_from(name: str, registry: str | None, insecure: bool) -> None:
    """Not at the target's own registry, where other content may stand under the same short name."""
    target = Target(name="one", runtime="ollama", registry="box.lan:5000", insecure=True)
    need = registry_need(target, name)
    assert (need.name, need.registry, need.insecure) == (name, registry, insecure)
