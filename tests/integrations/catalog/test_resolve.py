from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import pytest

from reconciler.domain.artifact import HubArtifact, RegistryArtifact
from reconciler.domain.catalog import Build
from reconciler.domain.observation import HubNeed, RegistryNeed, Resolved, Unavailable
from reconciler.domain.units import Bytes
from reconciler.errors import Corrupt, Refused, Unreachable
from reconciler.integrations.catalog.hub import HubClient
from reconciler.integrations.catalog.resolve import best_build, unavailable
from reconciler.integrations.http import Http, MockTransport, Request, Response
from tests.doubles.hub import HUB, DoubleFile
from tests.integrations.catalog.world import Stage, StillClock, gguf_bytes, quants, weights

REPO = "unsloth/Qwen3-8B-GGUF"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    made = Stage(tmp_path)
    made.double.add(
        REPO,
        {**quants("Qwen3-8B", "Q4_K_M", "Q8_0", "BF16"), "README.md": DoubleFile(b"#", lfs=False)},
        tags=["gguf", "base_model:quantized:Qwen/Qwen3-8B"],
    )
    return made


async def resolved(stage: Stage, need: HubNeed | RegistryNeed) -> Resolved:
    answer = await stage.catalog().resolve(need)
    assert isinstance(answer, Resolved), answer
    assert answer.need == need
    return answer


async def refused(stage: Stage, need: HubNeed | RegistryNeed) -> Unavailable:
    answer = await stage.catalog().resolve(need)
    assert isinstance(answer, Unavailable), answer
    assert answer.need == need
    return answer


async def test_a_pick_is_resolved_to_commit_files_sizes_and_digests(stage: Stage) -> None:
    answer = await resolved(stage, HubNeed(repo=REPO, quant="Q4_K_M"))
    artifact = answer.artifact
    assert isinstance(artifact, HubArtifact)
    file = stage.double.repos[REPO].commits[artifact.commit]["Qwen3-8B-Q4_K_M.gguf"]
    assert (artifact.endpoint, artifact.repo, artifact.commit) == (HUB, REPO, stage.double.repos[REPO].head)
    assert [(each.path, each.bytes, each.sha256) for each in artifact.files] == [
        ("Qwen3-8B-Q4_K_M.gguf", file.bytes, file.digest)
    ]
    assert (answer.gated, answer.claimed_base, answer.model) == (False, "Qwen/Qwen3-8B", None)
    assert [each.path for each in stage.double.requests] == [
        f"/api/models/{REPO}/revision/main",
        f"/api/models/{REPO}/tree/{artifact.commit}",
    ]


async def test_the_case_of_a_quant_does_not_matter(stage: Stage) -> None:
    answer = await resolved(stage, HubNeed(repo=REPO, quant="q8_0"))
    assert answer.artifact.files[0].path == "Qwen3-8B-Q8_0.gguf"


async def test_a_revision_is_kept_to(stage: Stage) -> None:
    repo = stage.double.repos[REPO]
    old = repo.head
    repo.push(quants("Qwen3-8B", "Q6_K"))
    repo.refs["v1"] = old
    for revision in (old, "v1"):
        assert (await resolved(stage, HubNeed(repo=REPO, quant="Q8_0", revision=revision))).artifact.commit == old
    assert (await resolved(stage, HubNeed(repo=REPO))).artifact.commit == repo.head


async def test_without_a_quant_the_only_or_the_best_build_up_to_q8_0_is_taken(stage: Stage) -> None:
    answer = await resolved(stage, HubNeed(repo=REPO))
    assert answer.artifact.files[0].path == "Qwen3-8B-Q8_0.gguf"
    stage.double.add("unsloth/One-GGUF", {"plain.gguf": weights()}, tags=["gguf"])
    assert (await resolved(stage, HubNeed(repo="unsloth/One-GGUF"))).artifact.files[0].path == "plain.gguf"


@pytest.mark.parametrize(
    ("sizes", "best"),
    [
        ({"Q4_K_M": 5, "Q8_0": 9, "F16": 16}, "Q8_0"),
        ({"BF16": 16, "F32": 32}, "BF16"),
        ({"Q2_K": 3, "unknown": 9}, "Q2_K"),
        ({"unknown": 9}, "unknown"),
    ],
)
def test_best_build(sizes: dict[str, int], best: str) -> None:
    assert best_build(Build(quant, Bytes(size), exact=True) for quant, size in sizes.items()).quant == best


async def test_all_shards_in_order_and_one_projector_last(stage: Stage) -> None:
    files = {
        f"Q4_K_M/Big-Q4_K_M-0000{number}-of-00003.gguf": weights(size=10**9, name=str(number)) for number in (3, 1, 2)
    }
    files |= {f"mmproj-{quant}.gguf": weights(size=10**8, name=quant) for quant in ("F32", "BF16", "F16")}
    stage.double.add("Qwen/Big-GGUF", files, tags=["gguf"])
    artifact = (await resolved(stage, HubNeed(repo="Qwen/Big-GGUF", quant="Q4_K_M"))).artifact
    assert [file.path.rpartition("/")[2] for file in artifact.files] == [
        "Big-Q4_K_M-00001-of-00003.gguf",
        "Big-Q4_K_M-00002-of-00003.gguf",
        "Big-Q4_K_M-00003-of-00003.gguf",
        "mmproj-F16.gguf",
    ]
    assert artifact.bytes == 3 * 10**9 + 10**8


async def test_an_incomplete_shard_set_is_no_build(stage: Stage) -> None:
    stage.double.add("Qwen/Half-GGUF", {"h-Q4_0-00001-of-00002.gguf": weights()}, tags=["gguf"])
    answer = await refused(stage, HubNeed(repo="Qwen/Half-GGUF", quant="Q4_0"))
    assert (answer.code, answer.message) == ("not-installable", "Qwen/Half-GGUF holds no complete GGUF model")


async def test_an_unknown_quant_names_those_that_exist(stage: Stage) -> None:
    answer = await refused(stage, HubNeed(repo=REPO, quant="Q2_K"))
    assert (answer.code, answer.message) == ("not-found", f"{REPO} has no Q2_K; it has Q4_K_M, Q8_0, BF16")


async def test_a_file_without_a_digest_is_not_installable(stage: Stage) -> None:
    stage.double.add("Qwen/Small", {"s-Q4_0.gguf": DoubleFile(b"x", lfs=False)}, tags=["gguf"])
    answer = await refused(stage, HubNeed(repo="Qwen/Small", quant="Q4_0"))
    assert answer.code == "not-installable"
    assert "s-Q4_0.gguf" in answer.message


async def test_gated_without_a_token_says_where_to_accept(stage: Stage) -> None:
    stage.double.add("google/g", quants("g", "Q4_0"), gated="auto", tags=["gguf"])
    answer = await refused(stage, HubNeed(repo="google/g", quant="Q4_0"))
    assert answer.code == "gated"
    assert f"{HUB}/google/g" in answer.message


async def test_gated_with_a_token_is_asked_whether_it_may_read(stage: Stage) -> None:
    stage.double.add("google/g", quants("g", "Q4_0"), gated="auto", tags=["gguf"])
    stage.token = "hf_granted"
    assert (await resolved(stage, HubNeed(repo="google/g", quant="Q4_0"))).gated
    stage.double.tokens.add("hf_other")
    stage.token = "hf_other"
    answer = await refused(stage, HubNeed(repo="google/g", quant="Q4_0"))
    assert answer.code == "gated"
    assert "may not read" in answer.message
    assert "hf_other" not in answer.message


@pytest.mark.parametrize("repo", ["Qwen/nothing", "nonsense", "a/b/c"])
async def test_what_is_not_there_is_not_found(stage: Stage, repo: str) -> None:
    assert (await refused(stage, HubNeed(repo=repo, quant="Q4_0"))).code == "not-found"


async def test_a_renamed_repository_is_not_followed(stage: Stage) -> None:
    stage.double.renamed["Qwen/Old"] = "evil/New"
    stage.double.add("evil/New", quants("n", "Q4_0"), tags=["gguf"])
    answer = await refused(stage, HubNeed(repo="Qwen/Old"))
    assert answer.code == "not-found"
    assert "evil/New" in answer.message


async def test_no_answer_and_nonsense_are_unreachable(stage: Stage) -> None:
    for fault in (
        OSError("gone"),
        503,
        (200, {}, b"<html>Please log in</html>"),
        (200, {}, b"[]"),
        (302, {"Location": HUB}, b""),
    ):
        stage.double.heal()
        stage.double.fail(f"/api/models/{REPO}", fault)
        stage.double.fail("hub.double?", (200, {}, b"<html>"))
        assert (await refused(stage, HubNeed(repo=REPO, quant="Q4_K_M"))).code == "unreachable"


async def test_a_resolve_takes_bounded_time(stage: Stage) -> None:
    async def hang(_: Request) -> Response:
        await asyncio.sleep(60)
        raise AssertionError

    stage.changes = {"resolve_seconds": 0.05}
    http = Http(clock=StillClock(), transport=MockTransport(hang))
    stage.hub = lambda: HubClient(http, endpoint=HUB)  # type: ignore[method-assign]
    assert (await refused(stage, HubNeed(repo=REPO))).code == "unreachable"


async def test_a_model_nobody_knows_comes_with_its_facts(stage: Stage) -> None:
    content = gguf_bytes("qwen9", template="{{ tools }}", tokens=3000)
    tags = ["gguf", "license:mit", "base_model:quantized:Qwen/Qwen9-8B"]
    stage.double.add("bartowski/Qwen9-8B-GGUF", quants("Qwen9-8B", "Q4_K_M", content=content), tags=tags)
    answer = await resolved(stage, HubNeed(repo="bartowski/Qwen9-8B-GGUF", quant="Q4_K_M"))
    model = answer.model
    assert model is not None
    assert (model.id, answer.claimed_base) == ("Qwen/Qwen9-8B", "Qwen/Qwen9-8B")
    assert (model.license, model.params, model.context_length) == ("mit", 8 * 10**9, 40960)
    assert (model.architecture.layers, model.architecture.vocab) == (36, 3000)
    assert dict(model.capabilities)["tools"] == ("chat-template",)
    assert [(each.id, each.claimed) for each in model.repositories] == [("bartowski/Qwen9-8B-GGUF", True)]


async def test_a_model_nobody_speaks_for_is_named_after_its_repository(stage: Stage) -> None:
    stage.double.add("me/mine", quants("mine", "Q4_0"), tags=["gguf"])
    answer = await resolved(stage, HubNeed(repo="me/mine"))
    assert (answer.model.id, answer.claimed_base) == ("me/mine", None)


async def test_a_known_model_comes_back_only_with_capabilities_the_catalogue_lacks(stage: Stage) -> None:
    stage.double.repos[REPO].facts["gguf"] = {"total": 1, "chat_template": "{{ tools }}"}
    answer = await resolved(stage, HubNeed(repo=REPO, quant="Q4_K_M"))
    assert answer.model is not None
    assert dict(answer.model.capabilities)["tools"] == ("chat-template",)
    assert answer.model.architecture == stage.shipped.models[0].architecture


async def test_several_at_once(stage: Stage) -> None:
    catalog = stage.catalog()
    needs = [HubNeed(repo=REPO, quant=quant) for quant in ("Q4_K_M", "Q8_0", "BF16", "Q1_0")] * 5
    answers = await asyncio.gather(*(catalog.resolve(need) for need in needs))
    assert [answer.status for answer in answers] == (["resolved"] * 3 + ["unavailable"]) * 5
    assert stage.made == 1


async def test_a_registry_name_is_resolved_by_its_manifest(stage: Stage) -> None:
    digest = f"sha256:{'c' * 64}"
    body = json.dumps({"schemaVersion": 2, "layers": [{"mediaType": "m", "digest": digest, "size": 7}]}).encode()
    stage.double.fail("registry.ollama.ai/v2/library/qwen3/manifests/8b", (200, {}, body))
    artifact = (await resolved(stage, RegistryNeed(name="qwen3:8b"))).artifact
    assert isinstance(artifact, RegistryArtifact)
    assert (artifact.digest, artifact.bytes) == (hashlib.sha256(body).hexdigest(), 7)


@pytest.mark.parametrize(
    ("fault", "code"), [(404, "not-found"), (401, "unauthorised"), (500, "unreachable"), (OSError("x"), "unreachable")]
)
async def test_a_registry_that_says_no(stage: Stage, fault: object, code: str) -> None:
    stage.double.fail("registry.ollama.ai", fault)  # type: ignore[arg-type]
    assert (await refused(stage, RegistryNeed(name="qwen3:8b"))).code == code


async def test_a_name_no_registry_knows_is_not_found(stage: Stage) -> None:
    assert (await refused(stage, RegistryNeed(name="a b"))).code == "not-found"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused("x", code="gated"), "gated"),
        (Refused("x", code="bad-url"), "unreachable"),
        (Refused("x"), "unreachable"),
        (Corrupt("x", code="bad-answer"), "unreachable"),
        (Corrupt("x"), "corrupt"),
        (Unreachable("x", code="rate-limited"), "unreachable"),
    ],
)
def test_errors_as_answers(error: Refused | Corrupt | Unreachable, code: str) -> None:
    assert unavailable(HubNeed(repo=REPO), error).code == code
