"""What the benchmarks run on: a store in sync with its file, and a compiled server of static files on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reconciler.servers.mirror import serve
from tests.doubles.ollama_model import tiny_gguf

REPOSITORY = "bartowski/SmolLM2-135M-Instruct-GGUF"
MODEL_FILE = "SmolLM2-135M-Instruct-Q4_K_M.gguf"
DOCUMENT = """\
localModels:
  name: {name}
  pool:
    diskBudget: 20GB
    minFreeDisk: 1GB
    allowedOrgs: [HuggingFaceTB, Qwen, google, mistralai, meta-llama, microsoft]
    packagers: [bartowski, unsloth, ggml-org]
  slots:
    - {slot}
  targets:
    - {{name: store, runtime: store, path: {name}}}
"""
SLOTS = {
    "pinned": "{name: chat, model: HuggingFaceTB/SmolLM2-135M-Instruct, quants: [Q4_K_M]}",
    "ranked": "{name: chat, profile: general, quants: [Q4_K_M], maxSize: 110MB}",
}


class Rig:
    """A folder with one document, store and record per kind of slot; every document is applied, so in sync."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            f"LOCALMODELS_{name}_DIR": str(folder / name.lower()) for name in ("STATE", "CACHE", "DATA")
        }
        published = folder / "published" / REPOSITORY
        published.mkdir(parents=True)
        (published / MODEL_FILE).write_bytes(tiny_gguf(1_000_000))
        mirror = serve(folder / "published")
        try:
            for name in SLOTS:
                self._applied(name, mirror.url)
        finally:
            mirror.close()

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.yaml"

    def _applied(self, name: str, hub: str) -> None:
        self.file(name).write_text(DOCUMENT.format(name=name, slot=SLOTS[name]))
        command = [sys.executable, "-m", "reconciler", "apply", "--yes", "-f", str(self.file(name))]
        around = dict(os.environ) | self.environment | {"HF_ENDPOINT": hub}
        subprocess.run(command, env=around, check=True, capture_output=True)
        shutil.rmtree(self.environment["LOCALMODELS_CACHE_DIR"], ignore_errors=True)


NGINX = """\
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off; sendfile on;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; root {folder}/root; }}
}}
"""


@contextmanager
def nginx(folder: Path) -> Iterator[str]:
    """Serve ``folder/root``; the URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = folder / "nginx.conf"
    settings.write_text(("user root; " if os.geteuid() == 0 else "") + NGINX.format(folder=folder, port=port))
    server = subprocess.Popen(["nginx", "-c", str(settings)], stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


def _wait_for(port: int) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError("nginx does not listen")
