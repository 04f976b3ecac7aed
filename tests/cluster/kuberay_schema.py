"""What KubeRay 1.6.2 takes: fields and types of `ray.io/v1`, as far as a manifest's author sets them.

From its API reference (docs/reference/api.md at tag v1.6.2) and the checks of its operator
(ray-operator/controllers/ray/utils/validation.go). No package has its CRDs. Pods are described as far as our
manifests use them; Kubernetes prunes unknown fields silently, which is why they are refused here.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
LABELS: Schema = {
    "type": "object",
    "propertyNames": {"pattern": r"^([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"},
    "additionalProperties": {
        "type": "string",
        "pattern": r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$",
    },
}
QUANTITIES: Schema = {
    "type": "object",
    "additionalProperties": {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|[kMGTP]i?)?$"},
}


def strict(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def several(item: Schema, least: int = 0) -> Schema:
    return {"type": "array", "items": item, "minItems": least}


def one_of(*values: str) -> Schema:
    return {"enum": list(values)}


RESOURCES = strict(requests=QUANTITIES, limits=QUANTITIES)
SECRET_KEY = strict(("secretKeyRef",), secretKeyRef=strict(("name", "key"), name=TEXT, key=TEXT))
ENV = strict(("name",), name=TEXT, value=TEXT, valueFrom=SECRET_KEY)
CONTAINER = strict(
    ("name", "image", "resources"),
    name=TEXT,
    image=TEXT,
    env=several(ENV),
    ports=several(strict(("name", "containerPort"), name=TEXT, containerPort=COUNT)),
    resources=RESOURCES,
    securityContext=strict(allowPrivilegeEscalation=FLAG, capabilities=strict(drop=several(TEXT))),
)
POD = strict(
    ("containers",),
    serviceAccountName=TEXT,
    securityContext=strict(runAsNonRoot=FLAG, runAsUser=COUNT, runAsGroup=COUNT, fsGroup=COUNT),
    nodeSelector=LABELS,
    tolerations=several(
        strict(
            key=TEXT,
            operator=one_of("Exists", "Equal"),
            value=TEXT,
            effect=one_of("NoSchedule", "PreferNoSchedule", "NoExecute"),
        )
    ),
    containers=several(CONTAINER, least=1),
    # autoscaler v2 and SidecarMode refuse any other
    restartPolicy=one_of("Never"),
)
TEMPLATE = strict(("spec",), metadata=strict(labels=LABELS, annotations=TEXTS), spec=POD)

AUTOSCALER = strict(
    resources=RESOURCES,
    image=TEXT,
    imagePullPolicy=one_of("Always", "IfNotPresent", "Never"),
    securityContext={"type": "object"},
    idleTimeoutSeconds=COUNT,
    upscalingMode=one_of("Default", "Aggressive", "Conservative"),
    version=one_of("v1", "v2"),
    env=several(ENV),
    envFrom=several({"type": "object"}),
    volumeMounts=several({"type": "object"}),
)
REDIS_CREDENTIAL = strict(valueFrom=SECRET_KEY, value=TEXT)
GCS_FAULT_TOLERANCE = strict(
    redisUsername=REDIS_CREDENTIAL,
    redisPassword=REDIS_CREDENTIAL,
    externalStorageNamespace=TEXT,
    redisAddress=TEXT,
)
HEAD_GROUP = strict(
    ("template",),
    template=TEMPLATE,
    headService={"type": "object"},
    enableIngress=FLAG,
    resources=QUANTITIES,
    labels=LABELS,
    # `labels` there is refused by the operator: they have a field of their own
    rayStartParams={**TEXTS, "propertyNames": {"not": {"const": "labels"}}},
    serviceType=one_of("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"),
)
WORKER_GROUP = strict(
    ("groupName", "template"),
    suspend=FLAG,
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    idleTimeoutSeconds=COUNT,
    resources=QUANTITIES,
    labels=LABELS,
    rayStartParams={**TEXTS, "propertyNames": {"not": {"const": "labels"}}},
    template=TEMPLATE,
    scaleStrategy=strict(workersToDelete=several(TEXT)),
    numOfHosts=COUNT,
)
CLUSTER_SPEC = strict(
    ("headGroupSpec",),
    upgradeStrategy=strict(type=one_of("Recreate", "None")),
    authOptions=strict(mode=one_of("disabled", "token"), secretName=TEXT, enableK8sTokenAuth=FLAG),
    suspend=FLAG,
    managedBy=TEXT,
    autoscalerOptions=AUTOSCALER,
    headServiceAnnotations=TEXTS,
    enableInTreeAutoscaling=FLAG,
    gcsFaultToleranceOptions=GCS_FAULT_TOLERANCE,
    headGroupSpec=HEAD_GROUP,
    rayVersion=TEXT,
    workerGroupSpecs=several(WORKER_GROUP),
)
JOB_SPEC = strict(
    (),
    activeDeadlineSeconds={**COUNT, "minimum": 1},
    backoffLimit=COUNT,
    rayClusterSpec=CLUSTER_SPEC,
    submitterPodTemplate={"type": "object"},
    metadata=TEXTS,
    clusterSelector=TEXTS,
    submitterConfig=strict(backoffLimit=COUNT),
    managedBy=TEXT,
    deletionStrategy={"type": "object"},
    entrypoint=TEXT,
    runtimeEnvYAML=TEXT,
    jobId=TEXT,
    submissionMode=one_of("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    entrypointResources=TEXT,
    entrypointNumCpus={"type": "number"},
    entrypointNumGpus={"type": "number"},
    ttlSecondsAfterFinished=COUNT,
    preRunningDeadlineSeconds={**COUNT, "minimum": 1},
    shutdownAfterJobFinishes=FLAG,
    suspend=FLAG,
)
# names become those of services and pods: a DNS-1035 label, of 63 characters less those that KubeRay adds
METADATA = strict(
    ("name",),
    name={"type": "string", "pattern": r"^[a-z]([a-z0-9-]*[a-z0-9])?$", "maxLength": 47},
    namespace=TEXT,
    labels=LABELS,
    annotations=TEXTS,
)


def ray_object(kind: str, spec: Schema) -> Schema:
    return strict(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion=one_of("ray.io/v1"),
        kind=one_of(kind),
        metadata=METADATA,
        spec=spec,
    )


RAY_CLUSTER = ray_object("RayCluster", CLUSTER_SPEC)
RAY_JOB = ray_object("RayJob", JOB_SPEC)
