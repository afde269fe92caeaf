"""Getting a Ray cluster, and what it is made of."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray

from vsal.errors import SettingsError
from vsal.settings import RunSettings


@dataclass(frozen=True, slots=True)
class ClusterSize:
    """What the nodes that are alive offer together."""

    nodes: int
    cpus: float
    gpus: float
    cpus_of_largest_node: float
    object_store_bytes_per_cpu: float  # of the node that has the least
    object_store_bytes: float = 0.0  # of all nodes


@contextmanager
def ray_cluster(run: RunSettings, address: str | None = None) -> Iterator[None]:
    """Ray for the length of a run: the cluster at `address`, or one on this machine that ends with the run.

    Raises:
        SettingsError: there is no cluster at the address.
    """
    if ray.is_initialized():  # the caller's own; it stays as it is
        yield
        return
    # Says at every start that a token is asked for, which is what is wanted.
    logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel(logging.ERROR)
    try:
        if address is None:
            # Ray ends workers that idle for a second when there are more than CPUs, as between two segments here; each
            # new one costs a third of a second of imports.
            os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "600000")
            # Decoders walk pictures of megabytes in every direction: with huge pages they take some 4 % less.
            os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
            ray.init(
                address="local",
                include_dashboard=False,
                object_store_memory=run.object_store_mb * 10**6,
                logging_level=logging.WARNING,
                log_to_driver=False,
                configure_logging=True,
            )
        else:
            ray.init(address=address, logging_level=logging.WARNING, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise SettingsError(
            f"cannot join the Ray cluster at {address!r}: {error}. Start one with `ray start --head`, set "
            "RAY_AUTH_MODE=token where it asks for a token, or leave out --address to run on this machine"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def cluster_size() -> ClusterSize:
    """What is alive now."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    working = [node for node in nodes if node.get("CPU", 0) > 0]
    if not working:
        raise SettingsError(
            "no node of the cluster offers a CPU: scanning needs at least one (`--num-cpus` of ray start)"
        )
    return ClusterSize(
        nodes=len(nodes),
        cpus=sum(node["CPU"] for node in working),
        gpus=sum(node.get("GPU", 0.0) for node in nodes),
        cpus_of_largest_node=max(node["CPU"] for node in working),
        object_store_bytes_per_cpu=min(node.get("object_store_memory", 0.0) / node["CPU"] for node in working),
        object_store_bytes=sum(node.get("object_store_memory", 0.0) for node in working),
    )


def idle_cpus() -> float:
    """CPUs that Ray has given to nobody now, whoever's work runs."""
    return float(ray.available_resources().get("CPU", 0.0))  # type: ignore[no-untyped-call]


def join_bytes(size: ClusterSize, run: RunSettings, window_bytes: int) -> float:
    """Bytes of masks that may wait for a join, in all titles together: what the windows in flight leave of the object
    store, and at least a tenth of it.
    """
    windows = size.cpus * (run.windows_in_flight + 1) * window_bytes
    return max(0.8 * size.object_store_bytes - windows, 0.1 * size.object_store_bytes)


def check_budget(size: ClusterSize, run: RunSettings, window_bytes: int) -> None:
    """Windows on their way to the saliency actors must fit into the object store, or Ray spills pixels to disk.

    Args:
        window_bytes: size of one window of model inputs.

    Raises:
        SettingsError: they do not fit; the text has the numbers.
    """
    # One more than in flight: the window that is being filled. Four fifths: the store holds masks and arguments too.
    needed = (run.windows_in_flight + 1) * window_bytes
    offered = 0.8 * size.object_store_bytes_per_cpu
    if needed > offered:
        raise SettingsError(
            f"{run.windows_in_flight} windows in flight of {window_bytes / 1e6:.1f} MB need {needed / 1e6:.0f} MB of "
            f"object store for each CPU, and {offered / 1e6:.0f} MB are there: use --windows-in-flight "
            f"{max(1, int(offered // window_bytes) - 1)} or --object-store-mb "
            f"{int(needed / 0.8 * size.cpus_of_largest_node / 1e6) + 1}"
        )
