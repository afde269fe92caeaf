"""The table of failures: every class of every family has its own row, and what travels keeps its meaning."""

from __future__ import annotations

import errno
import inspect
import pickle
import random
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import av.error
import pyarrow.lib
import pytest
import ray.exceptions
from hypothesis import given
from hypothesis import strategies as st
from onnxruntime.capi import onnxruntime_pybind11_state

from vsal.assembly import JoinBroken
from vsal.distributed import failures
from vsal.distributed.failures import (
    BROKEN_JOIN,
    DAMAGED,
    DEATH,
    DENIED,
    DOUBTFUL,
    FULL,
    GONE,
    INTERNAL,
    INTERRUPTED,
    LONGEST_PAUSE_S,
    LOST,
    MEMORY,
    MODEL,
    PASSING,
    REFUSED,
    SAID,
    STALE,
    TABLE,
    UNREADABLE,
    WRITE,
    Fault,
    Rule,
    StaleTitle,
    StepFailed,
    classify,
    rule_of,
)
from vsal.errors import Reason, SettingsError, TitleFailed
from vsal.manifest import ManifestError
from vsal.video.segments import SegmentBroken

FAMILIES = (ray.exceptions, av.error, onnxruntime_pybind11_state, pyarrow.lib)
# FFmpeg's errors that are also the file system's go by their number, as all of that family do.
BY_NUMBER = OSError


def classes(module: ModuleType) -> Iterator[type[BaseException]]:
    for kind in vars(module).values():
        if inspect.isclass(kind) and issubclass(kind, BaseException) and kind.__module__ == module.__name__:
            yield kind


def made(kind: type[BaseException]) -> BaseException:
    """An error of that class, whatever its constructor asks for."""
    number, of_java = (errno.EINVAL, "gone"), (SimpleNamespace(formatted_exception_string="gone", language=1),)
    raised = ("f", "trace", ValueError("gone"))
    for arguments in ((), ("gone",), ("gone", None), number, ("gone", "here", "now"), raised, of_java):
        try:
            error = kind(*arguments)
            str(error)
            return error
        except (TypeError, AttributeError):
            continue
    raise AssertionError(f"how is a {kind.__name__} made?")


def name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


@pytest.mark.parametrize("module", FAMILIES, ids=lambda module: module.__name__)
def test_every_class_has_its_own_row(module: ModuleType) -> None:
    found = list(classes(module))
    assert len(found) >= 10
    by_number = BY_NUMBER if module is av.error else ()
    missing = [kind.__name__ for kind in found if name_of(kind) not in TABLE and not issubclass(kind, by_number)]
    assert not missing, f"no row for {missing}: say whose fault they are"


def test_every_row_names_a_class_that_there_is() -> None:
    known = {name_of(kind) for module in FAMILIES for kind in classes(module)}
    families = tuple(module.__name__ for module in FAMILIES)
    stray = [name for name in TABLE if name.rpartition(".")[0] in families and name not in known]
    assert not stray, f"rows of classes that are gone: {stray}"


@pytest.mark.parametrize("kind", [k for m in FAMILIES for k in classes(m)], ids=lambda kind: kind.__name__)
def test_each_is_raised_and_met_by_its_own_rule_not_by_an_ancestors(kind: type[BaseException]) -> None:
    error = made(kind)
    if name_of(kind) in TABLE:
        assert rule_of(kind) is TABLE[name_of(kind)]
    try:
        raise error
    except BaseException as caught:
        failure = classify(caught)
    assert failure.rule is (rule_of(kind) if name_of(kind) in TABLE else failure.rule)
    assert failure.reason in set(Reason)
    assert failure.detail or name_of(kind) not in TABLE
    assert bool(failure.trace) == (failure.rule is INTERNAL)


def test_rays_deaths_are_siblings_and_each_has_its_price() -> None:
    message = "gone"
    deaths = {
        ray.exceptions.WorkerCrashedError(): DEATH,
        ray.exceptions.OutOfMemoryError(message): MEMORY,
        ray.exceptions.NodeDiedError(message): LOST,
        ray.exceptions.ActorDiedError(): LOST,
        ray.exceptions.ActorUnavailableError(message, None): LOST,
        ray.exceptions.GetTimeoutError(message): LOST,
        ray.exceptions.TaskCancelledError(): INTERRUPTED,
    }
    for error, rule in deaths.items():
        assert classify(error).rule is rule
    assert (DEATH.tries, LOST.attempt, DEATH.attempt) == (2, False, True)
    assert LOST.fault is Fault.INFRASTRUCTURE


@pytest.mark.parametrize(
    ("error", "place", "rule", "reason"),
    [
        (FileNotFoundError(errno.ENOENT, "no"), Reason.UNREADABLE, GONE, Reason.SOURCE_NOT_FOUND),
        (PermissionError(errno.EACCES, "no"), Reason.UNREADABLE, UNREADABLE, Reason.UNREADABLE),
        (PermissionError(errno.EACCES, "no"), Reason.WRITE_FAILED, DENIED, Reason.WRITE_FAILED),
        (OSError("AWS Error ACCESS_DENIED during PutObject"), Reason.WRITE_FAILED, DENIED, Reason.WRITE_FAILED),
        (OSError(errno.EISDIR, "odd"), Reason.WRITE_FAILED, WRITE, Reason.WRITE_FAILED),
        (OSError(errno.EIO, "stutter"), Reason.UNREADABLE, PASSING, Reason.UNREADABLE),
        (OSError(errno.ESTALE, "stale"), Reason.WRITE_FAILED, PASSING, Reason.WRITE_FAILED),
        (ConnectionResetError(errno.ECONNRESET, "reset"), Reason.UNREADABLE, PASSING, Reason.UNREADABLE),
        (TimeoutError("slow"), Reason.UNREADABLE, PASSING, Reason.UNREADABLE),
        (OSError(errno.ENOSPC, "full"), Reason.WRITE_FAILED, FULL, Reason.WRITE_FAILED),
        (OSError(errno.EROFS, "read-only"), Reason.WRITE_FAILED, FULL, Reason.WRITE_FAILED),
        (OSError("AWS Error SLOW_DOWN during GetObject operation: ..."), Reason.UNREADABLE, PASSING, Reason.UNREADABLE),
        (OSError("AWS Error ACCESS_DENIED during GetObject"), Reason.UNREADABLE, UNREADABLE, Reason.UNREADABLE),
        (av.error.InvalidDataError(errno.EINVAL, "x"), Reason.UNREADABLE, DAMAGED, Reason.DECODE_ERROR),
        (av.error.TimeoutError(errno.ETIMEDOUT, "x"), Reason.UNREADABLE, PASSING, Reason.UNREADABLE),
        (av.error.OSError(errno.EBUSY, "x"), Reason.UNREADABLE, DOUBTFUL, Reason.UNREADABLE),
        (av.error.OSError(errno.EIO, "x"), Reason.UNREADABLE, DOUBTFUL, Reason.UNREADABLE),
        (onnxruntime_pybind11_state.RuntimeException("x"), Reason.UNREADABLE, MODEL, Reason.MODEL_ERROR),
        (TitleFailed(Reason.NO_VIDEO, "none"), Reason.UNREADABLE, SAID, Reason.NO_VIDEO),
        (TitleFailed(Reason.WRITE_FAILED, "none"), Reason.UNREADABLE, WRITE, Reason.WRITE_FAILED),
        (SettingsError("no"), Reason.UNREADABLE, REFUSED, Reason.UNSUPPORTED),
        (ManifestError("damaged"), Reason.UNREADABLE, UNREADABLE, Reason.UNREADABLE),
        (JoinBroken("no"), Reason.UNREADABLE, BROKEN_JOIN, Reason.DECODE_ERROR),
        (SegmentBroken("no"), Reason.UNREADABLE, BROKEN_JOIN, Reason.DECODE_ERROR),
        (StaleTitle("no"), Reason.UNREADABLE, STALE, Reason.WORKER_DIED),
        (MemoryError(), Reason.UNREADABLE, MEMORY, Reason.WORKER_DIED),
        (KeyError("a bug"), Reason.UNREADABLE, INTERNAL, Reason.INTERNAL),
    ],
    ids=str,
)
def test_what_follows_from(error: Exception, place: Reason, rule: Rule, reason: Reason) -> None:
    failure = classify(error, place)
    assert (failure.rule, failure.reason) == (rule, reason)


def test_a_source_that_fails_for_a_moment_is_not_the_titles_fault() -> None:
    failed = TitleFailed(Reason.UNREADABLE, "s3://b/k cannot be read")
    failed.__cause__ = OSError("AWS Error NETWORK_CONNECTION during HeadObject operation")
    assert classify(failed).rule is PASSING
    # Causes do not travel between processes; a failure does.
    assert classify(pickle.loads(pickle.dumps(failed))).rule is SAID
    assert classify(pickle.loads(pickle.dumps(StepFailed(classify(failed))))).rule == PASSING


def test_a_full_disk_is_told_as_that_whatever_was_being_done() -> None:
    failed = TitleFailed(Reason.UNSUPPORTED, "x264 fails at frame 21")
    failed.__cause__ = av.error.OSError(errno.ENOSPC, "No space left on device")
    assert (classify(failed).rule, classify(failed).reason) == (FULL, Reason.WRITE_FAILED)


@pytest.mark.usefixtures("local_ray")
def test_a_failure_keeps_its_meaning_through_an_actor_and_a_task() -> None:
    @ray.remote(num_cpus=0)
    class Inner:
        def fail(self) -> None:
            raise StepFailed(classify(JoinBroken("at 3")))

    @ray.remote(num_cpus=0)
    def outer(actor: list[ray.actor.ActorHandle]) -> None:
        try:
            ray.get(actor[0].fail.remote())
        except Exception as error:
            raise StepFailed(classify(error)) from None

    @ray.remote(num_cpus=0)
    def bug() -> None:
        raise ZeroDivisionError("of vsal")

    with pytest.raises(ray.exceptions.RayTaskError) as caught:
        ray.get(outer.remote([Inner.remote()]))
    failure = classify(caught.value)
    assert (failure.rule, failure.detail) == (BROKEN_JOIN, "at 3")
    with pytest.raises(ZeroDivisionError) as fault:
        ray.get(bug.remote())
    failure = classify(fault.value)
    assert failure.reason is Reason.INTERNAL
    assert "in bug" in failure.trace


@given(st.floats(0.1, 10), st.integers(1, 10_000), st.randoms(use_true_random=False))
def test_pauses_grow_within_their_bound_and_differ(pause_s: float, failures_: int, chance: random.Random) -> None:
    rule = Rule("some", Fault.INFRASTRUCTURE, None, tries=9, pause_s=pause_s)
    pause = rule.pause(failures_)
    assert 0 < pause <= LONGEST_PAUSE_S
    assert rule.pause(1) <= pause_s
    if failures_ > 1:
        assert pause >= min(LONGEST_PAUSE_S, 2 * pause_s) / 2


def test_no_rule_tries_for_ever() -> None:
    rules = {id(rule): rule for rule in vars(failures).values() if isinstance(rule, Rule)}.values()
    assert len(rules) >= 15
    for rule in rules:
        assert rule.attempt or rule.tries is not None, f"{rule.name} costs nothing and has no end"
        assert rule.tries == 1 or rule.pause_s > 0, f"{rule.name} is tried again at once"
