"""Whether an adapter is what the file says it must be."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from reconciler.domain.adapter import Expected, ExpectedContract
from reconciler.domain.finding import Finding
from reconciler.lora.adapter_content import ContentFile
from reconciler.lora.findings import error
from reconciler.lora.inspection import InspectReport

_TYPES = {"BFLOAT16": "BF16", "FLOAT16": "F16", "FP16": "F16", "HALF": "F16", "FLOAT32": "F32", "FP32": "F32",
          "FLOAT": "F32"}  # fmt: skip
_HEX = 64


def judge_expected(expected: Expected, report: InspectReport, files: Iterable[ContentFile]) -> tuple[Finding, ...]:
    """What is otherwise than ``expect`` says. What cannot be told is otherwise too: it was asked for."""
    return tuple(_differences(expected, report, {file.name: file.sha256 for file in files}))


def judge_contract(expected: ExpectedContract, report: InspectReport) -> tuple[Finding, ...]:
    """What the manifest check does not say: the id that the file names, and the template."""
    return tuple(_of_contract(expected, report))


def _differences(expected: Expected, report: InspectReport, hashes: dict[str, str]) -> Iterator[Finding]:
    adapter, weights = report.adapter, report.weights
    rank = max(weights.ranks, default=adapter.rank) if weights else adapter.rank
    if expected.rank is not None and rank != expected.rank:
        yield _other("expect_rank", "rank", rank, expected.rank)
    if expected.max_rank is not None and (rank is None or rank > expected.max_rank):
        yield _other("expect_max_rank", "rank", rank, f"at most {expected.max_rank}")
    if expected.alpha is not None and adapter.lora_alpha != expected.alpha:
        yield _other("expect_alpha", "alpha", adapter.lora_alpha, expected.alpha)
    if expected.peft_type is not None and adapter.peft_type != expected.peft_type:
        yield _other("expect_peft_type", "peft_type", adapter.peft_type, expected.peft_type)
    if expected.target_modules is not None:
        found = weights.targets if weights else adapter.target_modules
        if set(found) != set(expected.target_modules):
            names = ", ".join(sorted(expected.target_modules))
            yield _other("expect_target_modules", "target modules", ", ".join(sorted(found)) or None, names)
    if expected.dtype is not None:
        types = {_TYPES.get(each.upper(), each.upper()) for each in (weights.dtypes if weights else ())}
        if types != {_TYPES.get(expected.dtype.upper(), expected.dtype.upper())}:
            yield _other("expect_dtype", "element type", ", ".join(sorted(types)) or None, expected.dtype)
    for name, wanted in expected.sha256:
        if hashes.get(name, "").lower() != wanted.lower():
            yield _other("expect_sha256", f"SHA-256 of {name}", hashes.get(name), wanted)


def _of_contract(expected: ExpectedContract, report: InspectReport) -> Iterator[Finding]:
    carried = report.adapter.contract_id
    found = report.contract.contract_id if report.contract else carried
    if expected.id is not None and found != expected.id:
        yield _other("expect_contract_id", "contract id", found, expected.id)
    if expected.require_in_adapter and report.contract is None and not carried:
        hint = "add lora_contract_id to its adapter_config.json, or leave `requireInAdapter` out"
        yield error("contract_adapter_id_missing", "the adapter does not carry the id of its contract", hint)
    if expected.chat_template_sha256 is None:
        return
    template = report.contract.manifest.chat_template if report.contract else None
    wanted = expected.chat_template_sha256.removeprefix("sha256:").lower()
    stated = (template or "").removeprefix("sha256:").lower()
    computed = hashlib.sha256((template or "").encode()).hexdigest()
    if template is None or wanted not in (stated if len(stated) == _HEX else computed, computed):
        yield _other("expect_chat_template", "chat template", stated[:_HEX] or None, wanted)


def _other(code: str, what: str, found: object, wanted: object) -> Finding:
    text = f"{what}: the file expects {wanted}, and it is {'not known' if found is None else found}"
    return error(code, text, "correct the adapter, or what the file says of it")
