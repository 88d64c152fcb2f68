"""``localmodels mirror``: a store directory as a read-only, Hub-compatible endpoint.

For machines without a way to the Hub, for neighbours on the LAN, and as the Hub of our own end-to-end tests: this
program's ``hub.endpoint``, ``HF_ENDPOINT`` of huggingface_hub, and llama-server read from it.

The standard library's ``http.server`` is enough and adds no dependency: a handful of routes, one thread a connection,
and files leave by ``sendfile``, so no byte of a model passes through Python.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from reconciler import __version__
from reconciler.errors import OutsideError, Refused
from reconciler.integrations.runtimes.digest_cache import DigestCache, stamp_of
from reconciler.servers.mirror_answers import Answer, answer, error
from reconciler.servers.mirror_index import MirrorIndex

Log = Callable[[str], None]
_IDLE_SECONDS = 60.0


class Mirror:
    """A mirror that is serving, from its making until ``close``. Use as a context manager, or ``run_forever``."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._closed = threading.Event()
        self._thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Base URL, to be used as a Hub endpoint."""
        return self._server.base_url

    def __enter__(self) -> Mirror:  # noqa: PYI034 - not meant to be inherited from
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run_forever(self) -> None:
        """Block until ``close`` is called from elsewhere, or Ctrl-C."""
        try:
            while not self._closed.wait(1.0):
                pass
        finally:
            self.close()

    def close(self) -> None:
        """Stop listening and break off what is being sent. May be called again."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._server.shutdown()
        self._server.break_connections()
        self._server.server_close()
        self._thread.join()


def serve(
    directory: Path,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    cache_directory: Path | None = None,
    log: Log | None = None,
    hashing: Callable[[str, int], None] = lambda *_: None,
) -> Mirror:
    """Offer the models below ``directory``; every file's digest is known before the first question is answered.

    Args:
        directory: laid out ``<org>/<repo>/<file>``, such as a store.
        host: address to listen on; the default is reachable from this machine only.
        port: 0 takes a free one.
        cache_directory: where digests are remembered between runs; None forgets them.
        log: told one line per request.
        hashing: told file and bytes read so far, for files whose digest is not known yet.

    Raises:
        Refused: no such directory, or the address cannot be listened on.
    """
    if not directory.is_dir():
        raise Refused(f"{directory} is not a folder", code="not-found", hint="give --dir a folder with org/repo/file")
    index = MirrorIndex(directory, DigestCache(cache_directory))
    try:
        server = _Server((host, port), index, log)
    except (OSError, OverflowError) as failure:
        why = getattr(failure, "strerror", None) or str(failure)
        raise Refused(
            f"cannot listen on {host} port {port}: {why}",
            code="address-unusable",
            hint="choose another --port (0 takes a free one) or --host",
        ) from failure
    try:
        for name in index.names():
            with suppress(OutsideError):  # a file that is being copied now is read when somebody asks for it
                index.repo(name, hashing)
    except BaseException:
        server.server_close()
        raise
    return Mirror(server)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], index: MirrorIndex, log: Log | None) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.index = index
        self.log = log
        self._connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        super().__init__(address, _Handler)
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        self.base_url = f"http://{host}:{self.server_address[1]}"

    def server_bind(self) -> None:
        """Without the base class's reverse look-up of the host name, which may take seconds."""
        if self.allow_reuse_address:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._connections_lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._connections_lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def break_connections(self) -> None:
        with self._connections_lock:
            connections = list(self._connections)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's signature
        """A client that went away is no news; anything else is one line, never a traceback on the terminal."""
        failure = sys.exception()
        if self.log is not None and not isinstance(failure, ConnectionError | TimeoutError):
            self.log(f"{client_address[0]} failed: {type(failure).__name__}")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = f"localmodels-mirror/{__version__}"
    sys_version = ""
    timeout = _IDLE_SECONDS
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self._reply(with_body=True)

    def do_HEAD(self) -> None:
        self._reply(with_body=False)

    def _refuse(self) -> None:
        self.close_connection = True  # a body may follow that nobody reads
        self._send(error(405, "", "this mirror is read-only", {"Allow": "GET, HEAD"}), with_body=True)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _refuse  # noqa: N815 - the base class's names

    def _reply(self, *, with_body: bool) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        if self.headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
            self.close_connection = True
        try:
            reply = answer(self.server.index, self.path, headers, self._base_url())
        except OutsideError as failure:
            reply = error(503, "", failure.message, {"Retry-After": "5"})
        except ValueError as failure:
            reply = error(400, "", f"not a usable request: {type(failure).__name__}")
        self._send(reply, with_body=with_body)

    def _base_url(self) -> str:
        """As the client calls us: behind another address, links must lead back the same way."""
        host = self.headers.get("host", "")
        usable = host and host.isascii() and host.isprintable() and not set(host) & set('<>"\\/ @')
        return f"http://{host}" if usable else self.server.base_url

    def _send(self, reply: Answer, *, with_body: bool) -> None:
        if reply.file is None:
            self._head(reply, len(reply.body))
            if with_body:
                self.wfile.write(reply.body)
            return
        start, end = reply.span
        try:
            descriptor = os.open(reply.file.loose.place, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._send(error(503, "", "the file has just gone away", {"Retry-After": "1"}), with_body=with_body)
            return
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            if stamp_of(os.fstat(descriptor)) != reply.file.loose.stamp:
                self._send(error(503, "", "the file is changing", {"Retry-After": "1"}), with_body=with_body)
                return
            self._head(reply, end - start)
            if with_body and end > start and self.connection.sendfile(file, start, end - start) != end - start:
                self.close_connection = True

    def _head(self, reply: Answer, length: int) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value.encode("ascii", "replace").decode())
        if reply.status != 304:
            self.send_header("Content-Length", str(length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:  # noqa: ARG002 - as the base class
        if self.server.log is not None:
            line = f"{self.client_address[0]} {self.command} {self.path} {int(code)}"
            self.server.log("".join(letter if letter.isprintable() else "?" for letter in line)[:500])

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        if self.server.log is not None:
            text = f"{self.client_address[0]} {format % args}"
            self.server.log("".join(letter if letter.isprintable() else "?" for letter in text)[:500])
