"""A store that speaks as much of the S3 protocol as a resume asks for, and answers late, as a store far away does.

moto lists in time that grows with what it holds; here a page of a listing takes under a millisecond of a hundred
thousand keys. What the server itself takes is counted apart.
"""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import threading
import time
from bisect import bisect_right, insort
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO, Any
from urllib.parse import parse_qs, unquote, urlsplit
from urllib.request import urlopen
from xml.sax.saxutils import escape

PAGE = 1000
WRITTEN_S = 1_700_000_000  # when all that was there from the start was written
STATISTICS = "/-/statistics"


@dataclass
class Thing:
    """An object. One without content has only its size: nobody should read it."""

    size: int
    etag: str
    content: bytes | None = None
    written_s: int = WRITTEN_S


def thing(content: bytes) -> Thing:
    """An object with its content."""
    return Thing(len(content), hashlib.md5(content).hexdigest(), content)


@dataclass
class Bucket:
    """What a bucket holds, by key."""

    things: dict[str, Thing] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, key: str, content: bytes) -> Thing:
        """Writes an object."""
        made = thing(content)
        made.written_s = int(time.time())
        with self.lock:
            if key not in self.things:
                insort(self.keys, key)
            self.things[key] = made
        return made

    def delete(self, key: str) -> None:
        """Removes an object, if there is one."""
        with self.lock:
            if self.things.pop(key, None) is not None:
                self.keys.remove(key)

    def page(self, prefix: str, delimiter: str, after: str) -> tuple[list[str], list[str], str]:
        """Keys and common prefixes behind one, and where the next page begins; "" at the end."""
        found: list[str] = []
        folders: list[str] = []
        at = bisect_right(self.keys, after) if after >= prefix else bisect_right(self.keys, prefix[:-1] or "")
        while at < len(self.keys):
            key = self.keys[at]
            at += 1
            if not key.startswith(prefix):
                if key > prefix:
                    break
                continue
            if len(found) + len(folders) == PAGE:
                return found, folders, self.keys[at - 2]
            rest = key[len(prefix) :]
            if delimiter and delimiter in rest:
                folder = prefix + rest.partition(delimiter)[0] + delimiter
                folders.append(folder)
                at = bisect_right(self.keys, folder + "\U0010ffff")
            else:
                found.append(key)
        return found, folders, ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bucket: Bucket
    latency_s: float
    counted: dict[str, float]

    def do_GET(self) -> None:
        if self.path == STATISTICS:
            self._give(200, json.dumps(self.counted).encode())
            return
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        time.sleep(self.latency_s)
        began = time.perf_counter()
        address = urlsplit(self.path)
        key = unquote(address.path).lstrip("/").partition("/")[2]
        asked = {name: values[0] for name, values in parse_qs(address.query, keep_blank_values=True).items()}
        body = self._body()
        kind = "LIST" if self.command == "GET" and not key else self.command
        self.counted[kind] = self.counted.get(kind, 0) + 1
        getattr(self, f"_{kind.lower()}")(key, asked, body)
        self.counted["server_s"] = self.counted.get("server_s", 0.0) + time.perf_counter() - began

    def _body(self) -> bytes:
        """What was sent, out of the chunks of HTTP and of those that the AWS SDK makes to put a checksum behind."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            sent = _unchunked(self.rfile)
        else:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        framed = "aws-chunked" in self.headers.get("Content-Encoding", "")
        return _unchunked(io.BytesIO(sent)) if framed else sent

    def _list(self, _: str, asked: dict[str, str], body: bytes) -> None:
        after = asked.get("continuation-token") or asked.get("start-after", "")
        found, folders, more = self.bucket.page(asked.get("prefix", ""), asked.get("delimiter", ""), after)
        entries = [
            f"<Contents><Key>{escape(key)}</Key><LastModified>{_iso(thing.written_s)}</LastModified>"
            f"<ETag>&quot;{thing.etag}&quot;</ETag><Size>{thing.size}</Size></Contents>"
            for key in found
            for thing in [self.bucket.things[key]]
        ]
        entries += [f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in folders]
        entries += [f"<NextContinuationToken>{escape(more)}</NextContinuationToken>"] if more else []
        told = f"<IsTruncated>{str(bool(more)).lower()}</IsTruncated><KeyCount>{len(found) + len(folders)}</KeyCount>"
        self._give(200, f"<ListBucketResult>{told}{''.join(entries)}</ListBucketResult>".encode(), "application/xml")

    def _head(self, key: str, asked: dict[str, str], body: bytes) -> None:
        self._get(key, asked, body)

    def _get(self, key: str, asked: dict[str, str], body: bytes) -> None:
        found = self.bucket.things.get(key)
        if found is None:
            self._give(404, b"<Error><Code>NoSuchKey</Code></Error>", "application/xml")
            return
        first, last = 0, found.size - 1
        if "Range" in self.headers:
            start, _, end = self.headers["Range"].removeprefix("bytes=").partition("-")
            first, last = int(start), min(int(end or last), last)
        content = b"" if found.content is None else found.content[first : last + 1]
        headers = {"ETag": f'"{found.etag}"', "Last-Modified": formatdate(found.written_s, usegmt=True)}
        if "Range" in self.headers:
            headers["Content-Range"] = f"bytes {first}-{last}/{found.size}"
        size = last - first + 1 if self.command == "HEAD" else None
        self._give(206 if "Range" in self.headers else 200, content, headers=headers, size=size)

    def _put(self, key: str, asked: dict[str, str], body: bytes) -> None:
        self._give(200, b"", headers={"ETag": f'"{self.bucket.put(key, body).etag}"'})

    def _delete(self, key: str, asked: dict[str, str], body: bytes) -> None:
        self.bucket.delete(key)
        self._give(204, b"")

    def _post(self, key: str, asked: dict[str, str], body: bytes) -> None:
        self._give(501, b"<Error><Code>NotImplemented</Code></Error>", "application/xml")

    def _give(
        self, status: int, content: bytes, kind: str = "application/octet-stream",
        headers: dict[str, str] | None = None, size: int | None = None,
    ) -> None:  # fmt: skip
        self.send_response(status)
        for name, value in {"Content-Type": kind, **(headers or {})}.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(content) if size is None else size))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def _unchunked(stream: IO[bytes]) -> bytes:
    parts = []
    while size := int(stream.readline().split(b";")[0], 16):
        parts.append(stream.read(size))
        stream.readline()
    while stream.readline().strip():  # trailers
        pass
    return b"".join(parts)


def _iso(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.000Z"


@contextmanager
def serving(things: dict[str, Thing], latency_s: float) -> Iterator[str]:
    """The endpoint of a store with one bucket of any name, in a process of its own.

    Args:
        things: that it holds.
        latency_s: with which it answers.
    """
    here, there = multiprocessing.get_context("fork").Pipe()
    server = multiprocessing.get_context("fork").Process(target=_run, args=(things, latency_s, there), daemon=True)
    server.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        server.terminate()
        server.join()


def statistics(endpoint: str) -> dict[str, float]:
    """Requests so far by kind, and as `server_s` what the server itself took for them."""
    with urlopen(endpoint + STATISTICS) as answer:
        counted: dict[str, float] = json.load(answer)
    return counted


def _run(things: dict[str, Thing], latency_s: float, told: Any) -> None:
    handler = type("Handler", (_Handler,), {})
    handler.bucket, handler.latency_s, handler.counted = Bucket(things, sorted(things)), latency_s, {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    told.send(server.server_port)
    server.serve_forever()
