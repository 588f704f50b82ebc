"""The fields of Kubernetes' API that the manifests use, for machines that cannot fetch its schemas.

None is any value; a dict has these fields and no others; a list holds such values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

Fields: TypeAlias = Any  # None, a dict or a list of one of these

METADATA = {"name": None, "labels": None, "annotations": None}
EXEC = {"exec": {"command": None}}
PROBE = {
    **EXEC,
    "httpGet": {"path": None, "port": None},
    "grpc": {"port": None, "service": None},
    "initialDelaySeconds": None,
    "periodSeconds": None,
    "timeoutSeconds": None,
    "failureThreshold": None,
}
ENV = [{"name": None, "value": None, "valueFrom": {"secretKeyRef": {"name": None, "key": None}}}]
MOUNTS = [{"name": None, "mountPath": None, "readOnly": None}]
RESOURCES = {"requests": None, "limits": None}
CONTAINER = {
    "name": None,
    "image": None,
    "imagePullPolicy": None,
    "command": None,
    "args": None,
    "env": ENV,
    "ports": [{"name": None, "containerPort": None}],
    "startupProbe": PROBE,
    "livenessProbe": PROBE,
    "readinessProbe": PROBE,
    "lifecycle": {"preStop": EXEC},
    "resources": RESOURCES,
    "securityContext": {
        "allowPrivilegeEscalation": None,
        "readOnlyRootFilesystem": None,
        "capabilities": {"drop": None},
    },
    "volumeMounts": MOUNTS,
}
POD = {
    "metadata": METADATA,
    "spec": {
        "automountServiceAccountToken": None,
        "enableServiceLinks": None,
        "terminationGracePeriodSeconds": None,
        "securityContext": {
            "runAsNonRoot": None,
            "runAsUser": None,
            "runAsGroup": None,
            "fsGroup": None,
            "seccompProfile": {"type": None},
        },
        "imagePullSecrets": [{"name": None}],
        "initContainers": [CONTAINER],
        "containers": [CONTAINER],
        "nodeSelector": None,
        "tolerations": None,
        "affinity": None,
        "volumes": [
            {
                "name": None,
                "emptyDir": {"medium": None, "sizeLimit": None},
                "secret": {"secretName": None, "defaultMode": None},
                "persistentVolumeClaim": {"claimName": None, "readOnly": None},
            }
        ],
    },
}
SELECTOR = {"matchLabels": None}
HEAD = {"apiVersion": None, "kind": None, "metadata": METADATA}
KINDS: Mapping[tuple[str, str], Fields] = {
    ("apps/v1", "Deployment"): {
        **HEAD,
        "spec": {
            "replicas": None,
            "selector": SELECTOR,
            "strategy": {"rollingUpdate": {"maxUnavailable": None, "maxSurge": None}},
            "template": POD,
        },
    },
    ("v1", "Service"): {
        **HEAD,
        "spec": {
            "type": None,
            "clusterIP": None,
            "selector": None,
            "ports": [{"name": None, "port": None, "targetPort": None, "appProtocol": None}],
        },
    },
    ("policy/v1", "PodDisruptionBudget"): {**HEAD, "spec": {"minAvailable": None, "selector": SELECTOR}},
    # KubeRay's.
    ("ray.io/v1", "RayCluster"): {
        **HEAD,
        "spec": {
            "rayVersion": None,
            "enableInTreeAutoscaling": None,
            "autoscalerOptions": {"version": None, "idleTimeoutSeconds": None, "resources": RESOURCES},
            "authOptions": {"mode": None, "secretName": None},
            "headGroupSpec": {"rayStartParams": None, "template": POD},
            "workerGroupSpecs": [
                {
                    "groupName": None,
                    "replicas": None,
                    "minReplicas": None,
                    "maxReplicas": None,
                    "rayStartParams": None,
                    "template": POD,
                }
            ],
        },
    },
}


def unknown(manifest: Mapping[str, Any]) -> list[str]:
    """The paths of what has no such field."""
    return list(_unknown(manifest, KINDS[manifest["apiVersion"], manifest["kind"]], manifest["kind"]))


def _unknown(value: object, fields: Fields, path: str) -> Iterator[str]:
    match fields, value:
        case dict(), dict():
            for name, each in value.items():
                if name in fields:
                    yield from _unknown(each, fields[name], f"{path}.{name}")
                else:
                    yield f"{path}.{name}"
        case [one], list():
            for each in value:
                yield from _unknown(each, one, path)
        case ((dict() | list()), _):
            yield f"{path}: {value!r}"
