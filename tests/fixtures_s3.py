"""An S3 server on loopback that tells what was asked of it."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass
class Request:
    method: str
    path: str  # /bucket/key, percent-decoded
    range: str | None
    sent: int = 0  # bytes of the answer's body


@dataclass
class S3Server:
    """moto's server: the S3 protocol, objects in memory. Credentials and endpoint are in the environment."""

    endpoint: str
    client: Any
    requests: list[Request] = field(default_factory=list)
    # What each bucket refuses, by the words of its policy: s3:DeleteObject, s3:PutObject.
    denied: dict[str, set[str]] = field(default_factory=dict)

    def bucket(self) -> str:
        """The URI of a new bucket."""
        name = f"vsal-{uuid.uuid4().hex[:12]}"
        self.client.create_bucket(Bucket=name)
        return f"s3://{name}"

    def put(self, uri: str, data: bytes) -> None:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        self.client.put_object(Bucket=bucket, Key=key, Body=data)

    def keys(self, uri: str) -> list[str]:
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        found = self.client.list_objects_v2(Bucket=bucket, Prefix=prefix)
        return [entry["Key"] for entry in found.get("Contents", [])]

    def gets(self, uri: str) -> list[Request]:
        """GET requests for an object so far."""
        path = uri.removeprefix("s3:/")
        return [request for request in self.requests if request.method == "GET" and request.path == path]

    def __call__(self, app: Any) -> Any:
        def counting(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
            request = Request(environ["REQUEST_METHOD"], path, environ.get("HTTP_RANGE"))
            self.requests.append(request)
            if _action(request, environ.get("QUERY_STRING", "")) in self.denied.get(path.split("/")[1], ()):
                yield from _refused(request, start_response)
                return
            for part in app(environ, start_response):
                request.sent += len(part)
                yield part

        return counting


def _action(request: Request, query: str) -> str:
    if request.method == "DELETE" or (request.method == "POST" and "delete" in query.split("&")[0]):
        return "s3:DeleteObject"
    return "s3:PutObject" if request.method in ("PUT", "POST") else "s3:GetObject"


def _refused(request: Request, start_response: Any) -> Iterable[bytes]:
    """As S3 answers where a policy denies an action to everybody."""
    text = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    start_response("403 Forbidden", [("Content-Type", "application/xml"), ("Content-Length", str(len(text)))])
    request.sent += len(text)
    yield text


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One server for the whole run; give every test a bucket of its own."""
    boto3 = pytest.importorskip("boto3")
    moto_server = pytest.importorskip("moto.server")
    serving = pytest.importorskip("werkzeug.serving")

    patch = pytest.MonkeyPatch()
    patch.setenv("AWS_ACCESS_KEY_ID", "test")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        patch.delenv(name, raising=False)

    state = S3Server("", None)
    app = state(moto_server.DomainDispatcherApplication(moto_server.create_backend_app))
    server = serving.make_server("127.0.0.1", 0, app, threaded=True, request_handler=_quiet(serving))
    state.endpoint = f"http://127.0.0.1:{server.server_port}"
    patch.setenv("AWS_ENDPOINT_URL", state.endpoint)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    state.client = boto3.client("s3", region_name="us-east-1", endpoint_url=state.endpoint)
    yield state
    server.shutdown()
    thread.join(10)
    patch.undo()


def _quiet(serving: Any) -> Any:
    class Handler(serving.WSGIRequestHandler):  # type: ignore[misc]
        protocol_version = "HTTP/1.1"  # keeps connections, as object stores do

        def log(self, *_: Any) -> None:
            pass

    return Handler
