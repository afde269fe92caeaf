"""Ray's launcher: its schema, what the clouds' own descriptions say of a machine, and the rights of those machines."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import botocore.validate
import jsonschema
import pytest
import yaml
from moto import mock_aws
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start as start_command

from tests.cluster.manifests import KUBERAY, REPO
from tests.cluster.shims import called, program, shim
from vsal import __version__

LAUNCHER = REPO / "cluster" / "launcher"
CLOUDS = ("aws", "gcp")


def config(cloud: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((LAUNCHER / f"{cloud}.yaml").read_text())
    return loaded


def check(document: dict[str, Any]) -> None:
    """What `ray up` does before it speaks to a cloud."""
    validate_config(prepare_config(copy.deepcopy(document)))


@pytest.mark.parametrize("cloud", CLOUDS)
def test_ray_takes_the_configuration(cloud: str) -> None:
    check(config(cloud))
    for broken in ({"idle_timeout_minute": 2}, {"head_node_type": "heads"}):
        with pytest.raises((jsonschema.ValidationError, ValueError)):
            check(config(cloud) | broken)


@cache
def shape_of_run_instances() -> Any:
    model = botocore.session.get_session().get_service_model("ec2")
    return model.operation_model("RunInstances").input_shape


def not_one_of(value: Any, shape: Any, path: str = "") -> Iterator[str]:
    """Words that EC2's description does not list; botocore's own validation takes any string."""
    if shape.type_name == "structure":
        for key, inside in value.items():
            yield from not_one_of(inside, shape.members[key], f"{path}.{key}")
    elif shape.type_name == "list":
        for inside in value:
            yield from not_one_of(inside, shape.member, path)
    elif shape.type_name == "string" and shape.enum and value not in shape.enum:
        yield f"{path}: {value!r}"


def of_ec2(node: dict[str, Any]) -> str:
    """What EC2's service model says against a machine; empty if nothing."""
    asked = node | {"MinCount": 1, "MaxCount": 1}
    report: str = botocore.validate.ParamValidator().validate(asked, shape_of_run_instances()).generate_report()
    return report or "\n".join(not_one_of(asked, shape_of_run_instances()))


@pytest.mark.parametrize("name", ["head", "decode", "gpu"])
def test_machines_of_aws_are_such_as_ec2_knows(name: str) -> None:
    node = config("aws")["available_node_types"][name]["node_config"]
    assert of_ec2(node) == ""
    assert 'Unknown parameter in input: "InstanceTyp"' in of_ec2(node | {"InstanceTyp": "c6i.large"})
    assert "spots" in of_ec2(node | {"InstanceMarketOptions": {"MarketType": "spots"}})


@mock_aws
@pytest.mark.parametrize("name", ["head", "decode", "gpu"])
def test_what_ray_is_told_of_a_machine_of_aws_is_what_it_has(name: str) -> None:
    kind = config("aws")["available_node_types"][name]
    ec2 = boto3.client("ec2", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    (facts,) = ec2.describe_instance_types(InstanceTypes=[kind["node_config"]["InstanceType"]])["InstanceTypes"]
    gpus = sum(gpu["Count"] for gpu in facts.get("GpuInfo", {}).get("Gpus", []))
    told = kind["resources"]
    assert told.get("GPU", 0) == gpus
    assert told["CPU"] == (0 if name == "head" else facts["VCpuInfo"]["DefaultVCpus"])


@cache
def discovery() -> dict[str, Any]:
    """Compute Engine as it describes itself, in google-api-python-client."""
    import googleapiclient

    folder = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
    document: dict[str, Any] = json.loads((folder / "compute.v1.json").read_text())
    return document["schemas"]


def of_compute_engine(value: Any, schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """What the discovery document says against a machine."""
    if "$ref" in schema:
        yield from of_compute_engine(value, discovery()[schema["$ref"]], path)
        return
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}
    wanted = kinds[schema["type"]]
    if not isinstance(value, wanted) and not (schema.get("format") == "int64" and isinstance(value, int)):
        yield f"{path}: {value!r} is no {schema['type']}"
    elif isinstance(value, dict):
        for key, inside in value.items():
            if key not in schema.get("properties", {}):
                yield f"{path}.{key}: unknown"
            else:
                yield from of_compute_engine(inside, schema["properties"][key], f"{path}.{key}")
    elif isinstance(value, list):
        for inside in value:
            yield from of_compute_engine(inside, schema["items"], path)
    elif "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r} is none of {schema['enum']}"


@pytest.mark.parametrize("name", ["head", "decode", "gpu"])
def test_machines_of_gcp_are_such_as_compute_engine_knows(name: str) -> None:
    node = config("gcp")["available_node_types"][name]["node_config"]
    instance = discovery()["Instance"]
    assert list(of_compute_engine(node, instance)) == []
    assert list(of_compute_engine(node | {"machineTyp": "n2"}, instance)) == [".machineTyp: unknown"]
    spots = list(of_compute_engine(node | {"scheduling": {"provisioningModel": "SPOTS"}}, instance))
    assert len(spots) == 1
    assert "SPOTS" in spots[0]
    # The number of its CPUs stands in the name of a machine.
    cpus = int(node["machineType"].rpartition("-")[2])
    assert config("gcp")["available_node_types"][name]["resources"]["CPU"] == (0 if name == "head" else cpus)


def test_clouds_differ_in_nothing_but_their_machines() -> None:
    def shared(cloud: str) -> dict[str, Any]:
        left = {key: value for key, value in config(cloud).items() if key != "provider"}
        for kind in left["available_node_types"].values():
            kind["node_config"] = "of the cloud"
        return left

    assert shared("aws") == shared("gcp")


@pytest.mark.parametrize("cloud", CLOUDS)
def test_workers_are_spot_and_the_head_is_not(cloud: str) -> None:
    kinds = config(cloud)["available_node_types"]
    spot = {
        "aws": lambda node: node.get("InstanceMarketOptions", {}).get("MarketType") == "spot",
        "gcp": lambda node: node.get("scheduling", {}).get("provisioningModel") == "SPOT",
    }[cloud]
    assert {name: spot(kind["node_config"]) for name, kind in kinds.items()} == {
        "head": False,
        "decode": True,
        "gpu": True,
    }
    assert {name: kind["min_workers"] for name, kind in kinds.items()} == {"head": 0, "decode": 1, "gpu": 0}
    assert kinds["head"]["resources"] == {"CPU": 0}
    assert sum(kind["max_workers"] for kind in kinds.values()) <= config(cloud)["max_workers"]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_one_version_and_no_ray_of_the_day(cloud: str) -> None:
    prepared = prepare_config(config(cloud))
    text = json.dumps(prepared)
    assert "nightly" not in text
    assert "pip install" not in text
    images = set(re.findall(r"REGISTRY/vsal:[^\s\"]+", (LAUNCHER / f"{cloud}.yaml").read_text()))
    assert images == {f"REGISTRY/vsal:{__version__}-{target}" for target in ("cpu", "cuda")}
    assert f"'{__version__}'" in config(cloud)["setup_commands"][0]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_token_is_on_and_the_dashboard_inside(cloud: str) -> None:
    document = config(cloud)
    assert "--env RAY_AUTH_MODE=token" in document["docker"]["run_options"]
    assert document["file_mounts"] == {"/home/vsal/.ray/auth_token": "~/.ray/auth_token"}
    start = " ".join(document["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in start
    options = {option for parameter in start_command.params for option in parameter.opts}
    commands = [*document["head_start_ray_commands"], *document["worker_start_ray_commands"]]
    for option in re.findall(r"--[a-z-]+", " ".join(commands)):
        assert option in options, option


@mock_aws
def test_the_rights_template_makes_the_profiles_that_machines_name() -> None:
    account = {"region_name": "eu-west-1", "aws_access_key_id": "x", "aws_secret_access_key": "x"}
    template = (LAUNCHER / "aws_rights.yaml").read_text()
    buckets = {"VideosBucket": "VIDEOS_BUCKET", "ResultsBucket": "RESULTS_BUCKET"}
    boto3.client("cloudformation", **account).create_stack(
        StackName="vsal",
        TemplateBody=template,
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in buckets.items()],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    iam = boto3.client("iam", **account)
    named = {
        kind["node_config"]["IamInstanceProfile"]["Name"] for kind in config("aws")["available_node_types"].values()
    }
    assert named == {"vsal-head", "vsal-worker"}
    for name in named:
        (role,) = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Roles"]
        assert role["RoleName"] == name
    (buckets_policy,) = (p for p in iam.list_policies(Scope="Local")["Policies"] if p["PolicyName"] == "vsal-buckets")
    made = iam.get_policy_version(PolicyArn=buckets_policy["Arn"], VersionId="v1")["PolicyVersion"]["Document"]
    assert made == json.loads((KUBERAY / "least_rights.json").read_text())
    # Whoever may give any role to a machine has them all.
    policy = iam.get_role_policy(RoleName="vsal-head", PolicyName="workers")["PolicyDocument"]
    workers = (yaml.safe_load(policy) if isinstance(policy, str) else policy)["Statement"]  # text, in moto
    (given,) = (statement for statement in workers if statement["Action"] == ["iam:PassRole"])
    assert given["Resource"] == iam.get_role(RoleName="vsal-worker")["Role"]["Arn"]
    assert iam.list_role_policies(RoleName="vsal-worker")["PolicyNames"] == []


def test_cloudformation_takes_the_rights_template() -> None:
    command = [program("cfn-lint"), str(LAUNCHER / "aws_rights.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_accounts_of_gcp_get_the_least_rights(tmp_path: Path) -> None:
    programs = shim(tmp_path, gcloud='case "$*" in *projectNumber*) echo 42;; *describe*) exit 1;; esac')
    script = str(LAUNCHER / "gcp_rights.sh")
    subprocess.run([script, "p", "videos", "roi"], env=programs.environment, check=True, timeout=60)
    calls = called(programs)
    assert sum("service-accounts create" in call for call in calls) == 2
    roles = {tuple(re.findall(r"(gs://\w+|vsal-\w+@\S+?(?= --project)).*--role (\S+)", call)) for call in calls} - {()}
    assert (("gs://videos", "roles/storage.objectViewer"),) in roles
    assert (("gs://roi", "roles/storage.objectUser"),) in roles
    # May become the workers and nobody else.
    users = [call for call in calls if "iam.serviceAccountUser" in call]
    assert len(users) == 1
    assert "service-accounts add-iam-policy-binding vsal-worker@p.iam.gserviceaccount.com" in users[0]
    assert not any("Admin" in call and "gs://" in call for call in calls)

    programs.log.unlink()
    subprocess.run([script, "--gke", "p", "videos", "roi"], env=programs.environment, check=True, timeout=60)
    pool = "principal://iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/p.svc.id.goog"
    assert sum(f"{pool}/subject/ns/vsal/sa/vsal-" in call for call in called(programs)) == 4
    assert not any("compute" in call for call in called(programs))
