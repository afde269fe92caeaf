"""Every exception that can end a step, and what follows from it: the one table of the house.

The classes are named, not imported: the driver loads neither FFmpeg nor ONNX Runtime for it. A class that is not named
takes the rule of its nearest named ancestor, so the order of the table does not matter; the test walks the families and
asks for a row of each class.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from vsal import storage
from vsal.errors import Reason, TitleFailed, VsalError

INFRASTRUCTURE_TRIES = 20  # of one step: with the pauses below some eight minutes
LONGEST_PAUSE_S = 32.0  # as the AWS SDK's adaptive mode has it
_LONGEST_DETAIL = 500  # characters


class Fault(StrEnum):
    """Who has to do something about it."""

    TITLE = "title"
    INFRASTRUCTURE = "infrastructure"
    VSAL = "vsal"
    SETTINGS = "settings"


@dataclass(frozen=True, slots=True)
class Rule:
    """What follows from a failure.

    Attributes:
        name: of the rule, for metrics and decisions.
        fault: whose it is.
        reason: under which the title is reported; None where the exception says it itself.
        tries: how often one step may fail so, the last of them for good; 1 is never again, None as `--attempts` says.
        attempt: whether it counts against `--attempts`.
        pause_s: before the second try; it doubles with each, up to LONGEST_PAUSE_S.
    """

    name: str
    fault: Fault
    reason: Reason | None
    tries: int | None = 1
    attempt: bool = False
    pause_s: float = 0.0

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures of a step: half of it for certain, half by chance, so that those who
        failed together do not come back together.
        """
        longest = min(LONGEST_PAUSE_S, self.pause_s * 2.0 ** min(failures - 1, 10))
        return longest * random.uniform(0.5, 1.0)


TITLE, INFRA, VSAL, SETTINGS = Fault
SAID = Rule("title", TITLE, None)  # the title is at fault, and what failed has said why
DEATH = Rule("death", TITLE, Reason.WORKER_DIED, tries=2, attempt=True, pause_s=0.5)
STALLED = Rule("stalled", TITLE, Reason.TIMEOUT, tries=2, attempt=True, pause_s=0.5)
OVERTIME = Rule("overtime", TITLE, Reason.TIMEOUT)  # --title-timeout-s
BROKEN_JOIN = Rule("broken_join", TITLE, Reason.DECODE_ERROR)  # its pieces do not fit; whole it may do
MEMORY = Rule("memory", INFRA, Reason.WORKER_DIED, tries=None, attempt=True, pause_s=4.0)  # the node's, or its own
LOST = Rule("lost", INFRA, Reason.WORKER_DIED, tries=INFRASTRUCTURE_TRIES, pause_s=1.0)
STALE = Rule("stale", INFRA, Reason.WORKER_DIED)  # what the step was to add to is gone: the title begins again
LOST_CHUNKS = Rule("lost_chunks", INFRA, Reason.WORKER_DIED)  # removed by others before they were joined
PASSING = Rule("passing", INFRA, None, tries=INFRASTRUCTURE_TRIES, pause_s=2.0)
# FFmpeg gives troubles of its demuxers the numbers of a busy disk (EBUSY, EAGAIN, EIO): either may be meant.
DOUBTFUL = Rule("doubtful", TITLE, None, tries=None, attempt=True, pause_s=1.0)
WRITE = Rule("write", INFRA, Reason.WRITE_FAILED, tries=None, attempt=True, pause_s=1.0)
# These stop the run where the place of the results takes no more, before there is another try: see `output.py`.
FULL = Rule("full", INFRA, Reason.WRITE_FAILED, tries=4, pause_s=2.0)
DENIED = Rule("denied", INFRA, Reason.WRITE_FAILED, tries=3, pause_s=2.0)
UNREADABLE = Rule("unreadable", TITLE, None)
GONE = Rule("gone", TITLE, Reason.SOURCE_NOT_FOUND)
DAMAGED = Rule("damaged", TITLE, Reason.DECODE_ERROR)
MODEL = Rule("model", TITLE, Reason.MODEL_ERROR)  # a fresh session has repeated it
REFUSED = Rule("refused", SETTINGS, Reason.UNSUPPORTED)
INTERRUPTED = Rule("interrupted", INFRA, Reason.INTERRUPTED)
INTERNAL = Rule("internal", VSAL, Reason.INTERNAL)


def _rows() -> Iterator[tuple[str, str, Rule]]:
    """(module, classes, rule)."""
    yield "ray.exceptions", "WorkerCrashedError", DEATH
    yield "ray.exceptions", "OutOfMemoryError", MEMORY
    yield (
        "ray.exceptions",
        "NodeDiedError LocalRayletDiedError RayActorError ActorDiedError ActorUnavailableError",
        LOST,
    )
    yield "ray.exceptions", "ObjectLostError ObjectFetchTimedOutError ObjectFreedError OwnerDiedError", LOST
    yield "ray.exceptions", "ObjectReconstructionFailedError PlasmaObjectNotAvailable GetTimeoutError RpcError", LOST
    yield "ray.exceptions", "ObjectStoreFullError OutOfDiskError RaySystemError RuntimeEnvSetupError", LOST
    yield "ray.exceptions", "TaskUnschedulableError ActorUnschedulableError PendingCallsLimitExceeded", LOST
    yield "ray.exceptions", "TaskPlacementGroupRemoved ActorPlacementGroupRemoved ActorHandleNotFoundError", LOST
    yield "ray.exceptions", "TaskCancelledError AsyncioActorExit", INTERRUPTED
    yield "ray.exceptions", "RayError RayTaskError UserCodeException CrossLanguageError AuthenticationError", INTERNAL
    yield "ray.exceptions", "ReferenceCountingAssertionError ObjectRefStreamEndOfStreamError", INTERNAL
    yield (
        "ray.exceptions",
        "StreamingGeneratorReplayInconsistentError OufOfBandObjectRefSerializationException",
        INTERNAL,
    )
    yield "ray.exceptions", "RayChannelError RayChannelTimeoutError RayCgraphCapacityExceeded", INTERNAL
    yield "ray.exceptions", "RayDirectTransportError UnserializableException ActorAlreadyExistsError", INTERNAL
    # What was not caught where it was met. FFmpeg's errors of the file system are OSErrors too, and go by their number.
    yield "av.error", "FFmpegError InvalidDataError UndefinedError UnknownError ExternalError EOFError", DAMAGED
    yield "av.error", "PatchWelcomeError ExperimentalError InputChangedError OutputChangedError", DAMAGED
    yield "av.error", "DecoderNotFoundError DemuxerNotFoundError ProtocolNotFoundError", UNREADABLE
    yield (
        "av.error",
        "HTTPError HTTPClientError HTTPBadRequestError HTTPUnauthorizedError HTTPForbiddenError",
        UNREADABLE,
    )
    yield "av.error", "HTTPOtherClientError", UNREADABLE
    yield "av.error", "HTTPNotFoundError", GONE
    yield "av.error", "HTTPTooManyRequestsError HTTPServerError", PASSING
    yield "av.error", "MemoryError", MEMORY
    yield (
        "av.error",
        "LookupError BSFNotFoundError EncoderNotFoundError FilterNotFoundError MuxerNotFoundError",
        INTERNAL,
    )
    yield "av.error", "OptionNotFoundError NotImplementedError OverflowError ArgumentError BugError", INTERNAL
    yield "av.error", "BufferTooSmallError ExitError PyAVCallbackError", INTERNAL
    yield "onnxruntime.capi.onnxruntime_pybind11_state", "Fail RuntimeException InvalidArgument EngineError", MODEL
    yield "onnxruntime.capi.onnxruntime_pybind11_state", "NoSuchFile NoModel InvalidProtobuf ModelLoaded", MODEL
    yield "onnxruntime.capi.onnxruntime_pybind11_state", "NotImplemented InvalidGraph EPFail ModelLoadCanceled", MODEL
    yield "onnxruntime.capi.onnxruntime_pybind11_state", "ModelRequiresCompilation NotFound DeviceReset", MODEL
    yield "pyarrow.lib", "ArrowException ArrowInvalid ArrowKeyError ArrowTypeError ArrowNotImplementedError", INTERNAL
    yield "pyarrow.lib", "ArrowCapacityError ArrowIndexError ArrowSerializationError", INTERNAL
    yield "pyarrow.lib", "ArrowMemoryError", MEMORY
    yield "pyarrow.lib", "ArrowCancelled", INTERRUPTED
    yield "vsal.errors", "TitleFailed", SAID
    yield "vsal.errors", "VsalError SettingsError", REFUSED
    yield "vsal.manifest.schema", "ManifestError", UNREADABLE
    yield "vsal.assembly.stitch", "JoinBroken", BROKEN_JOIN
    yield "vsal.video.segments", "SegmentBroken", BROKEN_JOIN
    yield "vsal.distributed.failures", "StaleTitle", STALE
    yield "vsal.encode.chunks", "ChunksLost", LOST_CHUNKS
    yield "builtins", "OSError", UNREADABLE  # by its number, and by whether it was reading or writing: see `_of_place`
    yield "builtins", "MemoryError", MEMORY
    yield "builtins", "KeyboardInterrupt SystemExit GeneratorExit BaseException", INTERRUPTED
    yield "builtins", "Exception", INTERNAL


TABLE: dict[str, Rule] = {f"{module}.{name}": rule for module, names, rule in _rows() for name in names.split()}
_OF_REASON = {Reason.WRITE_FAILED: WRITE, Reason.WORKER_DIED: STALE, Reason.INTERNAL: INTERNAL}


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure of one step, as plain data that travels between processes."""

    rule: Rule
    reason: Reason
    detail: str
    trace: str = ""  # of a fault of vsal's own

    def saying(self, detail: str) -> Failure:
        """The same in other words."""
        return replace(self, detail=detail)


class StaleTitle(RuntimeError):
    """An aggregator was asked about a title that it does not hold: it was restarted, or the attempt was given up."""


class StepFailed(Exception):
    """A failure on its way to the driver. What it was made of stays where it was raised: causes do not travel."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


def classify(error: BaseException, place: Reason = Reason.UNREADABLE) -> Failure:
    """What a step's exception means.

    Args:
        error: as it was raised, or as `ray.get` raises it.
        place: the reason where a place fails and it is not known whether it was read or written.
    """
    error, trace = _innermost(error)
    if isinstance(error, StepFailed):
        return error.failure
    if isinstance(error, TitleFailed):
        rule = _rule_of_title(error)
        return Failure(rule, rule.reason or error.reason, error.detail)
    if isinstance(error, OSError) and not _is_of(error, "ray.exceptions"):
        return _of_place(error, place)
    rule = rule_of(type(error))
    text = f"{type(error).__name__}: {str(error)[:_LONGEST_DETAIL]}"
    if rule is INTERNAL:
        trace = trace or "".join(traceback.format_exception(error))
        return Failure(rule, Reason.INTERNAL, f"a fault of vsal: {text}", trace)
    # What vsal raises on purpose says all that there is to say.
    detail = str(error) if rule == BROKEN_JOIN or isinstance(error, VsalError) else text
    return Failure(rule, rule.reason or place, detail)


def rule_of(kind: type[BaseException]) -> Rule:
    """The rule of a class of exceptions: its own, or that of its nearest ancestor that has one."""
    return next(TABLE[name] for cls in kind.__mro__ if (name := f"{cls.__module__}.{cls.__qualname__}") in TABLE)


def _innermost(error: BaseException) -> tuple[BaseException, str]:
    """What the remote code raised, with its trace there: Ray wraps it once for each process that it passes."""
    trace = ""
    while _is_of(error, "ray.exceptions"):  # where it can, as a class of both, Ray's and the one that was raised
        cause = getattr(error, "cause", None)
        if not isinstance(cause, BaseException) or cause is error:
            break
        trace, error = str(error), cause
    return error, trace


def _is_of(error: BaseException, module: str) -> bool:
    return type(error).__module__ == module


def _rule_of_title(failed: TitleFailed) -> Rule:
    """A place that failed for a moment is not the title's fault, though it was met while the title was read."""
    cause = failed.__cause__
    if isinstance(cause, OSError):
        rule = _of_place(cause, failed.reason).rule
        if rule in (PASSING, DOUBTFUL, FULL, DENIED):
            return rule
    return _OF_REASON.get(failed.reason, SAID)


def _of_place(error: OSError, place: Reason) -> Failure:
    if storage.is_full(error):
        return Failure(FULL, Reason.WRITE_FAILED, f"no more can be written: {error}")
    if storage.is_passing(error):
        network = isinstance(error, TimeoutError | ConnectionError)
        doubtful = _is_of(error, "av.error") and not network
        return Failure(DOUBTFUL if doubtful else PASSING, place, str(error))
    if place is Reason.WRITE_FAILED:
        return Failure(DENIED if storage.is_denied(error) else WRITE, place, str(error))
    missing = isinstance(error, FileNotFoundError)
    return Failure(GONE if missing else UNREADABLE, Reason.SOURCE_NOT_FOUND if missing else place, str(error))
