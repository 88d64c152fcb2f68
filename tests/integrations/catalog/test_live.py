from __future__ import annotations

import asyncio
import json
from datetime import date
from pathlib import Path

import pytest

from reconciler.domain.catalog import CatalogModel, Catalogue
from reconciler.errors import Refused
from reconciler.integrations.catalog.bundled import load_bundled
from reconciler.integrations.catalog.hub import HubClient
from reconciler.integrations.catalog.refresh import MOST_LIST_REQUESTS, MOST_REQUESTS
from reconciler.integrations.http import Http, MockTransport, Request, Response
from tests.doubles.hub import HUB, HubDouble
from tests.integrations.catalog.world import Stage, StillClock, desired, gguf_bytes, known_model, quants, snapshot

QWEN9 = {"base_model": "Qwen/Qwen9-8B", "license": "apache-2.0"}


def tagged(base: str | None = None, relation: str = "quantized") -> list[str]:
    return ["gguf", *([f"base_model:{base}", f"base_model:{relation}:{base}"] if base else [])]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    made = Stage(tmp_path)
    made.double.add(
        "Qwen/Qwen9-8B-GGUF",
        quants("Qwen9-8B", "Q4_K_M", "Q8_0"),
        tags=[*tagged("Qwen/Qwen9-8B"), "license:apache-2.0"],
        downloads=900,
        likes=9,
        pipeline_tag="text-generation",
        createdAt="2026-11-01T00:00:00.000Z",
        gguf={"total": 8_200_000_000, "architecture": "qwen9", "context_length": 40960, "chat_template": "{{ tools }}"},
    )
    made.double.add("unsloth/Qwen3-8B-GGUF", quants("Qwen3-8B", "Q4_K_M"), tags=tagged("Qwen/Qwen3-8B"), downloads=500)
    return made


def model(catalogue: Catalogue, model_id: str) -> CatalogModel | None:
    return next((each for each in catalogue.models if each.id == model_id), None)


async def test_a_new_model_of_an_allowed_publisher_is_discovered(stage: Stage) -> None:
    catalogue = await stage.catalog().candidates(desired(), freshness="refresh")
    found = model(catalogue, "Qwen/Qwen9-8B")
    assert found is not None
    assert (found.lineage, found.generation, found.generation_rank, found.line) == ("qwen", "9", 5, "general")
    assert (found.params, found.license, found.released) == (8_200_000_000, "apache-2.0", date(2026, 11, 1))
    assert (found.architecture.layers, found.architecture.kv_heads, found.architecture.head_dim) == (36, 8, 128)
    assert found.context_length == 40960
    assert dict(found.capabilities)["tools"] == ("chat-template",)
    (repository,) = found.repositories
    assert not repository.claimed
    assert [(build.quant, build.bytes, build.exact) for build in repository.builds] == [
        ("Q4_K_M", 4 * 10**9, True),
        ("Q8_0", 5 * 10**9, True),
    ]
    assert all(build.sha256 for build in repository.builds)
    assert (catalogue.origin, catalogue.generated_at, catalogue.notes) == ("live", date(2026, 11, 22), ())
    assert found.sources


async def test_its_dimensions_come_from_one_range_of_the_smallest_file(stage: Stage) -> None:
    await stage.catalog().candidates(desired(), freshness="refresh")
    (asked,) = stage.double.asked("cdn")
    assert asked.path.endswith("Qwen9-8B-Q4_K_M.gguf")
    assert asked.headers["range"] == "bytes=0-65535"


async def test_a_model_the_hub_tells_little_of_is_read_from_its_header(stage: Stage) -> None:
    content = gguf_bytes("qwen9", template="<think> {{ tools }}")
    files = quants("Qwen9-30B-A3B", "Q4_0", content=content)
    stage.double.add("Qwen/Qwen9-30B-A3B-GGUF", files, tags=["gguf"])
    catalogue = await stage.catalog().candidates(desired(), freshness="refresh")
    found = model(catalogue, "Qwen/Qwen9-30B-A3B")
    assert found is not None
    assert (found.params, found.active_params, found.architecture.layers) == (30 * 10**9, 3 * 10**9, 36)
    assert {name for name, _ in found.capabilities} == {"chat", "thinking", "tools"}


async def test_a_header_that_cannot_be_read_costs_the_dimensions_only(stage: Stage) -> None:
    stage.double.fail("cdn", 503)
    catalogue = await stage.catalog().candidates(desired(), freshness="refresh")
    found = model(catalogue, "Qwen/Qwen9-8B")
    assert found is not None
    assert (found.architecture.name, found.architecture.layers) == ("qwen9", None)
    assert any("Qwen/Qwen9-8B-GGUF" in note for note in catalogue.notes)


async def test_a_packagers_claim_is_taken_from_packagers_only_and_marked(stage: Stage) -> None:
    stage.double.add("bartowski/Qwen9-4B-GGUF", quants("Qwen9-4B", "Q4_K_M"), tags=tagged("Qwen/Qwen9-4B"))
    stage.double.add("Qwen/Qwen9-4B", tags=["license:mit"], createdAt="2026-10-01T00:00:00.000Z", downloads=77)
    without = await stage.catalog().candidates(desired(), freshness="refresh")
    assert model(without, "Qwen/Qwen9-4B") is None
    catalogue = await stage.catalog().candidates(desired(packagers=("bartowski",)), freshness="refresh")
    found = model(catalogue, "Qwen/Qwen9-4B")
    assert found is not None
    assert [(repository.id, repository.claimed) for repository in found.repositories] == [
        ("bartowski/Qwen9-4B-GGUF", True)
    ]
    assert (found.license, found.released) == ("mit", date(2026, 10, 1))


async def test_a_packager_opens_no_other_publisher_and_no_fine_tune(stage: Stage) -> None:
    stage.double.add("bartowski/gemma-9-GGUF", quants("g", "Q4_0"), tags=tagged("google/gemma-9"))
    stage.double.add("bartowski/Tuned-GGUF", quants("t", "Q4_0"), tags=tagged("Qwen/Qwen9-8B", "finetune"))
    stage.double.add("bartowski/Merge-GGUF", quants("m", "Q4_0"), tags=[*tagged("Qwen/A"), *tagged("Qwen/B")])
    stage.double.add("bartowski/Unsaid-GGUF", quants("u", "Q4_0"), tags=["gguf"])
    catalogue = await stage.catalog().candidates(desired(packagers=("bartowski",)), freshness="refresh")
    repositories = {repository.id for each in catalogue.models for repository in each.repositories}
    assert not {repo for repo in repositories if repo.startswith("bartowski/")}


async def test_a_list_that_smuggles_in_other_organisations_is_not_believed(stage: Stage) -> None:
    stage.double.extra_rows = [{"id": "evil/Qwen9-8B-GGUF", "tags": ["gguf"]}]
    catalogue = await stage.catalog().candidates(desired(), freshness="refresh")
    assert "evil" not in {each.publisher for each in catalogue.models}


async def test_a_known_model_gets_exact_sizes_and_digests(stage: Stage) -> None:
    catalogue = await stage.catalog().candidates(desired(packagers=("unsloth",)), freshness="refresh")
    (repository,) = model(catalogue, "Qwen/Qwen3-8B").repositories
    assert (repository.id, repository.claimed) == ("unsloth/Qwen3-8B-GGUF", False)
    assert [(build.bytes, build.exact) for build in repository.builds] == [(4 * 10**9, True)]
    assert model(catalogue, "Qwen/Qwen3-8B").sources == ("snapshot",)


async def test_image_models_and_disabled_repositories_are_left_out(stage: Stage) -> None:
    stage.double.add("Qwen/Image-GGUF", quants("i", "Q4_0"), tags=["gguf"], pipeline_tag="text-to-image")
    stage.double.add("Qwen/Off-GGUF", quants("o", "Q4_0"), tags=["gguf"], disabled=True)
    catalogue = await stage.catalog().candidates(desired(), freshness="refresh")
    assert {each.id for each in catalogue.models} == {"Qwen/Qwen3-8B", "Qwen/Qwen9-8B"}


async def test_offline_asks_nobody_and_says_how_old_the_snapshot_is(stage: Stage) -> None:
    catalogue = await stage.catalog().candidates(desired(), freshness="offline")
    assert (stage.made, stage.double.requests) == (0, [])
    assert (catalogue.origin, catalogue.models) == ("bundled", stage.shipped.models)
    assert catalogue.notes == ("offline: the catalogue is the shipped snapshot of 2026-09-01",)


async def test_offline_uses_the_cache_however_old_with_its_date(stage: Stage) -> None:
    await stage.catalog().candidates(desired(), freshness="refresh")
    stage.clock.pass_hours(24 * 90)
    asked = len(stage.double.requests)
    catalogue = await stage.catalog().candidates(desired(), freshness="offline")
    assert len(stage.double.requests) == asked
    assert model(catalogue, "Qwen/Qwen9-8B") is not None
    assert (catalogue.origin, catalogue.generated_at) == ("cached", date(2026, 11, 22))
    assert catalogue.notes == ("offline: the catalogue is what the Hub said on 2026-11-22, 90d ago",)


async def test_cached_asks_once_and_again_after_the_interval(stage: Stage) -> None:
    first = await stage.catalog().candidates(desired(), freshness="cached")
    asked = len(stage.double.requests)
    assert asked > 0
    stage.clock.pass_hours(23.9)
    again = await stage.catalog().candidates(desired(), freshness="cached")
    assert len(stage.double.requests) == asked
    assert (first.origin, again.origin) == ("live", "cached")
    assert again.models == first.models
    assert again.notes == ()
    stage.clock.pass_hours(0.1)
    assert (await stage.catalog().candidates(desired(), freshness="cached")).origin == "live"
    assert len(stage.double.requests) == asked + 2


async def test_an_organisation_that_is_newly_allowed_is_asked_about_at_once(stage: Stage) -> None:
    await stage.catalog().candidates(desired(), freshness="cached")
    stage.double.requests.clear()
    await stage.catalog().candidates(desired(packagers=("unsloth",)), freshness="cached")
    assert {each.query.partition("author=")[2].partition("&")[0] for each in stage.double.asked("author=")} == {
        "unsloth"
    }


async def test_what_is_allowed_now_decides_what_the_cache_gives(stage: Stage) -> None:
    await stage.catalog().candidates(desired(), freshness="refresh")
    catalogue = await stage.catalog().candidates(desired(allowed=("google",)), freshness="offline")
    assert model(catalogue, "Qwen/Qwen9-8B") is None


async def test_nothing_allowed_asks_nobody(stage: Stage) -> None:
    catalogue = await stage.catalog().candidates(desired(allowed=(), packagers=("unsloth",)), freshness="refresh")
    assert (stage.double.requests, catalogue.origin, catalogue.notes) == ([], "bundled", ())


async def test_refresh_always_asks(stage: Stage) -> None:
    await stage.catalog().candidates(desired(), freshness="refresh")
    asked = len(stage.double.asked("author="))
    await stage.catalog().candidates(desired(), freshness="refresh")
    assert len(stage.double.asked("author=")) == 2 * asked


async def test_what_belongs_to_a_commit_is_asked_once(stage: Stage) -> None:
    await stage.catalog().candidates(desired(), freshness="refresh")
    stage.double.requests.clear()
    await stage.catalog().candidates(desired(), freshness="refresh")
    assert stage.double.asked("/tree/") == stage.double.asked("cdn") == []
    stage.double.repos["Qwen/Qwen9-8B-GGUF"].push(quants("Qwen9-8B", "Q6_K"))
    catalogue = await stage.catalog().candidates(desired(), freshness="refresh")
    assert len(stage.double.asked("/tree/")) == 1
    assert [build.quant for build in model(catalogue, "Qwen/Qwen9-8B").repositories[0].builds] == ["Q6_K"]


@pytest.mark.parametrize("freshness", ["cached", "refresh"])
async def test_without_a_network_the_snapshot_is_used_with_its_date(stage: Stage, freshness: str) -> None:
    stage.double.fail("/", OSError("no route"))
    catalogue = await stage.catalog().candidates(desired(), freshness=freshness)
    assert (catalogue.origin, catalogue.models) == ("bundled", stage.shipped.models)
    assert catalogue.notes[-1] == "the Hub was not reached: the catalogue is the shipped snapshot of 2026-09-01"
    assert len(catalogue.notes) == 2


async def test_without_a_network_the_cache_comes_before_the_snapshot(stage: Stage) -> None:
    await stage.catalog().candidates(desired(), freshness="refresh")
    stage.clock.pass_hours(50)
    stage.double.fail("/", OSError("no route"))
    catalogue = await stage.catalog().candidates(desired(), freshness="cached")
    assert catalogue.origin == "cached"
    assert model(catalogue, "Qwen/Qwen9-8B") is not None
    assert catalogue.notes[-1] == "the Hub was not reached: the catalogue is what the Hub said on 2026-11-22, 2d2h ago"


async def test_after_a_silence_cached_leaves_the_hub_alone_for_a_while(stage: Stage) -> None:
    stage.double.fail("/", OSError("no route"))
    await stage.catalog().candidates(desired(), freshness="cached")
    stage.double.heal()
    asked = len(stage.double.requests)
    catalogue = await stage.catalog().candidates(desired(), freshness="cached")
    assert len(stage.double.requests) == asked
    assert catalogue.notes
    stage.clock.pass_hours(5.1 / 60)
    assert (await stage.catalog().candidates(desired(), freshness="cached")).origin == "live"


async def test_after_the_clock_was_set_back_the_hub_is_asked_again(stage: Stage) -> None:
    await stage.catalog().candidates(desired(), freshness="cached")
    stage.clock.pass_hours(-24 * 365)
    assert (await stage.catalog().candidates(desired(), freshness="cached")).origin == "live"
    assert (await stage.catalog().candidates(desired(), freshness="cached")).origin == "cached"


async def test_a_silence_that_has_not_come_yet_says_nothing(stage: Stage) -> None:
    stage.double.fail("/", OSError("no route"))
    await stage.catalog().candidates(desired(), freshness="cached")
    stage.double.heal()
    stage.clock.pass_hours(-24 * 365)
    assert (await stage.catalog().candidates(desired(), freshness="cached")).origin == "live"


async def test_a_hub_that_is_gone_is_not_asked_by_every_organisation(stage: Stage) -> None:
    stage.double.fail("/", OSError("no route"))
    orgs = tuple(f"org{number}" for number in range(20))
    catalogue = await stage.catalog().candidates(desired(allowed=orgs), freshness="refresh")
    assert len(stage.double.requests) <= 8
    assert sum("org19" in note for note in catalogue.notes) == 1


async def test_a_spent_rate_limit_stops_the_round_and_is_respected(stage: Stage) -> None:
    stage.double.requests_left = 6
    orgs = ("Qwen", *(f"org{number}" for number in range(8)))
    catalogue = await stage.catalog().candidates(desired(allowed=orgs), freshness="cached")
    assert len(stage.double.requests) <= 6
    assert any("rate limit" in note for note in catalogue.notes)
    stage.double.requests_left = 500
    asked = len(stage.double.requests)
    stage.clock.pass_hours(4 / 60)
    await stage.catalog().candidates(desired(allowed=orgs), freshness="cached")
    assert len(stage.double.requests) == asked


async def test_one_organisations_failure_is_a_note(stage: Stage) -> None:
    stage.double.fail("author=broken", 500)
    catalogue = await stage.catalog().candidates(desired(allowed=("broken", "Qwen")), freshness="refresh")
    assert model(catalogue, "Qwen/Qwen9-8B") is not None
    assert catalogue.origin == "live"
    (note,) = catalogue.notes
    assert note.startswith("broken: ")
    assert "500" in note


async def test_a_hub_without_trending_is_asked_by_downloads_only(stage: Stage) -> None:
    stage.double.fail("sort=trendingScore", 400)
    catalogue = await stage.catalog().candidates(desired(), freshness="refresh")
    assert model(catalogue, "Qwen/Qwen9-8B") is not None
    assert len(catalogue.notes) == 1


async def test_a_round_has_a_bound_and_the_next_one_goes_on(stage: Stage) -> None:
    for number in range(60):
        name = f"Qwen9-{number + 1}B"
        stage.double.add(f"Qwen/{name}-GGUF", quants(name, "Q4_0"), tags=["gguf"], downloads=number)
    seen = []
    for _ in range(4):
        stage.double.requests.clear()
        catalogue = await stage.catalog().candidates(desired(), freshness="refresh")
        assert len([each for each in stage.double.requests if "cdn" not in each.host]) <= MOST_REQUESTS + 4
        seen.append(len(catalogue.models))
    assert seen[0] < seen[1] < seen[2]


async def test_many_organisations_take_turns(stage: Stage) -> None:
    orgs = tuple(f"org{number:02}" for number in range(30))
    first = await stage.catalog().candidates(desired(allowed=orgs), freshness="refresh")
    assert len(stage.double.requests) == MOST_LIST_REQUESTS
    assert first.notes == (f"not asked this time, but next: {', '.join(orgs[24:])}",)
    stage.clock.pass_hours(1)
    stage.double.requests.clear()
    await stage.catalog().candidates(desired(allowed=orgs), freshness="cached")
    assert {each.query.partition("author=")[2][:5] for each in stage.double.requests} == set(orgs[24:])


async def test_a_hub_that_hangs_costs_a_bounded_wait(tmp_path: Path, stage: Stage) -> None:
    async def answer(request: Request) -> Response:
        if "author=slow" in str(request.url):
            await asyncio.sleep(60)
        return stage.double._respond(request)

    stage.changes = {"cached_seconds": 0.5}
    http = Http(clock=StillClock(), transport=MockTransport(answer), retries=0)
    stage.hub = lambda: HubClient(http, endpoint=HUB)  # type: ignore[method-assign]
    catalogue = await stage.catalog().candidates(desired(allowed=("slow", "Qwen")), freshness="cached")
    assert model(catalogue, "Qwen/Qwen9-8B") is not None
    assert any("longer than" in note and "slow" in note for note in catalogue.notes)


async def test_a_token_that_cannot_be_read_is_a_note(stage: Stage) -> None:
    def refuse() -> HubClient:
        raise Refused("hub.tokenFrom: no variable HF_X")

    stage.hub = refuse  # type: ignore[method-assign]
    catalogue = await stage.catalog().candidates(desired(), freshness="cached")
    assert catalogue.origin == "bundled"
    assert "hub.tokenFrom: no variable HF_X" in catalogue.notes


async def test_a_cache_that_is_broken_is_a_warning_and_is_replaced(stage: Stage) -> None:
    stage.path.write_text("{")
    catalogue = await stage.catalog().candidates(desired(), freshness="cached")
    assert [note for note in catalogue.notes if "not valid JSON" in note]
    assert (await stage.catalog().candidates(desired(), freshness="offline")).origin == "cached"


async def test_an_entry_of_another_shape_is_asked_for_again(stage: Stage) -> None:
    await stage.catalog().candidates(desired(), freshness="refresh")
    kept = json.loads(stage.path.read_text())
    for entry in kept["entries"].values():
        entry["value"] = [{"nonsense": True}]
    stage.path.write_text(json.dumps(kept))
    offline = await stage.catalog().candidates(desired(), freshness="offline")
    assert (offline.origin, offline.models) == ("bundled", stage.shipped.models)
    assert (await stage.catalog().candidates(desired(), freshness="cached")).origin == "live"


async def test_neither_cache_nor_notes_hold_the_token(stage: Stage) -> None:
    stage.token = "hf_granted"
    stage.double.fail("sort=trendingScore", (401, {}, b"hf_granted is wrong"))
    catalogue = await stage.catalog().candidates(desired(), freshness="refresh")
    assert stage.double.requests[0].token == "Bearer hf_granted"
    assert "hf_granted" not in stage.path.read_text()
    assert "hf_granted" not in " ".join(catalogue.notes)


async def test_the_snapshots_own_notes_stay(stage: Stage) -> None:
    stage.shipped = Catalogue((known_model(),), (), date(2026, 9, 1), "fallback", ("the snapshot is damaged",))
    catalogue = await stage.catalog().candidates(desired(), freshness="offline")
    assert (catalogue.origin, catalogue.notes[0]) == ("fallback", "the snapshot is damaged")


async def test_the_order_of_answers_does_not_change_the_catalogue(stage: Stage, tmp_path: Path) -> None:
    first = await stage.catalog().candidates(desired(packagers=("unsloth",)), freshness="refresh")
    other = Stage(tmp_path / "other", HubDouble())
    other.shipped = snapshot()
    other.double.repos = dict(reversed(stage.double.repos.items()))
    assert (await other.catalog().candidates(desired(packagers=("unsloth",)), freshness="refresh")) == first


async def test_with_neither_hub_nor_snapshot_the_catalogue_is_empty_and_says_why(stage: Stage) -> None:
    """Changed from the origin, which failed a refresh then: here slots stay unfilled, and what is there stays."""
    stage.shipped = load_bundled(stage.path.parent / "no-such-snapshot.json", today=date(2026, 11, 22))
    stage.double.fail("/", OSError("no route"))
    catalogue = await stage.catalog().candidates(desired(), freshness="refresh")
    assert (catalogue.origin, catalogue.models) == ("fallback", ())
    assert any("no-such-snapshot.json is not usable" in note for note in catalogue.notes)
    assert any("the Hub was not reached" in note for note in catalogue.notes)
