"""The order of keys in the file never matters, at any depth of any file that we show."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TypeVar

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from reconciler.domain.desired import DesiredState
from reconciler.integrations.files.desired_file import read_desired
from reconciler.planning.make_plan import make_plan
from tests.builders import catalogue, model, observation, record

Item = TypeVar("Item", bound=BaseModel)
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").rglob("*.yaml"))
EVERYTHING = """localModels:
  name: box
  enabled: true
  pool: {diskBudget: 120GB, minFreeDisk: 20GB, allowedOrgs: [acme, Qwen], packagers: [ggml-org], prune: pressure,
         keep: ["mine*"], never: ["*-bad*"], allowGap: true}
  slots:
    - {name: coder, profile: coding, context: 8192, capabilities: [tools], alias: coder, update: follow}
    - {name: one, model: acme/coyote-8b-instruct, quant: Q4_K_M, target: local}
    - {name: chat, profile: general, count: 2, minTokensPerSecond: 1, maxSize: 40GB}
  targets:
    - {name: local, runtime: store, path: /srv/models}
    - {name: box, runtime: ollama, endpoint: "http://127.0.0.1:11434"}
  fuses: {maxEvictions: 5, maxEvictShare: 0.5, allowEmpty: false}
  approval: manual
  refresh: {interval: 24h, jitter: 10m, proposalThreshold: 5}
  interval: 5m
  hub: {endpoint: "https://hub.example", tokenFrom: {env: HF_TOKEN}}
  limits: {downloadRate: 10MB, concurrentDownloads: 2}
"""


def shuffled(value: object, chance: random.Random) -> object:
    if isinstance(value, dict):
        return {key: shuffled(value[key], chance) for key in chance.sample(list(value), len(value))}
    return [shuffled(item, chance) for item in value] if isinstance(value, list) else value


def read(document: object) -> DesiredState:
    text = yaml.safe_dump(document, sort_keys=False)
    found = read_desired(text, source="/srv/localmodels.yaml", environment={})
    slots = tuple(without_line(slot) for slot in found.slots)
    adapters = tuple(without_line(adapter) for adapter in found.adapters)
    return found.model_copy(update={"digest": "", "slots": slots, "adapters": adapters})


def without_line(item: Item) -> Item:
    """Where it stands in the file, for messages, is the one thing that may differ."""
    return item.model_copy(update={"line": None}) if "line" in type(item).model_fields else item


@pytest.mark.parametrize("name", ["everything", *(path.stem for path in EXAMPLES)])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_order_of_keys_never_matters(name: str, seed: int) -> None:
    text = next((path.read_text("utf-8") for path in EXAMPLES if path.stem == name), EVERYTHING)
    for document in filter(None, yaml.safe_load_all(text)):
        plain, mixed = read(document), read(shuffled(document, random.Random(seed)))
        assert mixed == plain
        seen = observation(catalogue(model()))
        assert make_plan(mixed, seen, record()).model_dump_json() == make_plan(plain, seen, record()).model_dump_json()
