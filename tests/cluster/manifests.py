"""The Kubernetes files of cluster/kuberay, read and looked at piece by piece."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

REPO = Path(__file__).resolve().parent.parent.parent
KUBERAY = REPO / "cluster" / "kuberay"
PLACES = ("eks", "gke", "minio")
KINDS = ("rayjob", "raycluster")

Document = dict[str, Any]


def documents(path: Path) -> list[Document]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def ray_document(kind: str, place: str) -> Document:
    """The RayJob or RayCluster of a place."""
    (found,) = (d for d in documents(KUBERAY / f"{kind}-{place}.yaml") if d["apiVersion"] == "ray.io/v1")
    return found


def cluster_spec(document: Document) -> Document:
    """spec of the cluster, of a RayJob too."""
    spec: Document = document["spec"]
    return spec.get("rayClusterSpec", spec)


def groups(document: Document) -> Iterator[tuple[str, Document]]:
    """The head's and the workers' groups by name."""
    spec = cluster_spec(document)
    yield "head", spec["headGroupSpec"]
    for group in spec["workerGroupSpecs"]:
        yield group["groupName"], group


def ray_container(group: Document) -> Document:
    container: Document = group["template"]["spec"]["containers"][0]
    return container


def without_the_place(document: Document) -> Document:
    """A document without what may differ from place to place.

    That is: where pods run, what tells them of the store, and how the catalogue is spelt.
    """
    left = copy.deepcopy(document)
    if left["kind"] == "NetworkPolicy" and left["metadata"]["name"] == "store":
        left["spec"]["egress"] = "of the place"
    if left["apiVersion"] == "ray.io/v1":
        for _, group in groups(left):
            group["template"]["spec"].pop("nodeSelector", None)
            container = ray_container(group)
            kept = [entry for entry in container.pop("env", []) if not entry["name"].startswith("AWS_")]
            container["env"] = kept
        if left["kind"] == "RayJob":
            left["spec"]["entrypoint"] = left["spec"]["entrypoint"].replace("gs://", "s3://")
    return left


def seconds_of(entrypoint: str, option: str) -> float:
    """The number that a command line gives to an option."""
    words = entrypoint.split()
    return float(words[words.index(option) + 1])
