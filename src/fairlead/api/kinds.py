"""The one table of kinds. Adding a kind is one entry here (its schema comes from Kubernetes' own by name)."""

from __future__ import annotations

import msgspec


class Kind(msgspec.Struct, frozen=True):
    """One resource as an API server serves it. `group` is "" for core."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        return self.kind.lower()

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of a collection, an object or its subresource."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part]
        return "/" + "/".join(parts)

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


_STATUS = ("status",)
_SCALABLE = ("status", "scale")
_ALL = ("all",)

NAMESPACE = Kind("", "v1", "Namespace", "namespaces", False, ("ns",), (), ("status", "finalize"))
NODE = Kind("", "v1", "Node", "nodes", False, ("no",), (), ("status", "proxy"))
POD = Kind(
    "", "v1", "Pod", "pods", True, ("po",), _ALL,
    ("status", "log", "exec", "attach", "portforward", "proxy", "eviction", "binding", "ephemeralcontainers"),
)  # fmt: skip
SERVICE = Kind("", "v1", "Service", "services", True, ("svc",), _ALL, ("status", "proxy"))
ENDPOINTS = Kind("", "v1", "Endpoints", "endpoints", True, ("ep",))
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps", True, ("cm",))
SECRET = Kind("", "v1", "Secret", "secrets", True)
SERVICE_ACCOUNT = Kind("", "v1", "ServiceAccount", "serviceaccounts", True, ("sa",), (), ("token",))
EVENT = Kind("", "v1", "Event", "events", True, ("ev",))
PERSISTENT_VOLUME_CLAIM = Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", True, ("pvc",), (), _STATUS)
PERSISTENT_VOLUME = Kind("", "v1", "PersistentVolume", "persistentvolumes", False, ("pv",), (), _STATUS)
LIMIT_RANGE = Kind("", "v1", "LimitRange", "limitranges", True, ("limits",))
RESOURCE_QUOTA = Kind("", "v1", "ResourceQuota", "resourcequotas", True, ("quota",), (), _STATUS)
REPLICATION_CONTROLLER = Kind(
    "", "v1", "ReplicationController", "replicationcontrollers", True, ("rc",), _ALL, _SCALABLE
)
DEPLOYMENT = Kind("apps", "v1", "Deployment", "deployments", True, ("deploy",), _ALL, _SCALABLE)
REPLICA_SET = Kind("apps", "v1", "ReplicaSet", "replicasets", True, ("rs",), _ALL, _SCALABLE)
STATEFUL_SET = Kind("apps", "v1", "StatefulSet", "statefulsets", True, ("sts",), _ALL, _SCALABLE)
DAEMON_SET = Kind("apps", "v1", "DaemonSet", "daemonsets", True, ("ds",), _ALL, _STATUS)
CONTROLLER_REVISION = Kind("apps", "v1", "ControllerRevision", "controllerrevisions", True)
JOB = Kind("batch", "v1", "Job", "jobs", True, (), _ALL, _STATUS)
CRON_JOB = Kind("batch", "v1", "CronJob", "cronjobs", True, ("cj",), _ALL, _STATUS)
HPA = Kind("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", True, ("hpa",), _ALL, _STATUS)
HPA_V1 = Kind("autoscaling", "v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers", True, ("hpa",), _ALL, _STATUS)
INGRESS = Kind("networking.k8s.io", "v1", "Ingress", "ingresses", True, ("ing",), (), _STATUS)
INGRESS_CLASS = Kind("networking.k8s.io", "v1", "IngressClass", "ingressclasses", False)
NETWORK_POLICY = Kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", True, ("netpol",))
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", True)
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases", True)
POD_DISRUPTION_BUDGET = Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", True, ("pdb",), (), _STATUS)
PRIORITY_CLASS = Kind("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", False, ("pc",))
STORAGE_CLASS = Kind("storage.k8s.io", "v1", "StorageClass", "storageclasses", False, ("sc",))
ROLE = Kind("rbac.authorization.k8s.io", "v1", "Role", "roles", True)
ROLE_BINDING = Kind("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", True)
CLUSTER_ROLE = Kind("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", False)
CLUSTER_ROLE_BINDING = Kind("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", False)
CUSTOM_RESOURCE_DEFINITION = Kind(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False, ("crd", "crds"),
    ("api-extensions",), _STATUS,
)  # fmt: skip
BACKEND_POLICY = Kind("fairlead.dev", "v1alpha1", "BackendPolicy", "backendpolicies", True, ("bp",), (), _STATUS)
NEW_EVENT = Kind("events.k8s.io", "v1", "Event", "events", True, ("ev",))

KINDS: tuple[Kind, ...] = (
    NAMESPACE, NODE, POD, SERVICE, ENDPOINTS, CONFIG_MAP, SECRET, SERVICE_ACCOUNT, EVENT, PERSISTENT_VOLUME_CLAIM,
    PERSISTENT_VOLUME, REPLICATION_CONTROLLER,
    LIMIT_RANGE, RESOURCE_QUOTA, DEPLOYMENT, REPLICA_SET, STATEFUL_SET, DAEMON_SET,
    CONTROLLER_REVISION, JOB, CRON_JOB, HPA, HPA_V1, INGRESS, INGRESS_CLASS, NETWORK_POLICY, ENDPOINT_SLICE, LEASE,
    POD_DISRUPTION_BUDGET, PRIORITY_CLASS, STORAGE_CLASS, ROLE, ROLE_BINDING, CLUSTER_ROLE, CLUSTER_ROLE_BINDING,
    CUSTOM_RESOURCE_DEFINITION, BACKEND_POLICY, NEW_EVENT,
)  # fmt: skip
