"""Which integration stands behind which port. Nothing is opened, read or imported before it is needed."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.now import current_clock
from reconciler.cli.places import BENCHMARKS_FILE, Places
from reconciler.domain.adapter import ADAPTER_STORE
from reconciler.domain.desired import DesiredState, HardwareOverride, Limits, SecretReference, Target
from reconciler.domain.hardware import HardwareReading
from reconciler.engine.world import AdapterPorts, World
from reconciler.errors import DesiredStateError, Refused, UsageError
from reconciler.integrations.files.desired_file import DesiredFile, find_file
from reconciler.integrations.measurements import MeasurementFile
from reconciler.integrations.record_store import FileRecordStore
from reconciler.ports import (
    AdapterConverter,
    AdapterHub,
    AdapterStore,
    Catalog,
    Clock,
    DesiredSource,
    HardwareProbe,
    MeasurementStore,
    Meter,
    RecordStore,
    Reporter,
    Runtime,
)

if TYPE_CHECKING:
    from reconciler.domain.catalog import Catalogue
    from reconciler.integrations.catalog.hub import HubClient
    from reconciler.integrations.hardware.detector import Detector
    from reconciler.integrations.http import Http
    from reconciler.integrations.runtimes.rate_limit import RateLimit
    from reconciler.lora.route_table import RouteTable


@dataclass(frozen=True)
class Wiring:
    """Builds the world of one run from what the command line was given."""

    file: Path | None = None
    machine: str | None = None
    """``--hardware``: a simulated machine, whatever this one has."""
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    clock: Clock = field(default_factory=current_clock)

    @cached_property
    def places(self) -> Places:
        return Places.of(self.environment)

    @cached_property
    def path(self) -> Path:
        """The desired state's file."""
        return find_file(self.file, self.environment, Path.cwd())

    @cached_property
    def probe(self) -> HardwareProbe:
        return _Probe(lambda: self.detector, self.machine, self.clock)

    @cached_property
    def detector(self) -> Detector:
        """Of this machine."""
        from reconciler.integrations.hardware.detector import local_detector

        return local_detector(self.places.cache, self.clock, self.environment)

    @cached_property
    def source(self) -> DesiredSource:
        """The file, with what only this host knows."""
        return _Source(self.plain_source, self.places, simulated=self.machine is not None)

    def world(self, reporter: Reporter, source: DesiredSource | None = None) -> World:
        """Everything the engine needs, behind its ports."""
        found = source or self.source
        return World(
            source=found,
            probe=self.probe,
            catalog=self.catalog,
            runtime=self.runtime,
            records=self.records,
            clock=self.clock,
            reporter=reporter,
            jitter=random.random,
            measurements=self.measurements,
            adapters=self.adapters,
            close=self.close,
        )

    async def close(self) -> None:
        """End what stays open between two questions to a hub or a registry; the next question opens it again."""
        if "_outside" in self.__dict__:
            await self._outside.close()

    @cached_property
    def _outside(self) -> Http:
        """One client for all hubs and registries of a run: the catalogue's, and those of adapters."""
        return self.http()

    async def desired_if_any(self) -> DesiredState | None:
        """The file's desired state; None where nobody named a file and none is here."""
        named = self.file is not None or bool(self.environment.get("LOCALMODELS_FILE"))
        try:
            return await self.source.load()
        except DesiredStateError as error:
            if error.code == "desired-state-missing" and not named:
                return None
            raise

    @property
    def plain_source(self) -> DesiredSource:
        """The file as it is written, without what this host adds to it."""
        return _File(self)

    def records(self, desired: DesiredState) -> RecordStore:
        return FileRecordStore(self.places.state, desired.name, self.clock)

    @property
    def measurements(self) -> MeasurementStore:
        """What was measured on this machine, whichever file asked for it."""
        return MeasurementFile(self.places.state, self.clock)

    def adapters(self) -> AdapterPorts:
        """What looks into adapters, keeps and converts them; made by a run that has to do with one."""
        from reconciler.integrations.files.adapter_files import LocalAdapterFiles
        from reconciler.integrations.runtimes.digest_cache import DigestCache

        return AdapterPorts(
            files=LocalAdapterFiles(self.environment, DigestCache(self.places.cache)),
            hub=self.adapter_hub,
            store=self.adapter_store,
            routes=lora_routes,
            converter=lambda _: self.converter,
        )

    def adapter_hub(self, desired: DesiredState) -> AdapterHub:
        from reconciler.integrations.catalog.adapters import HubAdapters

        return HubAdapters(lambda: self.hub_client(desired))

    @property
    def converter(self) -> AdapterConverter:
        from reconciler.integrations.lora_converter import LlamaCppConverter

        return LlamaCppConverter(self.environment)

    def adapter_store(self, desired: DesiredState) -> AdapterStore:
        from reconciler.integrations.runtimes.adapter_store import LocalAdapterStore

        return LocalAdapterStore(
            self.places.data / ADAPTER_STORE,
            http=self.http,
            clock=self.clock,
            token=self.secret(desired.hub.token_from),
            hub_endpoint=desired.hub.endpoint,
            limits=desired.limits,
            reserve_bytes=desired.pool.must_stay_free,
            rate=self._shared_rate(desired.limits),
            cache_directory=self.places.cache,
        )

    def hub_client(self, desired: DesiredState) -> HubClient:
        """Asks the file's Hub, over what ``close`` closes."""
        from reconciler.integrations.catalog.hub import HubClient

        return HubClient(self._outside, endpoint=desired.hub.endpoint, token=self.secret(desired.hub.token_from))

    def meter(self, target: Target, server: Path | None) -> Meter | None:
        """What times the models of a target; None: nothing can.

        Args:
            target: an Ollama server, a store, or a llama-server whose cache can be read here.
            server: a llama-server's program; None: the one on the path.
        """
        if target.runtime == "ollama":
            from reconciler.integrations.runtimes.ollama_meter import OllamaMeter

            return OllamaMeter(target, http=self.http(), clock=self.clock)
        if target.runtime not in ("store", "llama-server"):
            return None
        from reconciler.integrations.runtimes.llama_server_meter import LlamaServerMeter

        return LlamaServerMeter(target, program=server, http=self.http(), clock=self.clock, environ=self.environment)

    def catalog(self, desired: DesiredState) -> Catalog:
        """The bundled snapshot, what the Hub said, and the benchmarks a person added."""
        from reconciler.integrations.catalog.hub_cache import HubCache
        from reconciler.integrations.catalog.live import LiveCatalog

        def registry() -> object:
            from reconciler.integrations.catalog.registry import RegistryClient

            return RegistryClient(self._outside)

        return LiveCatalog(
            bundled=lambda: self.bundled,
            hub=lambda: self.hub_client(desired),
            registry=registry,  # type: ignore[arg-type]
            cache=HubCache(self.places.cache / "hub.json", clock=self.clock),
            clock=self.clock,
            endpoint=desired.hub.endpoint,
        )

    @cached_property
    def bundled(self) -> Catalogue:
        """The shipped snapshot with the observations that a person added."""
        from reconciler.integrations.catalog.bundled import load_bundled

        shipped = load_bundled()
        try:
            (self.places.data / BENCHMARKS_FILE).stat()
        except (FileNotFoundError, NotADirectoryError):
            return shipped
        except OSError:  # reading it says what is wrong
            pass
        from reconciler.cli.benchmarks import added_observations
        from reconciler.formats.observation_file import with_observations

        try:
            return with_observations(shipped, added_observations(self.places.data))
        except Refused as error:
            return replace(shipped, notes=(*shipped.notes, error.message))

    def http(self) -> Http:
        from reconciler.integrations.http import Http

        return Http(clock=self.clock)

    def runtime(self, desired: DesiredState, target: Target) -> Runtime:
        """The integration of one target."""
        if target.runtime == "ollama":
            from reconciler.integrations.runtimes.ollama import Ollama

            return Ollama(
                target,
                http=self.http,
                clock=self.clock,
                environ=self.environment,
                adapter_store=self.places.data / ADAPTER_STORE,
                cache_directory=self.places.cache,
            )
        if target.is_asked and target.program == "vllm":
            from reconciler.integrations.runtimes.vllm import Vllm

            return Vllm(target, http=self.http, api_key=self._key_of(target), cache_directory=self.places.cache)
        if target.runtime == "advisory":
            from reconciler.integrations.runtimes.advisory import Advisory

            return Advisory(target)
        if target.runtime == "llama-server":
            from reconciler.integrations.runtimes.llama_server import LlamaServer

            return LlamaServer(
                target,
                http=self.http,
                clock=self.clock,
                cache_directory=self.places.cache,
                environ=self.environment,
                api_key=self._key_of(target),
            )
        from reconciler.integrations.runtimes.store import Store

        return Store(
            target,
            http=self.http,
            clock=self.clock,
            token=self.secret(desired.hub.token_from),
            hub_endpoint=desired.hub.endpoint,
            limits=desired.limits,
            cache_directory=self.places.cache,
            reserve_bytes=desired.pool.must_stay_free,
            rate=self._shared_rate(desired.limits),
        )

    def _key_of(self, target: Target) -> str | None:
        return self.secret(target.api_key_from, key=f"apiKeyFrom of target {target.name}")

    def _shared_rate(self, limits: Limits) -> RateLimit | None:
        """One limiter for all stores: ``limits.downloadRate`` holds over every download of this host."""
        if limits.download_rate is None:
            return None
        from reconciler.integrations.runtimes.rate_limit import RateLimit

        return self._rates.setdefault(limits.download_rate, RateLimit(limits.download_rate, self.clock))

    @cached_property
    def _rates(self) -> dict[int, RateLimit]:
        return {}

    def secret(self, reference: SecretReference | None, *, key: str = "hub.tokenFrom") -> str | None:
        """The secret a reference means; None where there is none. It goes into headers and nowhere else."""
        if reference is None:
            return None
        if reference.env is not None:
            return self.environment.get(reference.env) or None
        try:
            return Path(reference.file or "").expanduser().read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not readable as text"
            raise DesiredStateError(
                f"the file of {key} cannot be read: {reference.file}: {reason}", code="secret-unreadable"
            ) from error


def lora_routes() -> RouteTable:
    """What each provider can do with adapters, as shipped."""
    from reconciler.integrations.lora_routes import load_routes

    return load_routes()


@dataclass(frozen=True, slots=True)
class _File:
    """The file, looked for when it is first needed: some commands work without one."""

    wiring: Wiring

    async def load(self) -> DesiredState:
        return await DesiredFile(self.wiring.path, environment=self.wiring.environment).load()


@dataclass(frozen=True, slots=True)
class _Source:
    """The file, with what only this host knows: where the implied store stands."""

    file: DesiredSource
    places: Places
    simulated: bool

    async def load(self) -> DesiredState:
        desired = await self.file.load()
        targets = tuple(
            target.model_copy(update={"path": str(self.places.data / "store")})
            if target.runtime == "store" and target.path is None
            else target
            for target in desired.targets
        )
        update: dict[str, object] = {"targets": targets}
        if self.simulated:
            update["hardware"] = None
        return desired.model_copy(update=update)


@dataclass(frozen=True, slots=True)
class _Probe:
    """This machine, or the simulated one; a target's own description is read the same either way."""

    detector: Callable[[], Detector]
    machine: str | None
    clock: Clock

    def probe(self, override: HardwareOverride | None = None) -> HardwareReading:
        if override is None and self.machine is None:
            return self.detector().probe()
        from reconciler.integrations.hardware.override import from_override
        from reconciler.integrations.hardware.simulate import parse_machine

        if override is not None:
            return from_override(override, self.clock.now())
        return parse_machine(self.machine or "", now=self.clock.now())


def checked_machine(machine: str | None, clock: Clock) -> str | None:
    """Fail early, before anything is observed, when nobody knows the machine that was named."""
    if machine is None:
        return None
    if not machine.strip():
        raise UsageError("--hardware needs a machine", hint="such as rtx-4090, 2x rtx-3090, m3-max-36gb or a JSON file")
    from reconciler.integrations.hardware.simulate import parse_machine

    parse_machine(machine, now=clock.now())
    return machine
