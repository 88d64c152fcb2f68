"""What a plan relied on, as digests: never free memory, load or the catalogue's revision."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from reconciler.domain.observation import ObservedTarget
from reconciler.domain.plan import Fingerprint
from reconciler.planning.scene import Scene


def fingerprint_of(scene: Scene) -> Fingerprint:
    """Equal fingerprints: the same file, record, installed models, machine and overrides."""
    targets = {target.name: target for target in scene.observation.targets}
    return Fingerprint(
        desired=scene.desired.digest,
        record_generation=scene.record.generation,
        targets=tuple((target.key, _of_target(targets.get(target.name))) for target in scene.desired.targets),
        hardware=_of_hardware(scene),
        policy=_digest([sorted(scene.overrides.accept), scene.overrides.allow_evictions]),
    )


def _of_target(target: object) -> str:
    if not isinstance(target, ObservedTarget):
        return "unknown"
    rows: list[object] = []
    rows += sorted((model.name, model.stamp or model.digest or "", model.bytes) for model in target.installed)
    if target.aliases:
        rows.append(sorted((one.name, one.model or "", one.digest or "", one.context or 0) for one in target.aliases))
    if target.adapters or target.takes_adapters:
        served = [(one.name, one.base or "", one.path or "", one.digest or "", one.scale) for one in target.adapters]
        rows.append([target.takes_adapters or "", sorted(served, key=str)])
    return _digest(rows)


def _of_hardware(scene: Scene) -> str:
    hardware = scene.observation.hardware.hardware
    devices = sorted((device.name, device.memory_bytes, device.bandwidth_gbps) for device in hardware.devices)
    return _digest([hardware.platform, devices, hardware.ram_bytes, hardware.cpu_name])


def _digest(value: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
