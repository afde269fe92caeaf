"""Rules that KubeRay's operator holds a RayJob or RayCluster to, and that no schema of it says.

In the project's own words, after KubeRay 1.7; a manifest that breaks one is refused, or its cluster never comes up.
"""

from __future__ import annotations

import re
from typing import Any

from tests.cluster.manifests import Document, cluster_spec, groups, ray_container

# The operator hangs suffixes onto names, and Kubernetes takes 63 characters.
LONGEST_NAME = {"RayJob": 47, "RayCluster": 63}
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_RESOURCE_PARAMS = ("num-cpus", "num-gpus", "memory", "resources")


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def broken_rules(document: Document) -> list[str]:
    """The rules that a document breaks, in words."""
    return [*_of_the_name(document), *_of_the_job(document), *_of_the_cluster(document), *_of_the_groups(document)]


def _of_the_name(document: Document) -> list[str]:
    name, longest = document["metadata"]["name"], LONGEST_NAME[document["kind"]]
    found = [] if len(name) <= longest else [f"the name has {len(name)} characters, and may have {longest}"]
    return found if _NAME.fullmatch(name) else [*found, f"the name {name!r} is no DNS label"]


def _of_the_job(document: Document) -> list[str]:
    if document["kind"] != "RayJob":
        return []
    spec: dict[str, Any] = document["spec"]
    selector, shutdown = spec.get("clusterSelector"), spec.get("shutdownAfterJobFinishes", False)
    rules = {
        "suspend needs shutdownAfterJobFinishes": spec.get("suspend") and not shutdown,
        "ttlSecondsAfterFinished needs shutdownAfterJobFinishes": spec.get("ttlSecondsAfterFinished") and not shutdown,
        "ttlSecondsAfterFinished is negative": spec.get("ttlSecondsAfterFinished", 0) < 0,
        "neither rayClusterSpec nor clusterSelector": "rayClusterSpec" not in spec and not selector,
        "suspend does not go with clusterSelector": spec.get("suspend") and selector,
        "backoffLimit is negative": spec.get("backoffLimit", 0) < 0,
        "backoffLimit does not go with InteractiveMode": spec.get("backoffLimit")
        and spec.get("submissionMode") == "InteractiveMode",
        "activeDeadlineSeconds is not positive": spec.get("activeDeadlineSeconds", 1) <= 0,
        "HTTPMode starts no submitter: its template would be ignored": spec.get("submissionMode") == "HTTPMode"
        and "submitterPodTemplate" in spec,
    }
    return [rule for rule, broken in rules.items() if broken]


def _of_the_cluster(document: Document) -> list[str]:
    spec = cluster_spec(document)
    options, auth = spec.get("autoscalerOptions", {}), spec.get("authOptions", {})
    head = {entry["name"]: entry.get("value") for entry in ray_container(spec["headGroupSpec"]).get("env", [])}
    scaling, v2 = spec.get("enableInTreeAutoscaling", False), options.get("version") == "v2"
    rules = {
        "a token needs rayVersion 2.52 or later": auth.get("mode") == "token"
        and version(spec.get("rayVersion", "0")) < (2, 52),
        "autoscalerOptions without enableInTreeAutoscaling": options and not scaling,
        "RAY_enable_autoscaler_v2 beside autoscalerOptions.version": v2 and "RAY_enable_autoscaler_v2" in head,
        "RAY_REDIS_ADDRESS without gcsFaultToleranceOptions": "RAY_REDIS_ADDRESS" in head
        and "gcsFaultToleranceOptions" not in spec,
        "fault tolerance of the GCS is not for batch": "gcsFaultToleranceOptions" in spec,
    }
    return [rule for rule, broken in rules.items() if broken]


def _of_the_groups(document: Document) -> list[str]:
    spec = cluster_spec(document)
    scaling = spec.get("enableInTreeAutoscaling", False)
    v2 = scaling and spec.get("autoscalerOptions", {}).get("version") == "v2"
    found = []
    for name, group in groups(document):
        params, pod = group.get("rayStartParams", {}), group["template"]["spec"]
        least, most = group.get("minReplicas", 0), group.get("maxReplicas", 1)
        rules = {
            "no container": not pod["containers"],
            "restartPolicy must be Never with autoscaler v2": v2 and pod.get("restartPolicy", "Never") != "Never",
            "resources beside the same in rayStartParams": group.get("resources") and params.keys() & _RESOURCE_PARAMS,
            "labels belong beside rayStartParams, not into it": "labels" in params,
            "suspend does not go with the autoscaler": scaling and group.get("suspend"),
            "idleTimeoutSeconds of a group needs autoscaler v2": "idleTimeoutSeconds" in group and not v2,
            "minReplicas above maxReplicas": least > most,
            "replicas outside of minReplicas and maxReplicas": not least <= group.get("replicas", least) <= most,
            "object-store-memory is no number of bytes": not str(params.get("object-store-memory", 0)).isdigit(),
        }
        found += [f"{name}: {rule}" for rule, broken in rules.items() if broken]
    names = [name for name, _ in groups(document)]
    return found if len(names) == len(set(names)) else [*found, f"a group's name is there twice: {names}"]
