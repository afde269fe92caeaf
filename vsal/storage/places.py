"""What a URI means: which file system, and which path in it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, unquote

from pyarrow import fs

from vsal.errors import SettingsError

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://", re.ASCII)
_REMOTE = ("s3", "gs")
_OPTIONS = {"endpoint_override", "region", "scheme", "anonymous"}

# The defaults of the AWS SDK, 1 s and 3 s, give up on a busy object store; Google's retries go on for 15 minutes.
CONNECT_TIMEOUT_S = 10
REQUEST_TIMEOUT_S = 30
S3_ATTEMPTS = 5
GCS_RETRY_S = 60


@dataclass(frozen=True, slots=True)
class Place:
    """A URI taken apart.

    Attributes:
        scheme: `file`, `s3` or `gs`.
        path: absolute path, or `bucket/key` without a slash at the end.
        query: connection options after the `?` of a remote URI, as they were written.
    """

    scheme: str
    path: str
    query: str = ""

    @property
    def bucket(self) -> str:
        """First component of a remote path."""
        return self.path.partition("/")[0]

    @property
    def uri(self) -> str:
        """The URI that names this place; for a local one its absolute path."""
        if self.scheme == "file":
            return self.path
        return f"{self.scheme}://{self.path}" + (f"?{self.query}" if self.query else "")

    def at(self, path: str) -> Place:
        """Another path of the same file system."""
        return Place(self.scheme, path, self.query)


def parse(uri: str) -> Place:
    """Take a URI apart.

    Raises:
        SettingsError: a scheme that vsal does not read, no bucket, or a password in the URI.
    """
    match = _SCHEME.match(uri)
    scheme = match.group(1).lower() if match else "file"
    if match is None:
        if not uri:
            raise SettingsError("an empty path names no file: give a path or an s3:// or gs:// URI")
        return Place("file", os.path.abspath(uri))
    rest = uri[match.end() :]
    if scheme == "file":
        host, slash, path = rest.partition("/")
        if host not in ("", "localhost") or not slash:
            raise SettingsError(f"{uri}: a file:// URI holds an absolute path, as in file:///videos/title.mp4")
        return Place("file", os.path.abspath(slash + unquote(path, errors="surrogateescape")))
    if scheme not in _REMOTE:
        raise SettingsError(f"{uri}: vsal reads local paths, file://, s3:// and gs://, not {scheme}://")
    path, mark, query = rest.rpartition("?")
    if not mark or not _is_options(query):
        path, query = rest, ""
    path = path.rstrip("/")
    if "@" in path.partition("/")[0]:
        raise SettingsError(
            f"a {scheme}:// URI ends up in manifests and logs, so it may not hold a password: "
            "give credentials by the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE, ...)"
        )
    if not path.partition("/")[0]:
        raise SettingsError(f"{uri} names no bucket: write {scheme}://bucket/key")
    return Place(scheme, path, query)


def _is_options(query: str) -> bool:
    pairs = parse_qsl(query, keep_blank_values=True)
    return bool(pairs) and all(key in _OPTIONS for key, _ in pairs)


def filesystem(place: Place) -> Any:
    """The pyarrow file system of a place; one object per bucket and connection options, kept for the process."""
    if place.scheme == "file":
        return _local_filesystem()
    options = dict(parse_qsl(place.query))
    anonymous = options.get("anonymous", "").lower() in ("1", "true", "yes")
    endpoint = options.get("endpoint_override")
    if place.scheme == "gs":
        return _gcs(endpoint, options.get("scheme"), anonymous)
    endpoint, region = s3_connection(place)
    return _s3(place.bucket, endpoint, region, options.get("scheme"), anonymous)


def s3_connection(place: Place) -> tuple[str | None, str | None]:
    """Endpoint and region of an s3:// place, None where nobody has named them."""
    options = dict(parse_qsl(place.query))
    # pyarrow itself does not look at these variables, which the AWS command line and boto3 obey.
    endpoint = options.get("endpoint_override") or os.environ.get("AWS_ENDPOINT_URL_S3")
    endpoint = endpoint or os.environ.get("AWS_ENDPOINT_URL") or None
    region = options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None
    return endpoint, region


@lru_cache(maxsize=1)
def _local_filesystem() -> Any:
    return fs.LocalFileSystem()


@lru_cache(maxsize=256)
def _s3(bucket: str, endpoint: str | None, region: str | None, scheme: str | None, anonymous: bool) -> Any:
    if region is None:
        region = "us-east-1" if endpoint else _bucket_region(bucket)
    return fs.S3FileSystem(
        anonymous=anonymous,
        region=region,
        scheme=scheme,
        endpoint_override=endpoint,
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=REQUEST_TIMEOUT_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=S3_ATTEMPTS),
        allow_delayed_open=True,  # a small object is one PUT instead of a multipart upload of three requests
        tls_ca_file_path=os.environ.get("AWS_CA_BUNDLE") or None,
    )


def _bucket_region(bucket: str) -> str | None:
    try:
        region: str = fs.resolve_s3_region(bucket)
    except OSError:  # no such bucket, or no way to ask: the first request says so better
        return None
    return region


@lru_cache(maxsize=16)
def _gcs(endpoint: str | None, scheme: str | None, anonymous: bool) -> Any:
    return fs.GcsFileSystem(
        anonymous=anonymous,
        endpoint_override=endpoint,
        scheme=scheme,
        retry_time_limit=timedelta(seconds=GCS_RETRY_S),
    )


def is_local(uri: str) -> bool:
    """Whether a URI names a place in the local file system."""
    return parse(uri).scheme == "file"


def local_path(uri: str) -> str | None:
    """Absolute local path of a URI, or None for a remote one."""
    place = parse(uri)
    return place.path if place.scheme == "file" else None


def join(uri: str, *parts: str) -> str:
    """A URI below another one; connection options stay at the end. A local URI becomes an absolute path.

    Raises:
        ValueError: a part would lead out of the URI: it is empty, `..`, or begins with a slash.
    """
    place = parse(uri)
    path = place.path
    for part in parts:
        if not part or part.startswith("/") or ".." in part.split("/"):
            raise ValueError(f"{part!r} does not name a place below {uri}")
        path = f"{path.rstrip('/')}/{part}"
    return place.at(path).uri


def resolve(folder: str, uri: str) -> str:
    """What a URI means that stands in a file of a folder: a relative path counts from there, `..` included.

    Raises:
        SettingsError: the URI is of no known kind, or leads out of the bucket.
    """
    if _SCHEME.match(uri) or os.path.isabs(uri):
        return parse(uri).uri
    base = parse(folder)
    path = os.path.normpath(f"{base.path}/{uri}")
    if base.scheme != "file" and not path.startswith(f"{base.bucket}/"):
        raise SettingsError(f"{uri} leads out of the bucket {base.bucket}")
    return base.at(path).uri


def name(uri: str) -> str:
    """Last component of a URI."""
    return parse(uri).path.rpartition("/")[2]


def parent(uri: str) -> str:
    """The folder that holds what a URI names."""
    place = parse(uri)
    folder = place.path.rpartition("/")[0]
    return place.at(folder or ("/" if place.scheme == "file" else place.path)).uri
