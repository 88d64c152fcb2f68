"""The manifest of a data set: what it was made of, what it is for, and the contract an adapter of it will carry.

Keys are those of the origin in both dialects, for ``inspect`` and other programs read them.

Source:
    section 4.3 of the specification of the origin's commands.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from reconciler.domain.document import Frozen
from reconciler.lora.contract import Verification, verify
from reconciler.lora.dataset import ExportTarget
from reconciler.lora.evaluation import REQUEST_MODEL, Evaluation, evaluation_of
from reconciler.lora.routes import Route
from reconciler.lora.serving import adapter_binding
from reconciler.lora.training import TargetModulesReport, TrainingContract, training_contract


class ContractDocument(Frozen):
    """What the adapter is trained for, as one id and everything the id is made of."""

    schema_version: int
    id: str
    base_model: str
    provider: str
    harn_tool_format: str
    dataset_format: str
    chat_template: str | None
    target_modules: TargetModulesReport
    training_contract: TrainingContract

    @classmethod
    def of(cls, target: ExportTarget) -> ContractDocument:
        contract = target.contract
        return cls(
            schema_version=contract.schema_version,
            id=target.contract_id,
            base_model=contract.base_model,
            provider=contract.provider,
            harn_tool_format=contract.harn_tool_format,
            dataset_format=contract.dataset_format,
            chat_template=contract.chat_template,
            target_modules=TargetModulesReport.of(contract.target_modules),
            training_contract=training_contract(
                contract.harn_tool_format, contract.tool_catalog, contract.modules_to_save
            ),
        )


class ServingDocument(Frozen):
    """How an adapter of this data set will be served."""

    request_model: str | None
    adapter_name: str | None
    base_model: str
    provider: str
    adapter_binding: str
    lora_module_value_format: str
    tool_format: str
    dataset_format: str
    contract_id: str

    @classmethod
    def of(cls, target: ExportTarget, route: Route) -> ServingDocument:
        return cls(
            request_model=target.adapter_name,
            adapter_name=target.adapter_name,
            base_model=route.id,
            provider=route.provider,
            adapter_binding=adapter_binding(route),
            lora_module_value_format=route.value_format,
            tool_format=target.contract.harn_tool_format,
            dataset_format=target.shape.name,
            contract_id=target.contract_id,
        )


class FileDocument(Frozen):
    """A file that was read or written."""

    path: str
    sha256: str
    """Hexadecimal, without a prefix; only contract ids and canonical hashes have one."""


class ExportStats(Frozen):
    """What became of the lines of a corpus."""

    records: int = 0
    """Lines that are not blank."""
    emitted: int = 0
    """Rows that were written."""
    skipped: int = 0
    """Records that gave no row and hold nothing wrong."""
    tool_calls: int = 0
    tool_results: int = 0


class Provenance(Frozen):
    """What every row says about itself, and how the rows are split."""

    required_example_metadata: tuple[str, ...]
    default_split: str
    default_license: str
    splits: dict[str, int]
    """Examples by split; no example and no prompt stands in two of them."""
    disjoint_from: tuple[FileDocument, ...]
    """Files that share no example and no prompt with this data set."""


class Manifest(Frozen):
    """All of it."""

    exporter: str
    dataset_format: str
    input: FileDocument
    output: FileDocument | None
    """None: the corpus was only checked."""
    stats: ExportStats
    target: dict[str, Any]
    contract: ContractDocument
    provenance: Provenance
    serving: ServingDocument
    promotion: Evaluation
    errors: tuple[str, ...]
    """Empty: a run with errors writes nothing."""

    @property
    def text(self) -> str:
        """The file."""
        document = self.model_dump(mode="json", by_alias=False)
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def promotion_of(target: ExportTarget, corpus: str) -> Evaluation:
    """What an adapter of this data set must show, its own name in the command."""
    found = evaluation_of(target.contract.harn_tool_format, corpus, target.dialect)
    name = target.adapter_name or REQUEST_MODEL
    command = tuple(name if word == REQUEST_MODEL else word for word in found.eval_command)
    return found.model_copy(update={"eval_command": command})


def verified_manifest(text: str) -> Verification:
    """Whether the contract id of a written manifest is the one its own fields give."""
    document = json.loads(text)
    contract = document.get("contract") if isinstance(document, Mapping) else None
    return verify(contract if isinstance(contract, Mapping) else {})
