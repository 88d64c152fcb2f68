"""An adapter of a Hub from the first question to the files on this host: whom it asks, with what, and for which commit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.domain.units import Bytes
from reconciler.engine.lora.adapter_facts import read_adapter
from reconciler.engine.lora.verdict import remote_source
from reconciler.errors import Corrupt, OutsideError, Refused
from reconciler.integrations.catalog.adapters import HubAdapters
from reconciler.integrations.catalog.hub import HubClient
from reconciler.integrations.files.adapter_files import LocalAdapterFiles
from reconciler.integrations.http import Http
from reconciler.integrations.runtimes.adapter_store import LocalAdapterStore
from reconciler.lora.adapter_config import CONFIG_LIMIT_BYTES
from reconciler.lora.adapter_content import AdapterContent
from reconciler.lora.remote_adapter import RemoteAdapter
from tests.doubles.hub import CDN, HUB, DoubleFile, HubDouble
from tests.engine.lora.adapting import hub_lora
from tests.integrations.catalog.world import StillClock
from tests.lora_files import config, folder, gguf_adapter, pairs

CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
TOKEN = "hf_granted"
SHAPES = {"blk.0.attn_q.weight": (16, 16)}


def quiet(done: Bytes, total: Bytes, note: str = "") -> None:
    """Nobody listens."""


def peft(place: Path, rank: int = 4) -> dict[str, DoubleFile]:
    made = folder(place, pairs("q_proj", "v_proj", rank=rank), config(r=rank))
    return {
        CONFIG: DoubleFile((made / CONFIG).read_bytes(), lfs=False),
        WEIGHTS: DoubleFile((made / WEIGHTS).read_bytes()),
    }


class Desk:
    """The Hub's double, what looks into it, and what fetches from it."""

    def __init__(self, root: Path, *, token: str | None = None) -> None:
        self.double = HubDouble(granted=[TOKEN])
        self.adapters = HubAdapters(lambda: HubClient(self.http(), endpoint=HUB, token=token))
        self.store = LocalAdapterStore(
            root / "adapters", http=self.http, clock=StillClock(), token=token, hub_endpoint=HUB
        )

    def http(self) -> Http:
        return Http(clock=StillClock(), transport=self.double.transport())

    async def look(self, revision: str | None = None, *, pickles: bool = False) -> RemoteAdapter:
        return await self.adapters.look("acme/sql", revision, pickles=pickles)

    def content(self, found: RemoteAdapter) -> AdapterContent:
        return remote_source(hub_lora("acme/sql"), found, LocalAdapterFiles({})).content

    async def hold(self, found: RemoteAdapter) -> Path:
        return Path(await self.store.hold(self.content(found), "me", quiet))


async def test_only_the_endpoint_and_where_it_redirects_to_are_asked(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.double.add("acme/sql", peft(tmp_path / "v1"))
    await desk.hold(await desk.look())
    hosts = {f"https://{one.host}" for one in desk.double.requests}
    assert hosts == {HUB, CDN}
    assert all(one.path.startswith(("/api/models/acme/sql", "/acme/sql/resolve/")) for one in desk.double.asked("hub."))


async def test_the_token_goes_to_the_endpoint_with_every_request_and_nowhere_else(tmp_path: Path) -> None:
    desk = Desk(tmp_path, token=TOKEN)
    desk.double.add("acme/sql", peft(tmp_path / "v1"), private=True, gated=True)
    path = await desk.hold(await desk.look())
    assert {each.name for each in path.iterdir()} == {CONFIG, WEIGHTS}
    told = {(f"https://{one.host}", one.token) for one in desk.double.requests}
    assert told == {(HUB, f"Bearer {TOKEN}"), (CDN, None)}


async def test_without_the_token_a_gated_adapter_is_a_clear_no_before_anything_is_held(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.double.add("acme/sql", peft(tmp_path / "v1"), gated=True)
    with pytest.raises(Refused) as caught:
        await desk.look()
    assert (caught.value.code, "token" in (caught.value.hint or "")) == ("gated", True)


async def test_a_question_that_is_redirected_to_another_host_is_not_asked_there(tmp_path: Path) -> None:
    desk = Desk(tmp_path, token=TOKEN)
    desk.double.add("acme/sql", peft(tmp_path / "v1"))
    desk.double.fail("/api/models/acme/sql", (302, {"Location": "https://elsewhere.example/api"}, b""))
    with pytest.raises(OutsideError):
        await desk.look()
    assert {f"https://{one.host}" for one in desk.double.requests} == {HUB}


async def test_a_repository_that_was_renamed_is_not_followed(tmp_path: Path) -> None:
    """Trust goes by the name of the organisation: another one may have taken it over."""
    desk = Desk(tmp_path)
    desk.double.add("stranger/sql", peft(tmp_path / "v1"))
    desk.double.renamed["acme/sql"] = "stranger/sql"
    with pytest.raises(Refused, match="is called stranger/sql"):
        await desk.look()
    assert desk.double.asked("/resolve/") == []


@pytest.mark.parametrize("revision", ["v1", None])
async def test_what_a_revision_means_is_asked_once_and_then_only_its_commit_is(
    tmp_path: Path, revision: str | None
) -> None:
    desk = Desk(tmp_path)
    repo = desk.double.add("acme/sql", peft(tmp_path / "v1"))
    repo.refs["v1"] = repo.head
    await desk.hold(await desk.look(revision))
    first, *others = desk.double.asked("hub.")
    assert first.path.endswith(f"/revision/{revision or 'main'}")
    assert all(repo.head in one.path for one in others), [one.path for one in others]


async def test_a_commit_that_is_pinned_is_the_one_that_is_read(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    repo = desk.double.add("acme/sql", peft(tmp_path / "v1"))
    first = repo.head
    repo.push(peft(tmp_path / "v2", rank=2))
    found = await desk.look(first)
    assert (found.artifact.commit, found.heads[CONFIG]) == (first, repo.commits[first][CONFIG].content)
    assert (await desk.look()).artifact.commit == repo.head != first


async def test_a_tag_that_moves_after_the_look_changes_nothing_of_what_is_fetched(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    repo = desk.double.add("acme/sql", peft(tmp_path / "v1"))
    repo.refs["v1"] = first = repo.head
    found = await desk.look("v1")
    repo.refs["v1"] = repo.push(peft(tmp_path / "v2", rank=2))
    path = await desk.hold(found)
    assert {each.name: each.read_bytes() for each in path.iterdir()} == {
        name: file.content for name, file in repo.commits[first].items()
    }


async def test_what_is_other_bytes_by_now_never_gets_a_name(tmp_path: Path) -> None:
    """The same commit, other content: the small file has no hash of the Hub, so ours of the look counts."""
    desk = Desk(tmp_path)
    repo = desk.double.add("acme/sql", peft(tmp_path / "v1"))
    found = await desk.look()
    changed = repo.commits[repo.head][CONFIG].content.replace(b"8", b"9")
    repo.commits[repo.head][CONFIG] = DoubleFile(changed, lfs=False)
    with pytest.raises(Corrupt):
        await desk.hold(found)
    assert not list((tmp_path / "adapters").glob("*/files"))


async def test_a_commit_that_is_gone_by_now_is_a_clear_no(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    repo = desk.double.add("acme/sql", peft(tmp_path / "v1"))
    found = await desk.look()
    del repo.commits[repo.head]
    with pytest.raises(OutsideError):
        await desk.hold(found)
    assert not list((tmp_path / "adapters").glob("*/files"))


# ------------------------------------------------------------------------------------------------ which files


GGUF = DoubleFile(b"GGUF")


@pytest.mark.parametrize(
    ("there", "pickles", "chosen"),
    [
        ((CONFIG, WEIGHTS), False, (CONFIG, WEIGHTS)),
        ((CONFIG, WEIGHTS, PICKLE), False, (CONFIG, WEIGHTS)),
        ((CONFIG, WEIGHTS, PICKLE), True, (CONFIG, WEIGHTS)),
        ((CONFIG, PICKLE), True, (CONFIG, PICKLE)),
        ((CONFIG, PICKLE, "a.gguf"), False, ("a.gguf",)),
        ((CONFIG, PICKLE, "a.gguf"), True, (CONFIG, PICKLE)),
        ((CONFIG, WEIGHTS, "a.gguf"), False, (CONFIG, WEIGHTS)),
        (("a.gguf", "old/b.gguf", "README.md"), False, ("a.gguf",)),
        (("A.GGUF",), False, ("A.GGUF",)),
        ((WEIGHTS, "a.gguf"), False, ("a.gguf",)),
    ],
)
async def test_which_files_of_a_repository_are_its_adapter(
    tmp_path: Path, there: tuple[str, ...], pickles: bool, chosen: tuple[str, ...]
) -> None:
    bodies = peft(tmp_path / "v1") | {PICKLE: DoubleFile(b"pickle")}
    made = DoubleFile(gguf_adapter(tmp_path / "a.gguf", "llama", SHAPES).read_bytes())
    desk = Desk(tmp_path)
    desk.double.add("acme/sql", {name: bodies.get(name, made) for name in there})
    found = await desk.look(pickles=pickles)
    assert tuple(one.path for one in found.artifact.files) == chosen
    assert not any(PICKLE in one.path for one in desk.double.requests), "a pickle is never read"


@pytest.mark.parametrize(
    ("there", "pickles", "why", "hint"),
    [
        ((CONFIG, PICKLE), False, "as a pickle only", "ask its owner for adapter_model.safetensors"),
        ((PICKLE,), True, "no LoRA adapter", "with adapter_model.safetensors"),
        (("old/" + CONFIG, "old/" + WEIGHTS), False, "no LoRA adapter", "with adapter_model.safetensors"),
        (("a.gguf", "b.gguf"), False, r"several GGUF files \(a.gguf, b.gguf\)", "of one adapter"),
    ],
)
async def test_a_repository_that_is_no_adapter_says_what_it_lacks(
    tmp_path: Path, there: tuple[str, ...], pickles: bool, why: str, hint: str
) -> None:
    desk = Desk(tmp_path)
    desk.double.add("acme/sql", dict.fromkeys(there, GGUF))
    with pytest.raises(Refused, match=why) as caught:
        await desk.look(pickles=pickles)
    assert (caught.value.code, hint in (caught.value.hint or "")) == ("not-installable", True)


# ------------------------------------------------------------------------------------------------ what the Hub says of them


async def test_a_configuration_beyond_any_is_refused_and_not_read(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    large = DoubleFile(b"{}", size=CONFIG_LIMIT_BYTES + 1, lfs=False)
    desk.double.add("acme/sql", peft(tmp_path / "v1") | {CONFIG: large})
    with pytest.raises(Refused, match="larger than"):
        await desk.look()
    assert desk.double.asked("/resolve/") == []


async def test_a_configuration_as_large_as_may_be_is_read_whole(tmp_path: Path) -> None:
    files = peft(tmp_path / "v1")
    body = files[CONFIG].content.ljust(CONFIG_LIMIT_BYTES)
    desk = Desk(tmp_path)
    desk.double.add("acme/sql", files | {CONFIG: DoubleFile(body, lfs=False)})
    assert (await desk.look()).heads[CONFIG] == body


async def test_a_file_that_is_not_what_the_hub_says_is_told_at_the_look(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    files = peft(tmp_path / "v1")
    desk.double.add("acme/sql", files | {WEIGHTS: DoubleFile(files[WEIGHTS].content, sha256="ab" * 32)})
    with pytest.raises(Corrupt, match="is not what the Hub says it is"):
        await desk.look()


async def test_a_file_that_ends_before_its_size_is_told_at_the_look(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    files = peft(tmp_path / "v1")
    desk.double.add("acme/sql", files)
    desk.double.fail(f"/{CONFIG}", (206, {"Content-Range": "bytes 0-4/100"}, b"{    "))
    with pytest.raises(Corrupt, match="ends after 5 bytes"):
        await desk.look()


async def test_a_repository_that_is_disabled_is_refused_though_its_facts_are_told(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.double.add("acme/sql", peft(tmp_path / "v1"))
    facts = {"id": "acme/sql", "sha": desk.double.repos["acme/sql"].head, "disabled": True}
    desk.double.fail("/api/models/acme/sql", (200, {}, json.dumps(facts).encode()))
    with pytest.raises(Refused, match="is disabled"):
        await desk.look()
    assert len(desk.double.requests) == 1


async def test_a_repository_whose_commit_nobody_tells_cannot_be_pinned(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.double.add("acme/sql", peft(tmp_path / "v1"))
    desk.double.fail("/api/models/acme/sql", (200, {}, b'{"id": "acme/sql"}'))
    with pytest.raises(Corrupt, match="names no commit"):
        await desk.look()


async def test_one_client_asks_about_every_adapter(tmp_path: Path) -> None:
    made = []
    desk = Desk(tmp_path)
    desk.double.add("acme/sql", peft(tmp_path / "v1"))
    desk.double.add("acme/chat", peft(tmp_path / "v2"))

    def client() -> HubClient:
        made.append(HubClient(desk.http(), endpoint=HUB))
        return made[-1]

    adapters = HubAdapters(client)
    await adapters.look("acme/sql", None, pickles=False)
    await adapters.look("acme/chat", None, pickles=False)
    assert len(made) == 1


@pytest.mark.parametrize("form", ["gguf", "safetensors"])
async def test_a_header_beyond_the_first_request_is_read_whole_and_the_weights_are_not(
    tmp_path: Path, form: str
) -> None:
    """A table of more than a thousand tensors takes more than 64 KiB; the weights after it are larger still."""
    layers = range(600)
    if form == "gguf":
        shapes = {f"blk.{layer}.attn_q.weight": (64, 64) for layer in layers}
        files = {"sql.gguf": DoubleFile(gguf_adapter(tmp_path / "a.gguf", "llama", shapes, rank=4).read_bytes())}
    else:
        made = folder(tmp_path / "v1", pairs("q_proj", layers=layers), config())
        files = {name: DoubleFile((made / name).read_bytes(), lfs=name == WEIGHTS) for name in (CONFIG, WEIGHTS)}
    desk = Desk(tmp_path)
    desk.double.add("acme/sql", files)
    found = await desk.look()
    name = found.artifact.files[-1].path
    head, body = found.heads[name], files[name].content
    assert body.startswith(head)
    assert 64 * 1024 < len(head) < len(body)
    adapter = hub_lora("acme/sql")
    source = remote_source(adapter, found, LocalAdapterFiles({}))
    read = read_adapter(source.files.find(source.given), source.files)
    assert [one.code for one in read.findings if one.code == "weights_unreadable"] == []
    assert read.facts is not None
    assert len(read.facts.modules) == 600


async def test_a_header_that_claims_more_than_any_is_not_read_on(tmp_path: Path) -> None:
    claims = (40 * 2**20).to_bytes(8, "little") + b"{" + b" " * 200_000
    desk = Desk(tmp_path)
    files = peft(tmp_path / "v1")
    desk.double.add("acme/sql", files | {WEIGHTS: DoubleFile(claims, size=50 * 2**20, sha256="ab" * 32)})
    found = await desk.look()
    assert len(found.heads[WEIGHTS]) == 64 * 1024
    assert len(desk.double.asked(WEIGHTS)) == 2, "one request, and where it is redirected to"
