"""Where adapters are served: a real llama-server, the double of a vLLM, the double of Ollama; each as its clients see it.

A place is a ``Site`` of models where it has any, or a server of one base. What it serves is read from the server and
from the files it reads itself, never through the program under test.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.error import HTTPError

from tests.campaign.sites import OllamaSite, RouterSite, Site, ollama_site, router_site, target_of_file
from tests.doubles.hub import DoubleFile, DoubleRepo, HubDouble
from tests.doubles.ollama_http import Loopback
from tests.doubles.vllm import Lora, VllmDouble
from tests.e2e.rig import fetch, sha256_of
from tests.lora_files import config, folder, gguf_adapter, pairs

WIDE = 256
"""Rank of contents that are to be larger than what is copied at once."""
OURS, THEIRS = "sql", "theirs"
SHAPES = {"blk.0.attn_q.weight": (256, 256), "blk.1.attn_q.weight": (256, 256), "blk.1.attn_v.weight": (256, 128)}
"""Of the small models that a real llama-server loads."""


@dataclass(frozen=True)
class Served:
    """What a client gets who asks for an adapter."""

    base: str
    content: str
    """SHA-256 of its weights, as the server reads them; ``nothing`` where they are not there."""
    scale: float = 1.0


class Place(Protocol):
    """One server that takes adapters."""

    kind: str
    hub: str
    written: tuple[Path, ...]
    """Folders that our program writes besides its own."""
    bases: tuple[str, ...]
    """What an adapter can stand on; one of them where the server was started with it."""
    scales: bool
    """It takes a scale."""
    forgets: bool
    """What it was given while it ran is lost when it stops."""
    gap: bool
    """While an adapter is changed, its name may stand for nothing (``docs/targets.md``)."""

    def of_file(self) -> dict[str, Any]:
        """Its target, as a file has it."""
        ...

    def slots(self, base: str) -> list[dict[str, Any]]:
        """What a file has for a base: a slot called ``coder``, or none where the server was started with it."""
        ...

    def declared(self, base: str) -> str:
        """What an adapter names as its base."""
        ...

    def variables(self) -> dict[str, str]: ...

    def source(self, at: Path, seed: int) -> Path:
        """An adapter of this content, in the form the server takes; its file of weights."""
        ...

    def put_theirs(self, at: Path) -> None:
        """Somebody else's adapter is served, from a place of theirs."""
        ...

    def models(self) -> dict[str, str]: ...
    def served(self) -> dict[str, Served]: ...
    def tries(self) -> list[str]:
        """Names that nobody asks for, left of a change."""
        ...

    def answers(self, name: str) -> bool:
        """A client asks for it and gets an answer."""
        ...

    def start(self) -> None: ...
    def kill(self) -> None: ...
    def restart(self) -> None: ...
    def keep(self) -> None: ...
    def bring_back(self) -> None: ...


def content_of(path: Path) -> str:
    return sha256_of(path) if path.is_file() else "nothing"


def peft_source(at: Path, seed: int) -> Path:
    """Of more than is copied at once."""
    tensors = pairs("q_proj", "v_proj", rank=16, widths={"q_proj": (4096, 4096), "v_proj": (4096, 1024)})
    made = folder(at, {name: tensor * seed for name, tensor in tensors.items()}, config(r=16))
    return made / "adapter_model.safetensors"


def gguf_source(at: Path, seed: int) -> Path:
    at.parent.mkdir(parents=True, exist_ok=True)
    return gguf_adapter(at.with_suffix(".gguf"), "llama", SHAPES, rank=WIDE, scale=0.1, seed=seed)


class OnSlots:
    """Its bases are models of slots, and adapters stand there as GGUF."""

    def of_file(self: Site) -> dict[str, Any]:
        return target_of_file(self)

    def slots(self: Site, base: str) -> list[dict[str, Any]]:
        return [self.slot(base) | {"name": "coder"}]

    def declared(self, base: str) -> str:
        return "coder"

    def source(self, at: Path, seed: int) -> Path:
        return gguf_source(at, seed)


class RouterPlace(OnSlots, RouterSite):
    """A real llama-server with its preset file."""

    bases = ("alpha", "beta")
    scales, forgets, gap = True, False, False

    @property
    def written(self) -> tuple[Path, ...]:
        return (self.preset.parent,)

    def put_theirs(self, at: Path) -> None:
        self.put("delta")
        path = gguf_source(at, 77)
        section = f"\n; a person's\n[{THEIRS}]\nhf-repo = {self.name_of('delta')}\noffline = true\nlora = {path}\n"
        self.preset.write_text(self.preset.read_text() + section, encoding="utf-8")
        self.router.reload()

    def models(self) -> dict[str, str]:
        return self.installed()

    def served(self) -> dict[str, Served]:
        found = {}
        for item in fetch(f"{self.router.url}/models")["data"]:
            lines = [line.partition(" = ") for line in item["status"].get("preset", "").splitlines()]
            says = {key: value for key, _, value in lines}
            path, scale = says.get("lora"), 1.0
            if "lora-scaled" in says:
                path, _, told = says["lora-scaled"].rpartition(":")
                scale = float(told)
            if path is not None:
                base = says["hf-repo"]
                is_there = self.installed().get(base, "damaged") != "damaged"
                found[item["id"]] = Served(base, content_of(Path(path)) if is_there else "no base", scale)
        return {name: one for name, one in found.items() if "@" not in name}

    def tries(self) -> list[str]:
        listed = [item["id"] for item in fetch(f"{self.router.url}/models")["data"]]
        return [name for name in listed if "@" in name] + [
            line for line in self.preset.read_text().splitlines() if line.startswith("[") and "@" in line
        ]

    def answers(self, name: str) -> bool:
        body = {"model": name, "prompt": "t1", "n_predict": 1}
        return "content" in fetch(f"{self.router.url}/completion", body)


class OllamaPlace(OnSlots, OllamaSite):
    """The double of an Ollama that makes models with adapters."""

    bases = ("alpha", "beta")
    scales, forgets, gap = False, False, False

    @property
    def written(self) -> tuple[Path, ...]:
        return ()

    def put_theirs(self, at: Path) -> None:
        self.put("delta")
        path = gguf_source(at, 77)
        digest = f"sha256:{sha256_of(path)}"
        shutil.copyfile(path, self.server.store.blob(digest))
        body = {"model": THEIRS, "from": self.name_of("delta"), "adapters": {"a.gguf": digest}, "stream": False}
        fetch(f"{self.server.url}/api/create", body)

    def models(self) -> dict[str, str]:
        return {name: content for name, content in self.installed().items() if name.startswith(self.address)}

    def _adapted(self) -> Iterator[tuple[str, Served]]:
        store = self.server.store
        for stored in store.all():
            layer = next((one for one in stored.layers if one["mediaType"].endswith(".adapter")), None)
            if layer is not None:
                blobs = [store.blob(one["digest"]) for one in stored.layers]
                whole = all(path.exists() and path.name == f"sha256-{sha256_of(path)}" for path in blobs)
                weights = next(one for one in stored.layers if one["mediaType"].endswith(".model"))
                base = next(
                    (
                        other.name.short
                        for other in store.all()
                        if any(one["digest"] == weights["digest"] for one in other.layers)
                        and not any(one["mediaType"].endswith(".adapter") for one in other.layers)
                    ),
                    "",
                )
                content = content_of(store.blob(layer["digest"])) if whole else "nothing"
                yield stored.name.short, Served(base, content)

    def served(self) -> dict[str, Served]:
        return {
            name.removesuffix(":latest"): one for name, one in self._adapted() if "localmodels-trial" not in name
        }  # fmt: skip

    def tries(self) -> list[str]:
        return [name for name, _ in self._adapted() if "localmodels-trial" in name]

    def answers(self, name: str) -> bool:
        body = {"model": name, "prompt": "a", "stream": False, "keep_alive": 0}
        return bool(fetch(f"{self.server.url}/api/generate", body)["done"])


class MortalVllm(VllmDouble):
    """A vLLM whose machine goes down and comes back."""

    port = 0

    def kill(self) -> None:
        self.port = self._server.server_address[1]
        self._server.stop()

    def start(self) -> None:
        self._server = Loopback(self._route, self.port)
        self._begin()
        self._server.start()


class VllmPlace:
    """The double of a vLLM; the Hub beside it has the same adapters."""

    bases = ("acme/tiny-llama",)
    kind = "vllm"
    scales, forgets, gap = False, True, True
    written: tuple[Path, ...] = ()

    def __init__(self, server: MortalVllm, hub: str, double: HubDouble) -> None:
        self.hub, self._server, self._double = hub, server, double
        self._kept: dict[str, Lora] = {}
        self._is_up = True

    def of_file(self) -> dict[str, Any]:
        return {"name": "gpu", "runtime": "vllm", "endpoint": self._server.url}

    def slots(self, base: str) -> list[dict[str, Any]]:
        return []

    def declared(self, base: str) -> str:
        return base

    def variables(self) -> dict[str, str]:
        return {}

    def source(self, at: Path, seed: int) -> Path:
        return peft_source(at, seed)

    def pushed(self, made: Path, tag: str) -> None:
        """The Hub has this adapter under a tag."""
        repo = self._double.repos.setdefault("acme/sql", DoubleRepo("acme/sql"))
        configuration = made.with_name("adapter_config.json")
        repo.push({
            configuration.name: DoubleFile(configuration.read_bytes(), lfs=False),
            made.name: DoubleFile(made.read_bytes()),
        })  # fmt: skip
        repo.refs[tag] = repo.head

    def put_theirs(self, at: Path) -> None:
        self._server.modules = {THEIRS: str(self.source(at, 77).parent)}
        self._server.restart()

    def models(self) -> dict[str, str]:
        return {self._server.root: self._server.root}

    def served(self) -> dict[str, Served]:
        found = {}
        for name, lora in self._server.loras.items():
            on_disk = content_of(Path(lora.path) / "adapter_model.safetensors")
            same = on_disk == hashlib.sha256(lora.content).hexdigest()
            found[name] = Served(self._server.root, on_disk if same else "nothing")
        return {name: one for name, one in found.items() if "@" not in name}

    def tries(self) -> list[str]:
        return [name for name in self._server.loras if "@" in name]

    def answers(self, name: str) -> bool:
        with suppress(HTTPError):
            return "choices" in fetch(f"{self._server.url}/v1/completions", {"model": name, "prompt": "a"})
        return False

    def start(self) -> None:
        if not self._is_up:
            self._server.start()
        self._is_up = True

    def kill(self) -> None:
        if self._is_up:
            self._server.kill()
        self._is_up = False

    def restart(self) -> None:
        self.kill()
        self.start()

    def keep(self) -> None:
        self._kept = dict(self._server.loras)

    def bring_back(self) -> None:
        self.start()
        self._server.loras = dict(self._kept)


@contextmanager
def vllm_place(folder: Path) -> Iterator[VllmPlace]:
    double = HubDouble()
    with double.serve() as hub, MortalVllm(VllmPlace.bases[0]) as server:
        place = VllmPlace(server, hub, double)
        yield place
        place.start()


PLACES: dict[str, Callable[[Path], AbstractContextManager[Place]]] = {
    "llama-server": partial(router_site, made=RouterPlace), "ollama": partial(ollama_site, made=OllamaPlace),
    "vllm": vllm_place,
}  # fmt: skip
KINDS: dict[str, type[Place]] = {"llama-server": RouterPlace, "ollama": OllamaPlace, "vllm": VllmPlace}
