"""As much of an S3 store as a resume asks of it, with a latency of its own: lists in pages, HEAD, GET, PUT, DELETE.

moto's listing takes time that grows with the number of keys; here a page costs the same however many there are.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import time
import urllib.request
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

PAGE = 1000
WRITTEN = "2026-01-01T00:00:00.000Z"
WRITTEN_HTTP = "Thu, 01 Jan 2026 00:00:00 GMT"
BUCKET = "bucket"


class _Store(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]
    keys: list[str]
    latency_s: float
    asked: Counter[str]
    working_s: list[float]

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/_asked":
            self._answer(200, json.dumps({**self.asked, "server_s": sum(self.working_s)}).encode())
            return
        _, _, key = unquote(url.path).lstrip("/").partition("/")
        if not key:
            self._count("LIST")
            self._answer(200, self._page(parse_qs(url.query, keep_blank_values=True)))
            return
        self._count("GET")
        data = self.objects.get(key)
        if data is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        status, headers = 200, self._facts(data)
        if "Range" in self.headers:
            first, last = (int(n or len(data) - 1) for n in self.headers["Range"].removeprefix("bytes=").split("-"))
            headers["Content-Range"] = f"bytes {first}-{min(last, len(data) - 1)}/{len(data)}"
            status, data = 206, data[first : last + 1]
        self._answer(status, data, headers)

    def do_HEAD(self) -> None:
        self._count("HEAD")
        key = unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]
        data = self.objects.get(key) if key else b""
        if data is None:
            self._answer(404, b"", {"Content-Length": "0"})
        else:
            self._answer(200, b"", {**self._facts(data), "Content-Length": str(len(data))})

    def do_PUT(self) -> None:
        self._count("PUT")
        key = unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]
        data = self._body()
        if "aws-chunked" in (self.headers.get("Content-Encoding") or ""):
            data = _unchunked(data)
        if key not in self.objects:
            insort(self.keys, key)
        self.objects[key] = data
        self._answer(200, b"", self._facts(data))

    def do_DELETE(self) -> None:
        self._count("DELETE")
        key = unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]
        if self.objects.pop(key, None) is not None:
            del self.keys[bisect_left(self.keys, key)]
        self._answer(204, b"")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _count(self, kind: str) -> None:
        time.sleep(self.latency_s)
        self.asked[kind] += 1

    def _facts(self, data: bytes) -> dict[str, str]:
        return {"ETag": f'"{hashlib.md5(data).hexdigest()}"', "Last-Modified": WRITTEN_HTTP}

    def _page(self, query: dict[str, list[str]]) -> bytes:
        began = time.perf_counter()
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        after = query.get("continuation-token", query.get("start-after", [""]))[0]
        most = min(PAGE, int(query.get("max-keys", [PAGE])[0]))
        at = max(bisect_left(self.keys, prefix), bisect_right(self.keys, after))
        contents, folders, last = [], {}, ""
        while at < len(self.keys) and len(contents) + len(folders) < most and self.keys[at].startswith(prefix):
            last = self.keys[at]
            cut = last.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0:
                folders[last[: cut + 1]] = None
            else:
                data = self.objects[last]
                contents.append(
                    f"<Contents><Key>{escape(last)}</Key><LastModified>{WRITTEN}</LastModified><ETag>"
                    f"&quot;{hashlib.md5(data).hexdigest()}&quot;</ETag><Size>{len(data)}</Size></Contents>"
                )
            at += 1
        more = at < len(self.keys) and self.keys[at].startswith(prefix)
        token = f"<NextContinuationToken>{escape(last)}</NextContinuationToken>" if more else ""
        below = "".join(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in folders)
        page = (
            '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{BUCKET}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(contents) + len(folders)}</KeyCount>"
            f"<MaxKeys>{most}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>{token}{''.join(contents)}{below}"
            "</ListBucketResult>"
        )
        self.working_s.append(time.perf_counter() - began)
        return page.encode()

    def _answer(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


def _unchunked(data: bytes) -> bytes:
    parts = []
    while data:
        head, _, data = data.partition(b"\r\n")
        size = int(head.split(b";")[0] or b"0", 16)
        if not size:
            break
        parts.append(data[:size])
        data = data[size + 2 :]
    return b"".join(parts)


def _serve(objects: dict[str, bytes], latency_s: float, port: Any) -> None:
    state = {
        "objects": objects, "keys": sorted(objects), "latency_s": latency_s, "asked": Counter(), "working_s": [],
    }  # fmt: skip
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Store", (_Store,), state))
    server.daemon_threads = True
    port.put(server.server_port)
    server.serve_forever()


@contextmanager
def serving(objects: dict[str, bytes], latency_s: float) -> Iterator[str]:
    """A process that serves these objects of the bucket `bucket`; yields its endpoint."""
    context = multiprocessing.get_context("spawn")
    port: Any = context.Queue()
    process = context.Process(target=_serve, args=(objects, latency_s, port), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{port.get(timeout=120)}"
    finally:
        process.terminate()
        process.join(10)


def asked(endpoint: str) -> dict[str, float]:
    """Requests so far by kind, and `server_s`: what the store itself took to make its pages."""
    with urllib.request.urlopen(f"{endpoint}/_asked") as answer:
        document: dict[str, float] = json.loads(answer.read())
    return document
