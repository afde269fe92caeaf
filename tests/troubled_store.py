"""A proxy before an S3 server that answers, for a while, as a store in trouble does."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

# "busy": 503 SlowDown. "broken": 500. "reset": the connection is reset before the answer, "cut" in the middle of it.
Trouble = Literal["busy", "broken", "reset", "cut"]
_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length"}


class TroubledStore:
    """A store at `endpoint` that passes everything on to the real one, but for the time of its troubles.

    Attributes:
        met: how many requests met with trouble, by its name.
    """

    def __init__(self, real: str) -> None:
        self.real = urlsplit(real).netloc
        self.met: Counter[str] = Counter()
        self._trouble: tuple[Trouble, float] | None = None
        self._ahead: tuple[str, int, Trouble, float] | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def trouble(self, kind: Trouble, seconds: float) -> None:
        """From now on, for so long."""
        self._trouble = (kind, time.monotonic() + seconds)

    def trouble_at(self, path: str, requests: int, kind: Trouble, seconds: float) -> None:
        """The same from the n-th request on for what has that in its path."""
        self._ahead = (path, requests, kind, seconds)

    def asked(self, path: str) -> None:
        """A request comes in."""
        if self._ahead is not None and self._ahead[0] in path:
            awaited, left, kind, seconds = self._ahead
            self._ahead = (awaited, left - 1, kind, seconds) if left > 1 else None
            if left == 1:
                self.trouble(kind, seconds)

    @property
    def now(self) -> Trouble | None:
        """What it suffers from."""
        if self._trouble is None or time.monotonic() > self._trouble[1]:
            return None
        return self._trouble[0]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


@contextmanager
def troubled(real: str) -> Iterator[TroubledStore]:
    store = TroubledStore(real)
    try:
        yield store
    finally:
        store.close()


def _handler(store: TroubledStore) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except (ConnectionError, TimeoutError):
                self.close_connection = True

        def parse_request(self) -> bool:
            if not super().parse_request():
                return False
            if self.command in ("GET", "HEAD", "PUT", "POST", "DELETE"):
                setattr(self, f"do_{self.command}", self.answer)
            return True

        def answer(self) -> None:
            store.asked(self.path)
            trouble = store.now
            if trouble == "reset":
                store.met[trouble] += 1
                self.reset()
                return
            body = self.body()
            if trouble in ("busy", "broken"):
                store.met[trouble] += 1
                status, code = (503, "SlowDown") if trouble == "busy" else (500, "InternalError")
                text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>later</Message></Error>".encode()
                self.send_response(status)
                self.give({"Content-Type": "application/xml"}, text)
                return
            connection = http.client.HTTPConnection(store.real, timeout=60)
            try:
                headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
                connection.request(self.command, self.path, body=body, headers=headers)
                response = connection.getresponse()
                content = response.read()
                self.send_response(response.status)
                told = {name: value for name, value in response.getheaders() if name.lower() not in _HOP}
                if self.command == "HEAD":
                    content_length = response.getheader("content-length")
                    self.give(told | ({"Content-Length": content_length} if content_length else {}), None)
                elif trouble == "cut" and len(content) > 1:
                    store.met[trouble] += 1
                    self.give(told, content, len(content) // 2)
                else:
                    self.give(told, content)
            finally:
                connection.close()

        def give(self, headers: dict[str, str], content: bytes | None, until: int | None = None) -> None:
            for name, value in headers.items():
                self.send_header(name, value)
            if content is not None:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if content is not None and self.command != "HEAD":
                self.wfile.write(content[:until])
            if until is not None:
                self.wfile.flush()
                self.reset()

        def reset(self) -> None:
            """Closes the connection as a peer does that has crashed."""
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            self.rfile.close()
            raise ConnectionResetError

        def body(self) -> bytes:
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
