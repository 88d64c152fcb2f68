"""A loopback HTTP server for the doubles: threads, one connection per answer, chunked streams, nothing logged."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class Exchange(BaseHTTPRequestHandler):
    """One request and its answer. ``server.route`` decides; see ``Loopback``."""

    protocol_version = "HTTP/1.1"
    timeout = 20
    """Seconds that a silent connection is kept: one that a client forgot would keep the double from ending."""

    def _any(self) -> None:
        self.close_connection = True
        try:
            self.server.route(self)
        except (BrokenPipeError, ConnectionResetError):
            return
        finally:
            self.server.requests.append((self.command, self.path))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = _any

    def log_message(self, *_: object) -> None:
        return

    @property
    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(self._chunks_in())
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _chunks_in(self) -> Iterable[bytes]:
        while length := int(self.rfile.readline().strip() or b"0", 16):
            yield self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()

    def answer(self, status: int, body: bytes = b"", kind: str = "text/plain; charset=utf-8", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer_json(self, status: int, document: Any) -> None:
        self.answer(status, json.dumps(document, separators=(",", ":")).encode(), "application/json; charset=utf-8")

    def begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()

    def send_chunk(self, content: bytes) -> None:
        self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")
        self.wfile.flush()

    def end_stream(self) -> None:
        self.wfile.write(b"0\r\n\r\n")

    def break_off(self) -> None:
        """Cut the connection in the middle of an answer."""
        self.connection.shutdown(socket.SHUT_RDWR)

    @property
    def client_gone(self) -> bool:
        try:
            readable, _, _ = select.select([self.connection], [], [], 0)
            return bool(readable) and self.connection.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            return True


class Loopback(ThreadingHTTPServer):
    """Listens on a free port of 127.0.0.1 from construction; answers between ``start`` and ``stop``."""

    daemon_threads = False
    block_on_close = True

    def __init__(self, route: Callable[[Exchange], None], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Exchange)
        self.route = route
        self.requests: list[tuple[str, str]] = []
        """(method, path) of every request answered."""
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no failure of the double; everything else is printed."""
        import sys

        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Listening:
    """A double over one ``Loopback``, which its constructor makes: it answers while it is entered."""

    _server: Loopback

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def address(self) -> str:
        return self._server.address

    @property
    def requests(self) -> list[tuple[str, str]]:
        """(method, path) of every request answered."""
        return self._server.requests
