"""What failures of a place mean: which pass by themselves, and which do not."""

from __future__ import annotations

import errno
import re

# A disk or network file system that stutters, a connection that broke.
_PASSING = frozenset(
    {
        errno.EAGAIN, errno.EBUSY, errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTDOWN,
        errno.EHOSTUNREACH, errno.EINTR, errno.EIO, errno.ENETDOWN, errno.ENETRESET, errno.ENETUNREACH, errno.EPIPE,
        errno.ESTALE, errno.ETIMEDOUT,
    }
)  # fmt: skip
# A place that will take nothing more from anybody until a person has seen to it.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
# pyarrow's errors of object stores are bare OSErrors: what the store said is in the text alone. Words as the AWS SDK
# and the Google Cloud client write them.
_SAID = re.compile(
    r"AWS Error (SLOW_DOWN|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|NETWORK_CONNECTION|REQUEST_TIMEOUT|THROTTLING)\b"
    r"|HTTP status:? ?(429|5\d\d)\b|\bSlowDown\b|\bcurlCode: (6|7|18|28|35|52|55|56)\b"
    r"|\b(UNAVAILABLE|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED)\b",
)

_DENIED = frozenset({errno.EACCES, errno.EPERM})
_SAID_DENIED = re.compile(r"\b(ACCESS_DENIED|AccessDenied|PERMISSION_DENIED)\b|HTTP status:? ?403\b")


def is_passing(error: OSError) -> bool:
    """Whether the same access may well succeed a little later: time-outs, broken connections, a store that is busy."""
    if isinstance(error, TimeoutError | ConnectionError):
        return True
    return error.errno in _PASSING if error.errno is not None else _SAID.search(str(error)) is not None


def is_full(error: OSError) -> bool:
    """Whether the place takes nothing more: no space, a quota, read-only."""
    return error.errno in _FULL


def is_denied(error: OSError) -> bool:
    """Whether it is forbidden, by rights of a file or the policy of a bucket."""
    return error.errno in _DENIED if error.errno is not None else _SAID_DENIED.search(str(error)) is not None
