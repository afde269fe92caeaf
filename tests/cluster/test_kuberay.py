"""The manifests of cluster/kuberay, judged without a cluster: by schemas, the operator's own rules, and each other."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.cluster.kuberay_fields import FIELDS, misfits
from tests.cluster.manifests import (
    KINDS,
    KUBERAY,
    PLACES,
    REPO,
    Document,
    cluster_spec,
    documents,
    groups,
    ray_container,
    ray_document,
    seconds_of,
    without_the_place,
)
from tests.cluster.operator_rules import broken_rules
from vsal import __version__

SCHEMAS = Path(os.environ.get("VSAL_KUBERAY_SCHEMAS", REPO.parent / "shared" / "cluster"))
KUBERNETES = "1.33"  # the release whose built-in kinds are taken
EVERY = [(kind, place) for kind in KINDS for place in PLACES]
GIB = 2**30


def closed(schema: Any) -> Any:
    """The schema with unknown keys refused at every object that lists its properties."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    inside = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        inside.setdefault("additionalProperties", False)
    return inside


@cache
def closed_validator(path: Path) -> jsonschema.Draft7Validator:
    schema = closed(json.loads(path.read_text()))
    # The API server knows these without any schema.
    schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {}}
    return jsonschema.Draft7Validator(schema)


def of_kuberay(document: Document) -> list[str]:
    """What KubeRay's own schema says against a document.

    Raises:
        pytest.skip: the schemas are not there.
    """
    path = SCHEMAS / f"{document['kind'].lower()}s.v1.schema.json"
    if not path.is_file():
        pytest.skip(
            f"no {path} (set VSAL_KUBERAY_SCHEMAS): only the fields of tests/cluster/kuberay_fields.py were checked, "
            "not their values, nor fields that these manifests do not use"
        )
    validator = closed_validator(path)
    return [f"{'/'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(document)]


def pods(document: Document) -> Iterator[Document]:
    """Each group's template, as a pod of its own."""
    for name, group in groups(document):
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": group["template"]["spec"]}


def quantity(text: str) -> float:
    """A Kubernetes quantity as a number."""
    found = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(text))
    assert found
    return float(found[1]) * {"": 1, "m": 1e-3, "Mi": 2**20, "Gi": GIB}[found[2]]


@pytest.mark.parametrize(("kind", "place"), EVERY)
def test_ray_documents_use_no_field_that_is_not_listed(kind: str, place: str) -> None:
    document = ray_document(kind, place)
    assert misfits(document, FIELDS[document["kind"]]) == []


@pytest.mark.parametrize(("kind", "place"), EVERY)
def test_ray_documents_keep_to_the_schema_of_kuberay(kind: str, place: str) -> None:
    assert of_kuberay(ray_document(kind, place)) == []


def test_the_schema_refuses_what_is_misspelt() -> None:
    document = ray_document("rayjob", "eks")
    cluster_spec(document)["workerGroupSpecs"][0]["maxReplica"] = 3
    assert any("maxReplica" in word for word in misfits(document, FIELDS["RayJob"]))
    document["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["restartPolice"] = "Never"
    found = of_kuberay(document)
    assert any("maxReplica" in word for word in found)
    assert any("restartPolice" in word for word in found)


@pytest.mark.parametrize(("kind", "place"), EVERY)
def test_pods_and_what_kubernetes_itself_knows_keep_to_its_schemas(kind: str, place: str) -> None:
    own = ("v1", "networking.k8s.io/v1")
    known = [d for d in documents(KUBERAY / f"{kind}-{place}.yaml") if d["apiVersion"] in own]
    assert len(known) == (7 if place == "eks" else 6)
    for document in [*known, *pods(ray_document(kind, place))]:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_a_misspelt_word_in_a_pod_is_refused_without_kuberays_schema() -> None:
    pod = next(pods(ray_document("rayjob", "gke")))
    pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFileSystem"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@pytest.mark.parametrize(("kind", "place"), EVERY)
def test_documents_keep_to_the_operators_rules(kind: str, place: str) -> None:
    assert broken_rules(ray_document(kind, place)) == []


Break = Callable[[Document, Document], Any]  # of the job's spec and its cluster's


def set_at(path: str, value: Any) -> Break:
    """Sets a field: `job.` or `cluster.`, then keys and numbers."""
    first, *keys, last = path.split(".")

    def broken(job: Document, cluster: Document) -> None:
        at: Any = {"job": job, "cluster": cluster}[first]
        for key in keys:
            at = at[int(key)] if key.isdigit() else at[key]
        at[last] = value

    return broken


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("suspend needs", [set_at("job.suspend", True), set_at("job.shutdownAfterJobFinishes", False)]),
        ("ttlSecondsAfterFinished needs", [set_at("job.shutdownAfterJobFinishes", False)]),
        ("ttlSecondsAfterFinished is negative", [set_at("job.ttlSecondsAfterFinished", -1)]),
        ("suspend does not go with clusterSelector", [set_at("job.suspend", True), set_at("job.clusterSelector", {1})]),
        ("backoffLimit is negative", [set_at("job.backoffLimit", -1)]),
        ("InteractiveMode", [set_at("job.submissionMode", "InteractiveMode")]),
        ("activeDeadlineSeconds", [set_at("job.activeDeadlineSeconds", 0)]),
        ("starts no submitter", [set_at("job.submitterPodTemplate", {})]),
        ("needs rayVersion", [set_at("cluster.rayVersion", "2.9.0")]),
        ("without enableInTreeAutoscaling", [set_at("cluster.enableInTreeAutoscaling", False)]),
        ("not for batch", [set_at("cluster.gcsFaultToleranceOptions", {})]),
        ("no container", [set_at("cluster.workerGroupSpecs.0.template.spec.containers", [])]),
        ("restartPolicy", [set_at("cluster.headGroupSpec.template.spec.restartPolicy", "Always")]),
        ("restartPolicy", [set_at("cluster.workerGroupSpecs.1.template.spec.restartPolicy", "OnFailure")]),
        ("resources beside", [set_at("cluster.headGroupSpec.resources", {"CPU": "0"})]),
        ("labels belong", [set_at("cluster.headGroupSpec.rayStartParams.labels", "a=b")]),
        ("suspend does not go with the autoscaler", [set_at("cluster.workerGroupSpecs.0.suspend", True)]),
        ("idleTimeoutSeconds", [set_at("cluster.autoscalerOptions.version", "v1")]),
        ("minReplicas above", [set_at("cluster.workerGroupSpecs.0.minReplicas", 99)]),
        ("replicas outside", [set_at("cluster.workerGroupSpecs.0.replicas", 99)]),
        ("number of bytes", [set_at("cluster.headGroupSpec.rayStartParams.object-store-memory", "2Gi")]),
        ("there twice", [set_at("cluster.workerGroupSpecs.0.groupName", "gpu")]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_of_the_operators_rules_can_be_broken(rule: str, changes: list[Break]) -> None:
    document = ray_document("rayjob", "eks")
    for change in changes:
        change(document["spec"], document["spec"]["rayClusterSpec"])
    if rule == "no container":  # nothing else can be read off a pod without one
        document["spec"]["rayClusterSpec"]["workerGroupSpecs"] = [
            document["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
        ]
    assert any(rule in word for word in broken_rules(document)), broken_rules(document)


def test_names_and_a_missing_cluster_break_rules_too() -> None:
    document = ray_document("rayjob", "eks")
    document["metadata"]["name"] = "v" * 48
    assert broken_rules(document) == ["the name has 48 characters, and may have 47"]
    document["metadata"]["name"] = "2025-run"
    assert any("no DNS label" in word for word in broken_rules(document))
    document = ray_document("rayjob", "eks")
    for name in ("RAY_enable_autoscaler_v2", "RAY_REDIS_ADDRESS"):
        ray_container(cluster_spec(document)["headGroupSpec"])["env"].append({"name": name, "value": "1"})
    assert len(broken_rules(document)) == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES[1:])
def test_places_differ_in_nothing_but_the_place(kind: str, place: str) -> None:
    def shared(name: str) -> list[Document]:
        found = documents(KUBERAY / f"{kind}-{name}.yaml")
        return [without_the_place(d) for d in found if d["kind"] not in ("NodePool", "ComputeClass", "ConfigMap")]

    assert shared(place) == shared(PLACES[0])


@pytest.mark.parametrize("place", PLACES)
def test_the_job_and_the_lasting_cluster_of_a_place_are_one_cluster(place: str) -> None:
    job, lasting = (documents(KUBERAY / f"{kind}-{place}.yaml") for kind in KINDS)
    assert job[:-1] == lasting[:-1]
    assert cluster_spec(job[-1]) == cluster_spec(lasting[-1])


@pytest.mark.parametrize("place", PLACES)
def test_the_head_holds_no_work_and_one_worker_is_there_from_the_start(place: str) -> None:
    """A run that finds no CPU ends at once, and nobody asks the autoscaler for the first."""
    by_name = dict(groups(ray_document("rayjob", place)))
    assert by_name["head"]["rayStartParams"]["num-cpus"] == "0"
    least = {name: (by_name[name]["minReplicas"], by_name[name]["replicas"]) for name in ("decode", "gpu")}
    assert least == {"decode": (1, 1), "gpu": (0, 0)}
    assert "nvidia.com/gpu" in ray_container(by_name["gpu"])["resources"]["limits"]


@pytest.mark.parametrize("place", PLACES)
def test_a_drain_has_the_time_that_it_is_promised(place: str) -> None:
    document = ray_document("rayjob", place)
    grace_s = seconds_of(document["spec"]["entrypoint"], "--grace-s")
    head = dict(groups(document))["head"]
    env = {entry["name"]: entry.get("value") for entry in ray_container(head)["env"]}
    assert float(env["RAY_JOB_STOP_WAIT_TIME_S"]) >= grace_s + 30
    assert head["template"]["spec"]["terminationGracePeriodSeconds"] >= float(env["RAY_JOB_STOP_WAIT_TIME_S"])
    for name, group in groups(document):
        # Ray lets a node that was told to go finish for 30 s.
        assert group["template"]["spec"]["terminationGracePeriodSeconds"] > 30, name


@pytest.mark.parametrize("place", PLACES)
def test_a_run_goes_on_in_a_new_cluster_but_not_for_a_bad_file(place: str) -> None:
    spec = ray_document("rayjob", place)["spec"]
    assert spec["submissionMode"] == "HTTPMode"
    assert spec["backoffLimit"] > 0
    assert spec["shutdownAfterJobFinishes"]
    assert "--max-failed 2%" in spec["entrypoint"]


@pytest.mark.parametrize(("kind", "place"), EVERY)
def test_pods_may_do_nothing_that_they_need_not(kind: str, place: str) -> None:
    document = ray_document(kind, place)
    options = cluster_spec(document)["autoscalerOptions"]
    containers = [ray_container(group) for _, group in groups(document)]
    for container in [*containers, options]:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert {mount["mountPath"] for mount in container["volumeMounts"]} >= {"/tmp", "/home/vsal"}
    for name, group in groups(document):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 1000
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["serviceAccountName"] == ("vsal-head" if name == "head" else "vsal-worker")
        assert group["rayStartParams"]["object-spilling-directory"] == "/spill"
    auth = cluster_spec(document)["authOptions"]
    assert auth == {"mode": "token", "secretName": "vsal-token"}


@pytest.mark.parametrize(("kind", "place"), EVERY)
def test_memory_and_disk_hold_what_is_put_there(kind: str, place: str) -> None:
    for name, group in groups(ray_document(kind, place)):
        resources = ray_container(group)["resources"]
        for what, least in resources["requests"].items():
            assert resources["limits"][what] == least, f"{name}: {what}: what is above a request can be taken away"
        memory, disk = (quantity(resources["limits"][what]) for what in ("memory", "ephemeral-storage"))
        assert int(group["rayStartParams"]["object-store-memory"]) <= 0.3 * memory, name
        sizes = [quantity(v["emptyDir"]["sizeLimit"]) for v in group["template"]["spec"]["volumes"]]
        assert sum(sizes) < disk, name


@pytest.mark.parametrize("place", PLACES)
def test_nothing_reaches_ray_but_what_is_named(place: str) -> None:
    policies = {
        d["metadata"]["name"]: d["spec"]
        for d in documents(KUBERAY / f"rayjob-{place}.yaml")
        if d["kind"] == "NetworkPolicy"
    }
    assert policies["deny-all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    sources = [source for rule in policies["ray"]["ingress"] for source in rule["from"]]
    assert all(source.keys() <= {"podSelector", "namespaceSelector"} for source in sources), "from anywhere"
    ports = {port["port"] for rule in policies["ray"]["ingress"] for port in rule.get("ports", [])}
    head = ray_container(dict(groups(ray_document("rayjob", place)))["head"])
    declared = {port["containerPort"] for port in head["ports"]}
    assert ports == declared - {6379}


def test_images_and_versions_are_one() -> None:
    (ray_version,) = re.findall(r"^ARG RAY_VERSION=(.*)$", (REPO / "cluster/Dockerfile").read_text(), re.M)
    for kind, place in EVERY:
        document = ray_document(kind, place)
        assert cluster_spec(document)["rayVersion"] == ray_version
        images = {name: ray_container(group)["image"] for name, group in groups(document)}
        cpu, cuda = (f"REGISTRY/vsal:{__version__}-{target}" for target in ("cpu", "cuda"))
        assert images == {"head": cpu, "decode": cpu, "gpu": cuda}


def test_pod_monitors_ask_for_ports_that_pods_have() -> None:
    named = {port["name"] for port in ray_container(dict(groups(ray_document("rayjob", "eks")))["head"])["ports"]}
    for monitor in documents(KUBERAY / "podmonitors.yaml"):
        assert (monitor["apiVersion"], monitor["kind"]) == ("monitoring.coreos.com/v1", "PodMonitor")
        endpoints = {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]}
        # KubeRay gives every worker the port `metrics`.
        assert endpoints <= named | {"metrics"}
        assert monitor["spec"]["selector"]["matchLabels"].keys() == {"ray.io/node-type"}


def test_the_rights_are_the_same_wherever_they_stand() -> None:
    least = json.loads((KUBERAY / "least_rights.json").read_text())
    eks = yaml.safe_load((KUBERAY / "eksctl.yaml").read_text())
    associations = eks["iam"]["podIdentityAssociations"]
    accounts = {(a["namespace"], a["serviceAccountName"]) for a in associations}
    assert accounts == {("vsal", "vsal-head"), ("vsal", "vsal-worker")}
    assert [a["permissionPolicy"] for a in associations] == [least, least]
    actions = [action for statement in least["Statement"] for action in statement["Action"]]
    assert not any("*" in action for action in actions)


POOL_FIELDS = {
    "NodePool": {
        "template.spec.nodeClassRef.group", "template.spec.nodeClassRef.kind", "template.spec.nodeClassRef.name",
        "template.spec.requirements.key", "template.spec.requirements.operator", "template.spec.requirements.values",
        "template.spec.taints.key", "template.spec.taints.effect", "disruption.consolidationPolicy",
        "disruption.consolidateAfter", "limits.cpu",
    },
    "ComputeClass": {
        "nodePoolAutoCreation.enabled", "whenUnsatisfiable", "priorities.machineType", "priorities.spot",
        "priorities.gpu.type", "priorities.gpu.count",
    },
}  # fmt: skip


def leaves(value: Any, path: str = "") -> Iterator[str]:
    """Paths of what is neither an object nor a list of objects."""
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from leaves(inside, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for inside in value:
            yield from leaves(inside, path)
    else:
        yield path


@pytest.mark.parametrize("place", ["eks", "gke"])
def test_pools_are_spot_and_wanted_by_the_workers(place: str) -> None:
    pools = [d for d in documents(KUBERAY / f"rayjob-{place}.yaml") if d["kind"] in POOL_FIELDS]
    selectors = [group["template"]["spec"].get("nodeSelector") for name, group in groups(ray_document("rayjob", place))]
    for pool in pools:
        assert set(leaves(pool["spec"])) <= POOL_FIELDS[pool["kind"]]
        label = {"NodePool": "karpenter.sh/nodepool", "ComputeClass": "cloud.google.com/compute-class"}[pool["kind"]]
        assert {label: pool["metadata"]["name"]} in selectors
        assert "spot" in json.dumps(pool)


@pytest.mark.parametrize(("kind", "place"), EVERY)
def test_what_must_be_replaced_is_told_at_the_top(kind: str, place: str) -> None:
    head, _, body = (KUBERAY / f"{kind}-{place}.yaml").read_text().partition("\napiVersion")
    told = set(re.findall(r"^#   ([A-Z][A-Z_]+) ", head, re.M))
    assert told == set(re.findall(r"\b(?:REGISTRY|[A-Z]+_BUCKET|MINIO_ENDPOINT)\b", body))


def test_the_hook_ends_a_driver_and_waits_for_it(tmp_path: Path) -> None:
    """In a process namespace of its own: the hook asks for processes by their command line."""
    (command,) = {
        tuple(ray_container(dict(groups(ray_document(k, p)))["head"])["lifecycle"]["preStop"]["exec"]["command"])
        for k, p in EVERY
    }
    package = tmp_path / "jobs"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "prepare_roi.py").write_text(
        "import signal, sys, time\n"
        "def end(*_):\n    time.sleep(2); open('drained', 'w').close(); sys.exit(75)\n"
        "signal.signal(signal.SIGTERM, end)\nopen('begun', 'w').close()\ntime.sleep(60)\n"
    )
    hook = tmp_path / "hook.sh"
    hook.write_text(command[-1])
    script = (
        "python3 -m jobs.prepare_roi & while ! [ -e begun ]; do sleep 0.1; done; "
        f'bash -c "$(cat {hook})"; [ -e drained ] && echo waited'
    )
    unshare = ["unshare", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no process namespace of one's own here: that the hook drains was not checked")
    done = subprocess.run(
        [*unshare, "bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert "waited" in done.stdout, done.stdout + done.stderr


def test_a_copy_shows_that_equality_is_judged() -> None:
    document = ray_document("rayjob", "gke")
    other = copy.deepcopy(document)
    cluster_spec(other)["workerGroupSpecs"][0]["maxReplicas"] = 31
    assert without_the_place(other) != without_the_place(document)
