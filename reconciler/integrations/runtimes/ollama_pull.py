"""One pull by an Ollama server: its lines added up, its silences timed, its failures understood and gone on from.

What the server sends was read in the source of Ollama 0.33.0-rc2 (2026-08-21).
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from reconciler.domain.artifact import HubArtifact, RegistryArtifact
from reconciler.domain.units import Bytes
from reconciler.errors import Corrupt, OutOfSpace, OutsideError, Refused, Unreachable
from reconciler.integrations.runtimes.ollama_api import OllamaApi, PullLine
from reconciler.ports import Clock, Progress

WHOLE_MODEL = "sha256:model"
"""Pseudo digest of the safetensors path, whose totals are the model's own (Ollama 0.33.0-rc2)."""

_VERIFYING = ("verifying sha256 digest", "writing manifest", "removing unused layers")
_VERIFIED_BYTES_A_SECOND = 25_000_000
"""Slowest disk we wait for while the server hashes without a word. Ours: below what a spinning disk reads."""
_MALFORMED_AT_MOST = 100
_WORTHWHILE_SHARE = 1000
"""An attempt that brought less than this part of a model counts as a failure in a row, so that retries end."""
_MOST_JITTER = 0.5
"""Of a pause, added by chance: pulls that failed together do not come back together."""
_MANIFEST_STATUS = re.compile(r"pull model manifest: (\d{3})\b")


class Ledger:
    """Bytes fetched of one artifact, over all attempts.

    The stream counts each layer by itself and may count backwards; this counts the model, and only forwards.
    """

    def __init__(self, artifact: HubArtifact | RegistryArtifact) -> None:
        self._sizes = _sizes(artifact)
        self._exhaustive = isinstance(artifact, RegistryArtifact)
        self._fetched: dict[str, int] = {}
        self.total = Bytes(sum(self._sizes.values()))

    @property
    def done(self) -> Bytes:
        """Never more than ``total``, never less than it was."""
        return Bytes(min(self.total, sum(self._fetched.values())))

    def add(self, line: PullLine) -> bool:
        """Enter one line; whether it brought more bytes than ever seen of its layer, counted or not."""
        limit = self.total if line.digest == WHOLE_MODEL else self._sizes.get(line.digest)
        if limit is None:
            return False
        before = self._fetched.get(line.digest, -1)
        self._fetched[line.digest] = max(before, min(line.completed, limit))
        return self._fetched[line.digest] > before

    def is_stranger(self, line: PullLine) -> bool:
        """Whether a layer cannot belong to the artifact.

        A Hub artifact names only files: its registry adds texts of some kilobytes. A first layer as large as the
        weights, and not them, is other weights.
        """
        if not line.digest.startswith("sha256:") or line.digest in (*self._sizes, WHOLE_MODEL):
            return False
        return self._exhaustive or (not self._fetched and 2 * (line.total or 0) >= max(self._sizes.values()))


def _sizes(artifact: HubArtifact | RegistryArtifact) -> dict[str, int]:
    if isinstance(artifact, RegistryArtifact):
        return {layer.digest: layer.bytes for layer in artifact.layers}
    return {f"sha256:{file.sha256}": file.bytes for file in artifact.files}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a pull may bring nothing, and how often it is begun again."""

    idle_seconds: float
    """Longest pause without a new byte."""
    retries: int
    """Attempts in a row that may fail without progress before the pull is given up; 0: none is repeated."""
    first_pause_seconds: float = 1.0
    longest_pause_seconds: float = 30.0

    def pause_seconds(self, failures: int) -> float:
        """Before the next attempt, after so many failures in a row; half the first after one that made progress."""
        return min(self.first_pause_seconds * 2.0 ** (failures - 1), self.longest_pause_seconds)


class Pull:
    """The pull of one name, to its end."""

    def __init__(
        self,
        api: OllamaApi,
        name: str,
        ledger: Ledger,
        progress: Progress,
        *,
        clock: Clock,
        patience: Patience,
    ) -> None:
        self._api = api
        self._name = name
        self._ledger = ledger
        self._progress = progress
        self._clock = clock
        self._patience = patience
        self._verifying_seconds = patience.idle_seconds + ledger.total / _VERIFIED_BYTES_A_SECOND
        self._malformed = 0

    async def to_the_end(self, *, insecure: bool, is_there: Callable[[], Awaitable[bool]]) -> None:
        """Pull until it is done; after a transient failure go on where it stopped, a bounded number of times.

        Args:
            insecure: the registry speaks plain HTTP.
            is_there: asked after a failure, because a pull whose end was not heard of may have succeeded.
        """
        failures, attempts, mark = 0, 0, 0
        while True:
            try:
                return await self._once(insecure=insecure)
            except Unreachable as error:
                if await is_there():
                    return None
                worthwhile = self._ledger.done - mark > self._ledger.total // _WORTHWHILE_SHARE
                failures = 0 if worthwhile else failures + 1
                attempts, mark = attempts + 1, max(mark, self._ledger.done)
                if failures > self._patience.retries or not self._patience.retries:
                    raise
                self._tell(f"pull interrupted ({error.message}); resuming (retry {attempts})")
                chance = 1 + _MOST_JITTER * random.random()  # noqa: S311 - jitter, not a secret
                await self._clock.sleep(chance * self._patience.pause_seconds(failures))

    async def _once(self, *, insecure: bool) -> None:
        """One attempt, to its ``success``. Every other end is an error."""
        limit, status, advanced_at = self._patience.idle_seconds, "", self._clock.elapsed()
        pull = self._api.pull(self._name, insecure=insecure, idle_timeout_seconds=self._verifying_seconds)
        async with aclosing(pull) as lines:
            while (line := await self._next(lines, limit)) is not None:
                if line.malformed:
                    self._complain(line)
                    continue
                if self._enter(line) or line.status != status:
                    advanced_at = self._clock.elapsed()
                elif self._clock.elapsed() - advanced_at > limit:
                    raise self._stalled()
                status = line.status
                if status == "success":
                    return
                limit = self._verifying_seconds if status in _VERIFYING else self._patience.idle_seconds
                self._tell(status)
        raise Unreachable(f"the pull of {self._name} ended without success", code="connection-lost")

    def _enter(self, line: PullLine) -> bool:
        """Take a line into the ledger; whether it brought something new. An error line is the end of the pull."""
        if line.error:
            raise pull_failure(line.error, self._name)
        if self._ledger.is_stranger(line):
            raise Corrupt(
                f"{self._name} is not what was planned: the registry offers other content, {line.digest[:19]}…",
                hint="the pull was stopped: plan again",
                details={"name": self._name, "layer": line.digest},
            )
        return self._ledger.add(line)

    async def _next(self, lines: AsyncGenerator[PullLine], limit_seconds: float) -> PullLine | None:
        """The next line, None at the end; a longer silence is a stall."""
        try:
            async with asyncio.timeout(limit_seconds):
                return await anext(lines, None)
        except TimeoutError:
            raise self._stalled() from None

    def _stalled(self) -> Unreachable:
        return Unreachable(
            f"the pull of {self._name} brought nothing new for {self._patience.idle_seconds:g} s",
            code="timed-out",
            hint="apply again: what is fetched so far is kept",
        )

    def _complain(self, line: PullLine) -> None:
        """Say that a line could not be read, and give up on a server that sends nothing else."""
        self._malformed += 1
        self._tell(f"the server sent a line that is no status: {line.malformed[:80]!r}")
        if self._malformed > _MALFORMED_AT_MOST:
            raise Corrupt(f"the pull of {self._name} does not speak Ollama's protocol", code="bad-answer")

    def _tell(self, note: str) -> None:
        self._progress(self._ledger.done, self._ledger.total, note)


def pull_failure(text: str, name: str) -> OutsideError:
    """Our error for the ``error`` line of a pull: whether trying again can help, and what a person should do.

    What is not known to be final is taken as transient: a name server that fails says "no such host", a registry that
    stumbles says "manifest", and neither means that the model is gone.

    Source: the error texts of Ollama 0.33.0-rc2. The origin takes such texts for final.
    """
    message, lower = f"Ollama cannot pull {name}: {text[:300]}", text.lower()
    details = {"name": name, "text": text[:300]}
    if "no space left on device" in lower or "disk quota exceeded" in lower or "not enough space" in lower:
        return OutOfSpace(
            message, hint="make room on the server; what is fetched so far is kept and resumed", details=details
        )
    if "digest mismatch" in lower:
        return Corrupt(message, hint="the server threw the file away; the next apply starts it over", details=details)
    status = _MANIFEST_STATUS.search(lower)
    if status is not None and (failure := _manifest_failure(int(status[1]), lower, message)) is not None:
        return failure
    for words, code, hint in _FINAL:
        if any(word in lower for word in words):
            return Refused(message, code=code, hint=hint, details=details)
    return Unreachable(message, hint="apply again: what is fetched so far is kept", details=details)


_NEWER = "this model needs a newer Ollama: upgrade the server, then apply again"
_SIGN_IN = "the registry wants a key it knows: register the server's public key with the registry's account"

_FINAL: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("file does not exist", "repository does not exist"), "not-found", "check the model's name and tag"),
    (("unauthorized", "access denied", "authentication required"), "unauthorised", _SIGN_IN),
    (
        ("no location header",),
        "not-installable",
        "Ollama pulls only from registries that redirect blobs: put a redirecting front before this one",
    ),
    (("sharded gguf",), "not-installable", "Ollama does not pull split files: choose a quant in one file"),
    (("requires mlx", "mlx support"), "unsupported", "this build runs on Apple machines only: choose a GGUF quant"),
    (("requires a newer version", "newer version of ollama"), "unsupported", _NEWER),
    (("invalid model name", "name is invalid", "invalid path"), "refused", "check the model's name and tag"),
    (
        ("http response to https client", "first record does not look like a tls"),
        "refused",
        "the registry speaks plain HTTP: set `insecure: true` on the target",
    ),
    (("certificate", "x509"), "refused", "the server does not trust the registry's certificate"),
)


def _manifest_failure(status: int, lower: str, message: str) -> OutsideError | None:
    """The registry's own status, as Ollama quotes it; None where its words say more than its number."""
    details = {"status": status}
    if status in (408, 425, 429) or (status >= 500 and status != 501):
        return Unreachable(message, hint="the registry says: later", details=details)
    if status == 400 and "sharded" in lower:
        return None
    code, hint = {
        401: ("unauthorised", _SIGN_IN),
        403: ("unauthorised", _SIGN_IN),
        404: ("not-found", "check the model's name and tag"),
        412: ("unsupported", _NEWER),
        501: ("unsupported", "the registry cannot serve this model to Ollama"),
    }.get(status, ("refused", "the registry does not serve this name to Ollama"))
    return Refused(message, code=code, hint=hint, details=details)
