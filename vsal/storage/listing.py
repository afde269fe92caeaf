"""Listings that know the version of each file: of S3 with etags, a thousand objects a request.

pyarrow's listing of S3 leaves the etags out, and a HEAD for each of 100,000 objects takes minutes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import takewhile
from typing import Any
from urllib.parse import parse_qsl

from vsal.storage.files import STAGING_PREFIX, SourceInfo, list_files
from vsal.storage.patience import patiently
from vsal.storage.places import CONNECT_TIMEOUT_S, REQUEST_TIMEOUT_S, S3_ATTEMPTS, Place, parse, s3_connection

LISTED_FROM = 100  # wanted objects of a bucket; fewer are asked for one by one
WORTH = 100  # of a page's thousand objects, wanted; where fewer are, asking one by one is no slower
WALKS = 8  # listings that run at a time


def list_versions(uri: str, recursive: bool = True) -> list[SourceInfo]:
    """The files of a folder as `list_files` gives them, with etags where the store is S3.

    Raises:
        OSError: the folder cannot be read.
    """
    place = parse(uri)
    if place.scheme != "s3":
        return list_files(uri, recursive)
    key = place.path.partition("/")[2]
    arguments = {"Prefix": f"{key}/" if key else ""} | ({} if recursive else {"Delimiter": "/"})
    found = []
    while True:
        page = patiently(place.uri, lambda: _page(place, arguments))
        found += [_info(place, entry) for entry in page.get("Contents", ()) if _is_finished(entry["Key"])]
        if not page.get("IsTruncated"):
            return sorted(found, key=lambda info: info.uri)
        arguments["ContinuationToken"] = page["NextContinuationToken"]


def told_by_listings(uris: Sequence[str]) -> dict[str, SourceInfo]:
    """What a few listings tell of many objects: all those in S3 that lie close together.

    A file that is not in the answer is not known, which is not to say that it is not there: ask `stat`.
    """
    buckets: dict[tuple[str, str], dict[str, str]] = {}
    for uri in uris:
        if not uri.lower().startswith("s3://"):
            continue
        place = parse(uri)
        if "/" in place.path and _is_text(place.path):
            buckets.setdefault((place.bucket, place.query), {})[place.path.partition("/")[2]] = uri
    found: dict[str, SourceInfo] = {}
    for (bucket, query), named in buckets.items():
        if len(named) < LISTED_FROM:
            continue
        place, keys = Place("s3", bucket, query), sorted(named)
        size = max(LISTED_FROM, -(-len(keys) // WALKS))
        parts = [keys[i : i + size] for i in range(0, len(keys), size)]
        with ThreadPoolExecutor(WALKS, thread_name_prefix="vsal-list") as pool:
            for infos in pool.map(lambda part, place=place: list(_walk(place, part)), parts):
                found.update((named[info.uri], info) for info in infos)
    return {uri: SourceInfo(parse(uri).uri, info.size, info.mtime_ns, info.etag) for uri, info in found.items()}


def _walk(place: Place, keys: Sequence[str]) -> Iterator[SourceInfo]:
    """Those of the sorted keys that pages of a listing show, under their keys; gaps between them are jumped over."""
    wanted, at, last = set(keys), 0, ""
    prefix = "".join(a for a, b in takewhile(lambda pair: pair[0] == pair[1], zip(keys[0], keys[-1], strict=False)))
    while at < len(keys):
        # Just before the next key that is wanted: hardly anything lies between a name and itself without its end.
        arguments = {"Prefix": prefix, "StartAfter": max(last, keys[at][:-1])}
        try:
            page = patiently(place.uri, lambda: _page(place, {name: v for name, v in arguments.items() if v}))  # noqa: B023
        except OSError:  # many may read objects and not list them
            return
        told = [entry for entry in page.get("Contents", ()) if entry["Key"] in wanted]
        for entry in told:
            info = _info(place, entry)
            yield SourceInfo(entry["Key"], info.size, info.mtime_ns, info.etag)
        if not page.get("IsTruncated") or len(told) < WORTH:
            return
        last = page["Contents"][-1]["Key"]
        at = bisect_right(keys, last, lo=bisect_left(keys, last))


def _page(place: Place, arguments: dict[str, Any]) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

    try:
        return _client(place.query, *s3_connection(place)).list_objects_v2(Bucket=place.bucket, **arguments)
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status == 404:
            return {}
        kind = PermissionError if status == 403 else OSError
        raise kind(f"cannot list {place.uri}: {error} (HTTP status {status})") from error
    except HTTPClientError as error:
        raise ConnectionError(f"cannot list {place.uri}: {error}") from error
    except BotoCoreError as error:
        raise OSError(f"cannot list {place.uri}: {error}") from error


@lru_cache(maxsize=16)
def _client(query: str, endpoint: str | None, region: str | None) -> Any:
    """A client of boto3, which may be used by several threads; it finds credentials as pyarrow does."""
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    options = dict(parse_qsl(query))
    anonymous = options.get("anonymous", "").lower() in ("1", "true", "yes")
    if endpoint and "://" not in endpoint:
        endpoint = f"{options.get('scheme', 'https')}://{endpoint}"
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=REQUEST_TIMEOUT_S,
        retries={"mode": "standard", "max_attempts": S3_ATTEMPTS},
        max_pool_connections=WALKS,
        s3={"addressing_style": "path" if endpoint else "auto"},
        **({"signature_version": UNSIGNED} if anonymous else {}),
    )
    region = region or ("us-east-1" if endpoint else None)
    return boto3.session.Session().client("s3", endpoint_url=endpoint, region_name=region, config=config)


def _info(place: Place, entry: Any) -> SourceInfo:
    seconds = int(entry["LastModified"].timestamp())  # as HEAD gives it
    uri = place.at(f"{place.bucket}/{entry['Key']}").uri
    return SourceInfo(uri, int(entry["Size"]), seconds * 10**9, entry["ETag"].strip('"') or None)


def _is_finished(key: str) -> bool:
    """No marker of a folder, and no staging file."""
    return not key.endswith("/") and not key.rpartition("/")[2].startswith(STAGING_PREFIX)


def _is_text(path: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in path)
