"""Which kind behaves how: the one table of behaviours, by `plural.group`."""

from __future__ import annotations

from fairlead.api import kinds
from fairlead.api.defaults import network, workloads
from fairlead.api.validation import config, rbac
from fairlead.api.validation import network as network_rules
from fairlead.api.validation import workloads as workload_rules
from fairlead.apiserver.behaviours import base, jobs, namespaces, pods, roles, services, storage
from fairlead.apiserver.behaviours.simple import Simple

_EVENT_FIELDS = (
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
    "regarding.kind",
    "regarding.name",
    "regarding.namespace",
    "regarding.uid",
)
_SPEC = ("spec",)


def behaviours() -> dict[str, base.Behaviour]:
    """A new set: behaviours hold no state, but nothing relies on that."""
    found: dict[kinds.Kind, base.Behaviour] = {
        kinds.NAMESPACE: namespaces.Namespaces(),
        kinds.POD: pods.Pods(),
        kinds.SERVICE: services.Services(),
        kinds.NODE: Simple(field_labels=("spec.unschedulable",)),
        kinds.EVENT: Simple(field_labels=_EVENT_FIELDS),
        kinds.NEW_EVENT: Simple(field_labels=_EVENT_FIELDS),
        kinds.CONFIG_MAP: Simple(validate=config.validate_config_map, validate_update=config.validate_immutable),
        kinds.SECRET: Simple(
            default=config.default_secret,
            validate=config.validate_secret,
            validate_update=config.validate_secret_update,
            field_labels=("type",),
        ),
        kinds.ENDPOINTS: Simple(
            default=network.endpoints,
            warning="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
        ),
        kinds.ENDPOINT_SLICE: Simple(
            default=network.endpoint_slice,
            validate=network_rules.validate_endpoint_slice,
            validate_update=network_rules.validate_endpoint_slice_update,
            generation=("endpoints", "ports"),
        ),
        kinds.PERSISTENT_VOLUME_CLAIM: storage.Claims(),
        kinds.PERSISTENT_VOLUME: storage.Volumes(),
        kinds.REPLICATION_CONTROLLER: Simple(
            generation=_SPEC,
            warning="ReplicationController is stored but no controller acts on it in fairlead; use a Deployment",
        ),
        kinds.DEPLOYMENT: Simple(
            status={},
            default=workloads.deployment,
            validate=workload_rules.validate_deployment,
            validate_update=workload_rules.validate_selector_update,
            generation=_SPEC,
        ),
        kinds.REPLICA_SET: Simple(
            default=workloads.replica_set,
            validate=workload_rules.validate_replica_set,
            validate_update=workload_rules.validate_selector_update,
            generation=_SPEC,
            field_labels=("status.replicas",),
            status={"replicas": 0},
        ),
        kinds.STATEFUL_SET: Simple(
            status={"replicas": 0, "availableReplicas": 0},
            default=workloads.stateful_set,
            validate=workload_rules.validate_stateful_set,
            validate_update=workload_rules.validate_stateful_set_update,
            generation=_SPEC,
        ),
        kinds.DAEMON_SET: Simple(
            status={
                "currentNumberScheduled": 0,
                "desiredNumberScheduled": 0,
                "numberMisscheduled": 0,
                "numberReady": 0,
            },
            default=workloads.daemon_set,
            validate=workload_rules.validate_daemon_set,
            validate_update=workload_rules.validate_selector_update,
            generation=_SPEC,
        ),
        kinds.CONTROLLER_REVISION: Simple(),
        kinds.JOB: jobs.Jobs(
            status={},
            default=workloads.job,
            validate=workload_rules.validate_job,
            generation=_SPEC,
            field_labels=("status.successful",),
            validate_update=workload_rules.validate_job_update,
        ),
        kinds.CRON_JOB: Simple(
            status={},
            default=workloads.cron_job,
            validate=workload_rules.validate_cron_job,
            generation=_SPEC,
            name=workload_rules.cron_job_name_problem,
        ),
        kinds.HPA: Simple(default=workloads.hpa, validate=workload_rules.validate_hpa),
        kinds.INGRESS: Simple(
            status={"loadBalancer": {}},
            default=network.ingress,
            validate=network_rules.validate_ingress,
            generation=_SPEC,
        ),
        kinds.BACKEND_POLICY: Simple(generation=_SPEC),
        kinds.INGRESS_CLASS: Simple(generation=_SPEC, validate=network_rules.validate_ingress_class),
        kinds.NETWORK_POLICY: Simple(
            default=network.network_policy,
            generation=_SPEC,
            warning="NetworkPolicy is stored but not enforced by fairlead: all traffic stays allowed",
        ),
        kinds.POD_DISRUPTION_BUDGET: Simple(
            status={"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0},
            generation=_SPEC,
            validate=workload_rules.validate_budget,
        ),
        kinds.PRIORITY_CLASS: Simple(),
        kinds.RESOURCE_QUOTA: Simple(warning="ResourceQuota is stored but not enforced by fairlead"),
        kinds.LIMIT_RANGE: Simple(warning="LimitRange is stored but not enforced by fairlead"),
        kinds.STORAGE_CLASS: storage.Classes(),
        kinds.ROLE: roles.Roles(kinds.ROLE, validate=rbac.validate_role),
        kinds.CLUSTER_ROLE: roles.Roles(kinds.CLUSTER_ROLE, validate=rbac.validate_role),
        kinds.ROLE_BINDING: roles.Bindings(
            kinds.ROLE_BINDING,
            default=network.role_binding,
            validate=rbac.validate_binding,
            validate_update=rbac.validate_binding_update,
        ),
        kinds.CLUSTER_ROLE_BINDING: roles.Bindings(
            kinds.CLUSTER_ROLE_BINDING,
            default=network.role_binding,
            validate=rbac.validate_binding,
            validate_update=rbac.validate_binding_update,
        ),
    }
    return {str(kind): behaviour for kind, behaviour in found.items()}
