"""The fields of RayJob and RayCluster that the manifests use, for where KubeRay's own schemas are missing.

A mapping lists the keys of an object; a type says what a value is. Pod templates are left to Kubernetes' own schemas.
"""

from __future__ import annotations

from typing import Any

POD_TEMPLATE = "a pod template"
STRINGS = "strings by name"

_RESOURCES = {"requests": STRINGS, "limits": STRINGS}
_METADATA = {"name": str, "namespace": str}
_AUTOSCALER = {
    "version": str,
    "upscalingMode": str,
    "idleTimeoutSeconds": int,
    "imagePullPolicy": str,
    "resources": _RESOURCES,
    "securityContext": {
        "allowPrivilegeEscalation": bool,
        "readOnlyRootFilesystem": bool,
        "capabilities": {"drop": [str]},
    },
    "volumeMounts": [{"name": str, "mountPath": str}],
}
_CLUSTER: dict[str, Any] = {
    "rayVersion": str,
    "authOptions": {"mode": str, "secretName": str},
    "enableInTreeAutoscaling": bool,
    "autoscalerOptions": _AUTOSCALER,
    "headGroupSpec": {"serviceType": str, "rayStartParams": STRINGS, "template": POD_TEMPLATE},
    "workerGroupSpecs": [
        {
            "groupName": str,
            "replicas": int,
            "minReplicas": int,
            "maxReplicas": int,
            "idleTimeoutSeconds": int,
            "rayStartParams": STRINGS,
            "template": POD_TEMPLATE,
        }
    ],
}
FIELDS: dict[str, Any] = {
    "RayCluster": {"apiVersion": str, "kind": str, "metadata": _METADATA, "spec": _CLUSTER},
    "RayJob": {
        "apiVersion": str,
        "kind": str,
        "metadata": _METADATA,
        "spec": {
            "submissionMode": str,
            "entrypoint": str,
            "shutdownAfterJobFinishes": bool,
            "ttlSecondsAfterFinished": int,
            "backoffLimit": int,
            "rayClusterSpec": _CLUSTER,
        },
    },
}


def misfits(value: Any, field: Any, path: str = "") -> list[str]:
    """What does not fit, each with its path."""
    if field == POD_TEMPLATE:
        return []
    if field == STRINGS:
        wrong = [name for name, text in value.items() if not isinstance(text, str | int)]
        return [f"{path}.{name}: no string" for name in wrong]
    if isinstance(field, list):
        return [word for i, entry in enumerate(value) for word in misfits(entry, field[0], f"{path}[{i}]")]
    if isinstance(field, dict):
        if not isinstance(value, dict):
            return [f"{path}: no object"]
        found = [f"{path}.{name}: unknown" for name in value.keys() - field.keys()]
        for name in value.keys() & field.keys():
            found += misfits(value[name], field[name], f"{path}.{name}")
        return found
    return [] if type(value) is field else [f"{path}: {value!r} is no {field.__name__}"]
