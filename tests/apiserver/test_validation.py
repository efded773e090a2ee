"""What is refused and how it is worded: one row for each rule. Immutable fields, warnings, defaults."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from fairlead.api import kinds
from fairlead.apiserver import server
from fairlead.client import errors, exchange, rest

from . import samples

GREATER = "must be greater than or equal to 0"
POD, SERVICE, INGRESS = kinds.POD, kinds.SERVICE, kinds.INGRESS
RULES: list[tuple[kinds.Kind, str, Any, str]] = [
    (
        kinds.CONFIG_MAP,
        "metadata.name",
        "Bad_Name",
        'metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain',
    ),
    (
        kinds.CONFIG_MAP,
        "metadata.labels",
        {"a b": "c"},
        'metadata.labels: Invalid value: "a b": name part must consist of',
    ),
    (
        kinds.CONFIG_MAP,
        "metadata.labels",
        {"a": "-"},
        'metadata.labels: Invalid value: "-": a valid label must be an empty',
    ),
    (kinds.CONFIG_MAP, "metadata.annotations", {"": "x"}, "name part must be non-empty"),
    (kinds.CONFIG_MAP, "metadata.finalizers", ["no domain!"], "metadata.finalizers: Invalid value"),
    (kinds.CONFIG_MAP, "data", {"a/b": "c"}, 'data[a/b]: Invalid value: "a/b": a valid config key must consist of'),
    (kinds.SECRET, "type", "kubernetes.io/tls", "data[tls.crt]: Required value"),
    (kinds.DEPLOYMENT, "spec.replicas", -1, f"spec.replicas: Invalid value: -1: {GREATER}"),
    (kinds.DEPLOYMENT, "spec.minReadySeconds", -1, f"spec.minReadySeconds: Invalid value: -1: {GREATER}"),
    (kinds.DEPLOYMENT, "spec.selector.matchLabels", {"x": "y"}, "`selector` does not match template `labels`"),
    (kinds.DEPLOYMENT, "spec.selector", None, "spec.selector: Required value"),
    (
        kinds.DEPLOYMENT,
        "spec.strategy",
        {"type": "Fast"},
        'Unsupported value: "Fast": supported values: "Recreate", "RollingUpdate"',
    ),
    (
        kinds.DEPLOYMENT,
        "spec.strategy",
        {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}},
        "may not be 0 when `maxSurge` is 0",
    ),
    (kinds.DEPLOYMENT, "spec.strategy", {"rollingUpdate": {"maxSurge": "x%"}}, "a valid percent string must be"),
    (kinds.DEPLOYMENT, "spec.progressDeadlineSeconds", 0, "must be greater than minReadySeconds"),
    (
        kinds.DEPLOYMENT,
        "spec.template.spec.restartPolicy",
        "Never",
        'Unsupported value: "Never": supported values: "Always"',
    ),
    (
        kinds.DAEMON_SET,
        "spec.updateStrategy",
        {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}},
        "rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
    ),
    (kinds.CRON_JOB, "spec.timeZone", "Foo/Bar", 'Invalid value: "Foo/Bar": unknown time zone Foo/Bar'),
    (kinds.CRON_JOB, "spec.timeZone", "../etc/passwd", "unknown time zone ../etc/passwd"),
    (kinds.JOB, "spec.backoffLimitPerIndex", 1, "backoffLimitPerIndex: Invalid value: 1: requires indexed completion"),
    (kinds.JOB, "spec.successPolicy", {"rules": [{"succeededCount": 1}]}, "requires indexed completion mode"),
    (
        kinds.JOB,
        "spec.podFailurePolicy",
        {"rules": [{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [1]}}]},
        "requires the backoffLimitPerIndex to be set",
    ),
    (kinds.JOB, "spec.podFailurePolicy", {"rules": [{"action": "FailJob"}]}, "specify one of: OnExitCodes or"),
    (POD, "spec.containers.0.restartPolicy", "Often", 'supported values: "Always", "Never", "OnFailure"'),
    (
        POD,
        "spec.containers.0.restartPolicyRules",
        [{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}],
        "restartPolicy: Required value: must specify restartPolicy when restart rules are used",
    ),
    (POD, "spec.containers", [], "spec.containers: Required value"),
    (POD, "spec.containers.0.name", "", "spec.containers[0].name: Required value"),
    (POD, "spec.containers.0.name", "A", 'spec.containers[0].name: Invalid value: "A": a lowercase RFC 1123 label'),
    (POD, "spec.containers.0.image", "", "spec.containers[0].image: Required value"),
    (POD, "spec.containers.0.imagePullPolicy", "Maybe", 'supported values: "Always", "IfNotPresent", "Never"'),
    (
        POD,
        "spec.containers.0.ports",
        [{"containerPort": 70000}],
        "ports[0].containerPort: Invalid value: 70000: must be between 1",
    ),
    (POD, "spec.containers.0.ports", [{"containerPort": 1, "protocol": "X"}], 'supported values: "SCTP", "TCP", "UDP"'),
    (POD, "spec.containers.0.env", [{"name": "a=b"}], "env[0].name: Invalid value"),
    (POD, "spec.containers.0.volumeMounts", [{"name": "v", "mountPath": "/x"}], 'volumeMounts[0].name: Not found: "v"'),
    (
        POD,
        "spec.containers.0.resources",
        {"requests": {"cpu": "x"}},
        'requests.cpu: Invalid value: "x": quantities must match',
    ),
    (
        POD,
        "spec.containers.0.resources",
        {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}},
        "must be less than or equal to cpu limit of 1",
    ),
    (POD, "spec.containers.0.livenessProbe", {}, "livenessProbe: Required value: must specify a handler type"),
    (
        POD,
        "spec.containers.0.livenessProbe",
        {"httpGet": {"port": 0}},
        "httpGet.port: Invalid value: 0: must be between 1 and 65535",
    ),
    (
        POD,
        "spec.containers.0.livenessProbe",
        {"exec": {"command": ["x"]}, "successThreshold": 2},
        "successThreshold: Invalid value: 2: must be 1",
    ),
    (
        POD,
        "spec.restartPolicy",
        "Sometimes",
        'Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"',
    ),
    (POD, "spec.dnsPolicy", "X", "spec.dnsPolicy: Unsupported value"),
    (
        POD,
        "spec.dnsPolicy",
        "None",
        "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
    ),
    (POD, "spec.dnsConfig", {"nameservers": ["1.1.1"]}, 'nameservers[0]: Invalid value: "1.1.1": must be a valid IP'),
    (POD, "spec.dnsConfig", {"nameservers": ["1.1.1.1"] * 4}, "must not have more than 3 nameservers"),
    (POD, "spec.dnsConfig", {"searches": ["a"] * 33}, "must not have more than 32 search paths"),
    (POD, "spec.dnsConfig", {"searches": ["a." * 100 + "b"] * 11}, "must not have more than 2048 characters"),
    (POD, "spec.dnsConfig", {"searches": ["-x"]}, "searches[0]: Invalid value"),
    (POD, "spec.dnsConfig", {"options": [{"value": "1"}]}, "options[0]: Required value: must not be empty"),
    (POD, "spec.volumes", [{"name": "v"}, {"name": "v"}], 'spec.volumes[1].name: Duplicate value: "v"'),
    (
        POD,
        "spec.volumes",
        [{"name": "v", "emptyDir": {}, "secret": {"secretName": "s"}}],
        "may not specify more than 1 volume type",
    ),
    (POD, "spec.serviceAccountName", "nobody", 'serviceaccount "nobody" not found'),
    (SERVICE, "metadata.name", "1abc", "a DNS-1035 label must consist of"),
    (SERVICE, "spec.ports", [], "spec.ports: Required value"),
    (
        SERVICE,
        "spec.ports",
        [{"port": 0}],
        "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
    ),
    (SERVICE, "spec.ports", [{"port": 1}, {"port": 2}], "spec.ports[0].name: Required value"),
    (SERVICE, "spec.ports", [{"port": 1, "name": "a"}, {"port": 1, "name": "b"}], "spec.ports[1]: Duplicate value"),
    (SERVICE, "spec.type", "Odd", 'spec.type: Unsupported value: "Odd"'),
    (SERVICE, "spec.type", "ExternalName", "spec.externalName: Required value"),
    (SERVICE, "spec.sessionAffinity", "Sticky", "spec.sessionAffinity: Unsupported value"),
    (SERVICE, "spec.clusterIP", "banana", "must be a valid IP address"),
    (SERVICE, "spec.externalTrafficPolicy", "Local", "may only be set for externally-accessible services"),
    (SERVICE, "spec.healthCheckNodePort", 30000, "may only be set when `type` is 'LoadBalancer'"),
    (SERVICE, "spec.loadBalancerSourceRanges", ["1.2.3.4/8"], "may only be used when `type` is 'LoadBalancer'"),
    (
        SERVICE,
        "spec.loadBalancerSourceRanges",
        ["x"],
        'loadBalancerSourceRanges[0]: Invalid value: "x": must be a valid',
    ),
    (SERVICE, "spec.loadBalancerClass", "a/b", "may only be used when `type` is 'LoadBalancer'"),
    (SERVICE, "spec.externalIPs", ["127.0.0.1"], "may not be in the loopback range"),
    (SERVICE, "spec.externalIPs", ["0.0.0.0"], "may not be unspecified"),
    (SERVICE, "spec.externalIPs", ["169.254.1.1"], "may not be in the link-local range"),
    (SERVICE, "spec.trafficDistribution", "Near", 'spec.trafficDistribution: Unsupported value: "Near"'),
    (SERVICE, "spec.ipFamilies", ["IPv5"], "spec.ipFamilies[0]: "),
    (INGRESS, "spec", {}, "either `defaultBackend` or `rules` must be specified"),
    (INGRESS, "spec.rules", [{"host": "*.*.x"}], "a wildcard DNS-1123 subdomain must start with '*.'"),
    (INGRESS, "spec.rules", [{"host": "1.2.3.4"}], "must be a DNS name, not an IP address"),
    (
        INGRESS,
        "spec.rules",
        [{"http": {"paths": [{"path": "/", "backend": {}}]}}],
        "pathType: Required value: pathType must be specified",
    ),
    (
        INGRESS,
        "spec.rules",
        [{"http": {"paths": [{"path": "x", "pathType": "Prefix", "backend": {}}]}}],
        "must be an absolute path",
    ),
    (INGRESS, "spec.defaultBackend", {"service": {"name": "s"}}, "port name or number is required"),
    (kinds.HPA, "spec.maxReplicas", 0, "spec.maxReplicas: Invalid value: 0: must be greater than 0"),
    (kinds.HPA, "spec.minReplicas", 9, "must be greater than or equal to `minReplicas`"),
    (kinds.HPA, "spec.metrics", [{"type": "Odd"}], "spec.metrics[0].type: Unsupported value"),
    (kinds.JOB, "spec.parallelism", -1, f"spec.parallelism: Invalid value: -1: {GREATER}"),
    (kinds.JOB, "spec.template.spec.restartPolicy", "Always", 'supported values: "Never", "OnFailure"'),
    (
        kinds.CRON_JOB,
        "spec.schedule",
        "every day",
        'spec.schedule: Invalid value: "every day": expected exactly 5 fields',
    ),
    (kinds.CRON_JOB, "spec.schedule", "61 * * * *", "failed to parse"),
    (
        kinds.ENDPOINT_SLICE,
        "endpoints",
        [{"addresses": ["x"]}],
        'endpoints[0].addresses[0]: Invalid value: "x": must be a valid IP',
    ),
    (kinds.ENDPOINT_SLICE, "addressType", "IPv5", "addressType: Unsupported value"),
    (kinds.POD_DISRUPTION_BUDGET, "spec.maxUnavailable", 1, "minAvailable and maxUnavailable cannot be both set"),
    (kinds.ROLE, "rules", [{"verbs": []}], "rules[0].verbs: Required value: verbs must contain at least one value"),
    (kinds.ROLE_BINDING, "subjects", [{"kind": "Robot", "name": "x"}], "subjects[0].kind: Unsupported value"),
    (
        kinds.PERSISTENT_VOLUME_CLAIM,
        "spec.accessModes",
        [],
        "spec.accessModes: Required value: at least 1 access mode is required",
    ),
    (kinds.NAMESPACE, "metadata.name", "a.b", "a lowercase RFC 1123 label must consist of"),
]


def put(body: Any, path: str, value: Any) -> dict[str, Any]:
    result = copy.deepcopy(body)
    *parents, last = path.split(".")
    at = result
    for part in parents:
        at = at[int(part)] if part.isdecimal() else at.setdefault(part, {})
    if value is None:
        at.pop(last)
    else:
        at[last] = value
    return dict(result)


@pytest.mark.parametrize(
    ("kind", "path", "value", "message"), RULES, ids=[f"{k.kind}-{p}-{n}" for n, (k, p, _, _) in enumerate(RULES)]
)
async def test_rules(client: rest.RestClient, kind: kinds.Kind, path: str, value: Any, message: str) -> None:
    with pytest.raises(errors.ApiError) as caught:
        await client.create(
            kind, put(samples.sample(kind), path, value), namespace="default" if kind.namespaced else ""
        )
    assert caught.value.code in (403, 422) and message in str(caught.value), str(caught.value)
    if caught.value.code == 422:
        assert caught.value.status["details"]["causes"][0]["field"]


FIXED: list[tuple[kinds.Kind, str, Any, str]] = [
    (kinds.DEPLOYMENT, "spec.selector.matchLabels", {"a": "c"}, "field is immutable"),
    (kinds.STATEFUL_SET, "spec.serviceName", "other", "updates to statefulset spec for fields other than"),
    (kinds.JOB, "spec.completions", 5, "field is immutable"),
    (POD, "spec.containers.0.command", ["x"], "pod updates may not change fields other than"),
    (
        POD,
        "spec.containers",
        [{"name": "a", "image": "b"}, {"name": "c", "image": "d"}],
        "may not add or remove containers",
    ),
    (kinds.SECRET, "type", "other", "field is immutable"),
    (kinds.ROLE_BINDING, "roleRef.name", "edit", "cannot change roleRef"),
    (kinds.ENDPOINT_SLICE, "addressType", "IPv6", "field is immutable"),
    (kinds.CUSTOM_RESOURCE_DEFINITION, "spec.scope", "Cluster", "field is immutable"),
]


@pytest.mark.parametrize(("kind", "path", "value", "message"), FIXED, ids=[f"{k.kind}-{p}" for k, p, _, _ in FIXED])
async def test_what_may_not_change(
    client: rest.RestClient, kind: kinds.Kind, path: str, value: Any, message: str
) -> None:
    made = await client.create(kind, samples.sample(kind), namespace="default" if kind.namespaced else "")
    with pytest.raises(errors.ApiError, match=message) as caught:
        await client.update(kind, put(made, path, value))
    assert caught.value.code == 422


@pytest.mark.parametrize(("deadline", "words"), [(None, "nil value"), (31, "larger value"), (29, "")])
async def test_a_deadline_only_comes_nearer(client: rest.RestClient, deadline: int | None, words: str) -> None:
    made = await client.create(POD, put(samples.sample(POD), "spec.activeDeadlineSeconds", 30), namespace="default")
    spec = {**made["spec"], "activeDeadlineSeconds": deadline}
    if deadline is None:
        del spec["activeDeadlineSeconds"]
    if not words:
        assert (await client.update(POD, {**made, "spec": spec}))["spec"]["activeDeadlineSeconds"] == deadline
        return
    with pytest.raises(errors.ApiError, match=words):
        await client.update(POD, {**made, "spec": spec})


async def test_images_of_a_pod_may_change(client: rest.RestClient) -> None:
    made = await client.create(POD, samples.sample(POD), namespace="default")
    changed = await client.update(POD, put(made, "spec.containers.0.image", "nginx:2"))
    assert changed["spec"]["containers"][0]["image"] == "nginx:2"


@pytest.mark.parametrize(
    "kind",
    [kinds.NETWORK_POLICY, kinds.RESOURCE_QUOTA, kinds.LIMIT_RANGE, kinds.STORAGE_CLASS, kinds.REPLICATION_CONTROLLER],
)
async def test_what_is_not_enforced_is_said(api: server.ApiServer, kind: kinds.Kind) -> None:
    body = json.dumps(samples.sample(kind)).encode()
    path = kind.path("default" if kind.namespaced else "")
    answer = await api.exchange(exchange.Request("POST", path, (), {}, body, server.ADMIN))
    assert answer.status == 201 and "fairlead" in answer.headers["warning"]


async def test_an_immutable_config_map(client: rest.RestClient) -> None:
    body = {**samples.sample(kinds.CONFIG_MAP), "immutable": True}
    await client.create(kinds.CONFIG_MAP, body, namespace="default")
    with pytest.raises(errors.ApiError, match="field is immutable when `immutable` is set"):
        await client.patch(kinds.CONFIG_MAP, "sample", {"data": {"a": "z"}}, namespace="default")


async def test_nothing_is_created_in_a_namespace_that_goes(client: rest.RestClient) -> None:
    await client.create(kinds.NAMESPACE, {"metadata": {"name": "n"}})
    await client.delete(kinds.NAMESPACE, "n")
    with pytest.raises(errors.ApiError, match="because it is being terminated"):
        await client.create(kinds.CONFIG_MAP, samples.sample(kinds.CONFIG_MAP), namespace="n")
    with pytest.raises(errors.ApiError, match='namespaces "none" not found'):
        await client.create(kinds.CONFIG_MAP, samples.sample(kinds.CONFIG_MAP), namespace="none")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"spec": {"replicas": True}}, "cannot unmarshal bool into Go struct field DeploymentSpec.spec.replicas"),
        ({"spec": {"replicas": 1.0}}, "cannot unmarshal number 1.0 into Go struct field DeploymentSpec.spec.replicas"),
        ({"status": {"conditions": [{"type": 1}]}}, "cannot unmarshal number into Go struct field"),
        ({"kind": "ReplicaSet"}, "must be of type Deployment"),
        (
            {"metadata": {"managedFields": [{"fieldsV1": json.loads('{"f:a":' * 80 + "{}" + "}" * 80)}]}},
            "nested deeper",
        ),
    ],
)
async def test_an_update_is_of_its_shape_whatever_it_shares_with_what_is_stored(
    client: rest.RestClient, changed: Any, message: str
) -> None:
    stored = await client.create(kinds.DEPLOYMENT, samples.sample(kinds.DEPLOYMENT), namespace="default")
    body = copy.deepcopy(stored)
    body["spec"]["replicas"] = 1
    stored = await client.update(kinds.DEPLOYMENT, body)
    body = copy.deepcopy(stored)
    for name, part in changed.items():
        body[name] = {**body[name], **part} if isinstance(part, dict) else part
    for subresource in ("", "status"):
        with pytest.raises(errors.ApiError, match=message) as refused:
            await client._object(
                "PUT", kinds.DEPLOYMENT.path("default", body["metadata"]["name"], subresource), body=body
            )
        assert refused.value.code == 400


async def test_endpoints_that_are_added_to_a_slice_are_looked_at(client: rest.RestClient) -> None:
    good = {"addresses": ["10.0.0.1"], "conditions": {"ready": True}}
    body = {"metadata": {"name": "s"}, "addressType": "IPv4", "endpoints": [good], "ports": []}
    stored = await client.create(kinds.ENDPOINT_SLICE, body, namespace="default")
    for bad, message in (
        ({**good, "addresses": "10.0.0.2"}, "cannot unmarshal string into Go struct field"),
        ({**good, "addresses": ["10.0.0.256"]}, r"endpoints\[1\].addresses\[0\]: Invalid value"),
        ({**good, "conditions": {"ready": 1}}, "cannot unmarshal number into Go struct field"),
    ):
        with pytest.raises(errors.ApiError, match=message):
            await client.update(kinds.ENDPOINT_SLICE, {**stored, "endpoints": [good, bad]})
    moved = await client.update(kinds.ENDPOINT_SLICE, {**stored, "endpoints": [{**good, "zone": "z"}, good, good]})
    assert len(moved["endpoints"]) == 3
    assert moved["metadata"]["generation"] == 2
    back = await client.update(kinds.ENDPOINT_SLICE, {**moved, "endpoints": [good], "unknown": 1})
    assert "unknown" not in back
