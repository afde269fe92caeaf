"""Several nodes on one machine: work spreads over them, and one that is lost costs attempts, not titles."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from tests.distributed.conftest import rendered
from tests.distributed.killing import processes
from tests.distributed.manifests import same_maps
from vsal.catalog import Title
from vsal.distributed.cluster import cluster_size
from vsal.distributed.prepare import prepare_catalogue
from vsal.distributed.prepare.pools import choose_device, start_pools
from vsal.distributed.watch import Watch
from vsal.errors import SettingsError
from vsal.manifest import validate
from vsal.saliency.registry import load_model
from vsal.settings import PrepareSettings, RunSettings
from vsal.video.synthetic import synthetic_title


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    title = synthetic_title(320, 180, 24, 20, 60, seed=5)
    return rendered(tmp_path_factory.mktemp("clips") / "clip.mp4", title, gop=24)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100_000_000})
    ray.init(address=nodes.address, log_to_driver=False)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


def prepare(clip: Path, out: Path, titles: int, **run):
    catalogue = [Title(f"t{i}", str(clip)) for i in range(titles)]
    return prepare_catalogue(catalogue, str(out), PrepareSettings(), RunSettings(segment_s=5, **run))


@pytest.mark.long
def test_a_lost_node_costs_attempts_and_no_title(cluster: Cluster, clip: Path, tmp_path: Path) -> None:
    undisturbed = tmp_path / "undisturbed"
    prepare(clip, undisturbed, 1)
    second = cluster.add_node(num_cpus=1, object_store_memory=100_000_000)
    cluster.wait_for_nodes()
    lost = threading.Event()

    def lose() -> None:
        while len(processes("scan_task")) < 2:
            time.sleep(0.05)
        time.sleep(0.5)
        cluster.remove_node(second, allow_graceful=False)
        lost.set()

    thread = threading.Thread(target=lose, daemon=True)
    thread.start()
    summary = prepare(clip, tmp_path / "out", 4, attempts=5)
    thread.join(timeout=30)
    assert lost.is_set()
    assert [(o.title_id, o.status) for o in summary.outcomes] == [(f"t{i}", "done") for i in range(4)]
    assert validate(str(tmp_path / "out")) == []
    same_maps(undisturbed, tmp_path / "out", "t0")


def test_gpus_are_shared_out_and_never_replaced_by_a_cpu(cluster: Cluster) -> None:
    cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=100_000_000)
    cluster.wait_for_nodes()
    size, model = cluster_size(), load_model().data
    assert (size.nodes, size.gpus) == (2, 1.0)
    quarter = RunSettings(gpu_fraction=0.25)
    assert choose_device(quarter, size) == "gpu"
    assert choose_device(RunSettings(device="cpu"), size) == "cpu"
    with pytest.raises(SettingsError, match=r"5 saliency actors of 0\.25 GPUs each need 1\.25, and the cluster has 1"):
        start_pools(model, RunSettings(gpu_fraction=0.25, saliency_actors=5), size, Watch())
    # The GPU is made up: the session must say so rather than run on the CPU.
    with pytest.raises(SettingsError, match=r"CUDA|nvidia-smi|NVIDIA"):
        start_pools(model, quarter, size, Watch())
