"""One good object of every kind, as small as it can be."""

from __future__ import annotations

from typing import Any

import yaml

from fairlead.api import kinds

_TEXT = """
Namespace: {}
Node: {}
Pod: {spec: {containers: [{name: main, image: nginx}]}}
Service: {spec: {ports: [{port: 80}]}}
Endpoints: {subsets: [{addresses: [{ip: 10.0.0.1}], ports: [{port: 80}]}]}
ConfigMap: {data: {a: b}}
Secret: {data: {a: Yg==}}
ServiceAccount: {}
Event: {involvedObject: {kind: Pod, name: p, namespace: default}, reason: R, message: m, type: Normal}
PersistentVolumeClaim: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}
PersistentVolume: {spec: {accessModes: [ReadWriteOnce], capacity: {storage: 1Gi}, hostPath: {path: /x}}}
ReplicationController: {spec: {template: {spec: {containers: [{name: main, image: nginx}]}}}}
LimitRange: {spec: {limits: [{type: Pod}]}}
ResourceQuota: {spec: {hard: {pods: "1"}}}
Deployment: &w
  spec:
    selector: {matchLabels: {a: b}}
    template: {metadata: {labels: {a: b}}, spec: {containers: [{name: main, image: nginx}]}}
ReplicaSet: *w
DaemonSet: *w
StatefulSet:
  spec:
    serviceName: s
    selector: {matchLabels: {a: b}}
    template: {metadata: {labels: {a: b}}, spec: {containers: [{name: main, image: nginx}]}}
ControllerRevision: {revision: 1}
Job: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: nginx}]}}}}
CronJob:
  spec:
    schedule: "* * * * *"
    jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: nginx}]}}}}
HorizontalPodAutoscaler: {spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: d}}}
Ingress: {spec: {defaultBackend: {service: {name: s, port: {number: 80}}}}}
IngressClass: {spec: {controller: example.com/c}}
NetworkPolicy: {spec: {podSelector: {}}}
EndpointSlice: {addressType: IPv4, endpoints: [{addresses: [10.0.0.1]}], ports: [{port: 80}]}
Lease: {spec: {holderIdentity: me}}
PodDisruptionBudget: {spec: {minAvailable: 1, selector: {matchLabels: {a: b}}}}
PriorityClass: {value: 5}
StorageClass: {provisioner: p}
Role: {rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]}
ClusterRole: {rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]}
RoleBinding: {roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}}
ClusterRoleBinding: {roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}}
CustomResourceDefinition:
  spec:
    group: example.com
    scope: Namespaced
    names: {plural: samples, kind: Sample}
    versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
BackendPolicy: {spec: {targetRefs: [{kind: Service, name: s}]}}
"""
_NEW_EVENT = {
    "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "c", "reportingInstance": "i", "action": "a",
    "reason": "R", "type": "Normal", "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
}  # fmt: skip


def sample(kind: kinds.Kind, name: str = "sample") -> dict[str, Any]:
    """A new object of the kind."""
    body = _NEW_EVENT if kind is kinds.NEW_EVENT else yaml.safe_load(_TEXT)[kind.kind]
    if kind is kinds.CUSTOM_RESOURCE_DEFINITION:
        name = "samples.example.com"
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}, **body}
