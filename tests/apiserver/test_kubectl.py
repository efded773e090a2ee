"""kubectl's verbs, group by group, with the real kubectl. What needs controllers or a node is not here."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from fairlead.api import kinds
from fairlead.client import rest
from fairlead.testing import pod_door

from . import kubectl

pytestmark = pytest.mark.system

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {group: g}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: nginx, image: "nginx:1", ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: conf, labels: {group: g}}
data: {a: "1"}
"""


@pytest.fixture
async def manifest(run: kubectl.Kubectl, tmp_path: Path) -> Path:
    path = tmp_path / "manifest.yaml"
    path.write_text(MANIFEST)
    await run("apply", "-f", str(path))
    return path


async def test_create_commands(run: kubectl.Kubectl) -> None:
    for words in (
        "namespace n1",
        "deployment d --image=nginx --replicas=2 --port=80",
        "service clusterip s --tcp=80:8080",
        "service nodeport sn --tcp=80",
        "service externalname se --external-name=example.com",
        "configmap c --from-literal=a=b",
        "secret generic g --from-literal=a=b",
        "serviceaccount robot",
        "role r --verb=get,list --resource=pods",
        "rolebinding rb --role=r --serviceaccount=default:robot",
        "clusterrole cr --verb=get --resource=nodes",
        "clusterrolebinding crb --clusterrole=cr --user=jane",
        "job j --image=busybox -- true",
        "cronjob cj --image=busybox --schedule=*/5_*_*_*_* -- true",
        "job j2 --from=cronjob/cj",
        "ingress i --rule=a.example/*=s:80,tls=cert",
        "poddisruptionbudget p --selector=app=d --min-available=1",
        "quota q --hard=pods=3",
        "priorityclass pc --value=7",
    ):
        result = await run("create", *(word.replace("_", " ") for word in words.split(" ")))
        assert "created" in result.out, words
    token = (await run("create", "token", "robot")).out.strip()
    assert token.count(".") == 2
    assert "already exists" in (await run("create", "configmap", "c", code=1)).err


async def test_get_in_every_format(run: kubectl.Kubectl, manifest: Path) -> None:
    table = (await run("get", "deploy,cm", "-l", "group=g")).out
    assert "web   0/2     0            0" in table and "conf   1" in table
    assert "SELECTOR" in (await run("get", "deploy", "-o", "wide")).out
    assert json.loads((await run("get", "deploy", "web", "-o", "json")).out)["spec"]["replicas"] == 2
    assert "kind: Deployment" in (await run("get", "deploy", "web", "-o", "yaml")).out
    assert (await run("get", "deploy", "-o", "name")).out == "deployment.apps/web\n"
    assert (await run("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}")).out == "2"
    assert (await run("get", "deploy", "web", "-o", "go-template={{.metadata.name}}")).out == "web"
    assert "R\n2" in (await run("get", "deploy", "-o", "custom-columns=R:.spec.replicas")).out
    assert "web" in (await run("get", "all")).out
    assert "web" in (await run("get", "deploy", "-A", "--sort-by=.metadata.name")).out
    assert "No resources found" in (await run("get", "pods")).err
    assert 'configmaps "nope" not found' in (await run("get", "cm", "nope", code=1)).err
    assert (await run("get", "cm", "--field-selector=metadata.name=conf", "-o", "name")).out == "configmap/conf\n"
    assert "conf" in (await run("get", "cm", "--chunk-size=1")).out


async def test_what_kubectl_did_not_apply_but_is_as_its_file_says_has_no_difference(
    run: kubectl.Kubectl, tmp_path: Path
) -> None:
    """As after `fairlead up`: no annotation of kubectl's is on the objects."""
    path = tmp_path / "manifest.yaml"
    path.write_text(MANIFEST)
    await run("create", "-f", str(path))
    assert (await run("diff", "-f", str(path))).out == ""


async def test_apply_diff_prune(run: kubectl.Kubectl, manifest: Path) -> None:
    assert "unchanged" in (await run("apply", "-f", str(manifest))).out
    manifest.write_text(MANIFEST.replace("replicas: 2", "replicas: 3"))
    diff = await run("diff", "-f", str(manifest), code=1)
    assert "-  replicas: 2" in diff.out and "+  replicas: 3" in diff.out
    assert "configured (server dry run)" in (await run("apply", "--dry-run=server", "-f", str(manifest))).out
    assert (await run("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}")).out == "2"
    assert "configured" in (await run("apply", "-f", str(manifest))).out
    manifest.write_text(MANIFEST.split("---")[0])
    pruned = await run("apply", "--prune", "-l", "group=g", "-f", str(manifest))
    assert "configmap/conf pruned" in pruned.out
    assert '"replicas": 2' in (await run("apply", "view-last-applied", "deploy/web", "-o", "json")).out


async def test_validation_is_the_servers(run: kubectl.Kubectl, manifest: Path) -> None:
    manifest.write_text(MANIFEST.replace("replicas: 2", "replicas: 2\n  foo: bar"))
    refused = await run("apply", "-f", str(manifest), code=1)
    assert 'strict decoding error: unknown field "spec.foo"' in refused.err
    manifest.write_text(MANIFEST.replace("replicas: 2", "replicas: -1"))
    refused = await run("apply", "-f", str(manifest), code=1)
    assert "spec.replicas: Invalid value: -1: must be greater than or equal to 0" in refused.err
    manifest.write_text(MANIFEST.replace("replicas: 2", "replicas: 2\n  foo: bar"))
    warned = await run("apply", "--validate=warn", "-f", str(manifest))
    assert 'Warning: unknown field "spec.foo"' in warned.err
    manifest.write_text(MANIFEST.replace("Deployment", "Deploiment"))
    assert 'no matches for kind "Deploiment"' in (await run("apply", "-f", str(manifest), code=1)).err


async def test_changes(run: kubectl.Kubectl, manifest: Path) -> None:
    await run("label", "deploy", "web", "x=y")
    await run("annotate", "deploy", "web", "note=text")
    await run("set", "image", "deploy/web", "nginx=nginx:2")
    await run("set", "env", "deploy/web", "A=b")
    await run("set", "resources", "deploy/web", "--limits=cpu=200m")
    await run("set", "serviceaccount", "deploy/web", "default")
    await run("scale", "deploy/web", "--replicas=5")
    await run(
        "patch", "deploy", "web", "-p", '{"spec":{"template":{"spec":{"containers":[{"name":"nginx","tty":true}]}}}}'
    )
    await run("patch", "deploy", "web", "--type=merge", "-p", '{"spec":{"minReadySeconds":3}}')
    await run(
        "patch", "deploy", "web", "--type=json", "-p", '[{"op":"replace","path":"/spec/paused","value":true}]', code=1
    )
    await run("patch", "deploy", "web", "--type=json", "-p", '[{"op":"add","path":"/spec/paused","value":true}]')
    await run("patch", "deploy", "web", "--subresource=status", "--type=merge", "-p", '{"status":{"replicas":9}}')
    made = json.loads((await run("get", "deploy", "web", "-o", "json")).out)
    container = made["spec"]["template"]["spec"]["containers"][0]
    assert made["metadata"]["labels"]["x"] == "y" and made["metadata"]["annotations"]["note"] == "text"
    assert container["image"] == "nginx:2" and container["env"] == [{"name": "A", "value": "b"}] and container["tty"]
    assert container["resources"]["limits"] == {"cpu": "200m"} and made["spec"]["replicas"] == 5
    assert made["spec"]["minReadySeconds"] == 3 and made["spec"]["paused"] and made["status"]["replicas"] == 9
    await run("replace", "-f", "-", stdin=json.dumps({**made, "spec": {**made["spec"], "replicas": 1}}))
    assert "object has been modified" in (await run("replace", "-f", "-", stdin=json.dumps(made), code=1)).err


async def test_edit(run: kubectl.Kubectl, manifest: Path, kubectl_environment: dict[str, str]) -> None:
    editor = manifest.parent / "editor"
    editor.write_text('#!/bin/sh\nsed -i \'s/a: "1"/a: edited/\' "$1"\n')
    editor.chmod(0o700)
    editing = kubectl.Kubectl({**kubectl_environment, "KUBE_EDITOR": str(editor)})
    assert "edited" in (await editing("edit", "cm", "conf")).out
    assert (await run("get", "cm", "conf", "-o", "jsonpath={.data.a}")).out == "edited"


async def test_expose_autoscale_rollout(run: kubectl.Kubectl, manifest: Path) -> None:
    await run("expose", "deploy", "web", "--port=80", "--type=NodePort")
    await run("autoscale", "deploy", "web", "--min=1", "--max=3", "--cpu-percent=50")
    assert "cpu: <unknown>/50%" in (await run("get", "hpa")).out
    assert (
        "averageUtilization: 50"
        in (await run("get", "horizontalpodautoscalers.v2.autoscaling", "web", "-o", "yaml")).out
    )
    assert (
        "targetCPUUtilizationPercentage: 50"
        in (await run("get", "horizontalpodautoscalers.v1.autoscaling", "web", "-o", "yaml")).out
    )
    await run("rollout", "pause", "deploy/web")
    await run("rollout", "resume", "deploy/web")
    await run("rollout", "restart", "deploy/web")
    assert "deployment.apps/web" in (await run("rollout", "history", "deploy/web")).out
    waiting = await run("rollout", "status", "deploy/web", "--timeout=1s", code=1)
    assert "Waiting for deployment" in waiting.out


async def test_wait_and_watch(run: kubectl.Kubectl, client: rest.RestClient) -> None:
    await run("run", "p", "--image=nginx")
    watching = await run.start("get", "pods", "-w")
    assert watching.stdout is not None
    waiting = asyncio.ensure_future(run("wait", "pod/p", "--for=condition=Ready", "--timeout=20s"))
    assert b"NAME" in await watching.stdout.readline()
    assert b"Pending" in await watching.stdout.readline()
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    await client.patch(kinds.POD, "p", {"status": ready}, namespace="default", subresource="status")
    assert "condition met" in (await waiting).out
    assert b"Running" in await asyncio.wait_for(watching.stdout.readline(), 10)
    watching.terminate()
    await watching.communicate()


async def test_delete(run: kubectl.Kubectl, manifest: Path) -> None:
    await run("delete", "cm", "conf")
    for number in range(3):
        await run("create", "cm", f"x{number}")
    await run("label", "cm", "x0", "x1", "kill=me")
    assert (await run("delete", "cm", "-l", "kill=me")).out.count("deleted") == 2
    await run("delete", "-f", str(manifest), "--ignore-not-found")
    await run("run", "p", "--image=nginx")
    await run("delete", "pod", "p", "--wait=false")
    assert "Terminating" in (await run("get", "pods")).out
    await run("delete", "pod", "p", "--force", "--grace-period=0")
    assert "No resources" in (await run("get", "pods")).err
    assert "not be deleted" in (await run("delete", "ns", "default", code=1)).err
    await run("delete", "cm", "--all")


async def test_describe_and_events(run: kubectl.Kubectl, manifest: Path, client: rest.RestClient) -> None:
    uid = (await client.get(kinds.DEPLOYMENT, "web", namespace="default"))["metadata"]["uid"]
    event = {
        "metadata": {"name": "web.1"},
        "involvedObject": {
            "kind": "Deployment",
            "name": "web",
            "namespace": "default",
            "uid": uid,
            "apiVersion": "apps/v1",
        },
        "reason": "Tested",
        "message": "it happened",
        "type": "Normal",
        "count": 2,
    }
    await client.create(kinds.EVENT, event, namespace="default")
    described = (await run("describe", "deploy", "web")).out
    assert "2 desired | 0 updated" in described and "Tested" in described and "it happened" in described
    assert "it happened" in (await run("get", "events")).out
    assert "it happened" in (await run("events", "--for", "deployment/web")).out
    assert "Name:" in (await run("describe", "cm", "conf")).out
    assert "kube-system" in (await run("describe", "ns")).out


async def test_discovery_and_explain(run: kubectl.Kubectl) -> None:
    resources = (await run("api-resources")).out
    assert "horizontalpodautoscalers" in resources and "bindings" not in resources.split("\n")[0]
    assert "apps/v1" in (await run("api-versions")).out
    assert "<[]Container>" in (await run("explain", "pod.spec")).out
    assert "maxSurge" in (await run("explain", "deployment.spec.strategy.rollingUpdate")).out
    assert "replicas" in (await run("explain", "deployment", "--recursive")).out
    assert "Server Version: v1." in (await run("version", code=None)).out
    assert "running at https://127.0.0.1" in (await run("cluster-info")).out
    assert "ok" in (await run("get", "--raw", "/livez")).out


async def test_auth(run: kubectl.Kubectl) -> None:
    assert (await run("auth", "can-i", "create", "deployments")).out == "yes\n"
    assert (await run("auth", "can-i", "get", "pods", "--as=jane", code=1)).out == "no\n"
    assert "kubernetes-admin" in (await run("auth", "whoami")).out
    assert "selfsubjectreviews" in (await run("auth", "can-i", "--list", "--as=jane")).out
    refused = await run("get", "pods", "--as=jane", code=1)
    assert (
        'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default"'
        in refused.err
    )


async def test_nodes(run: kubectl.Kubectl, client: rest.RestClient) -> None:
    await client.create(kinds.NODE, {"metadata": {"name": "node-1"}})
    await run("cordon", "node-1")
    assert "SchedulingDisabled" in (await run("get", "nodes")).out
    await run("uncordon", "node-1")
    await run("taint", "nodes", "node-1", "a=b:NoSchedule")
    await run("run", "p", "--image=nginx")
    assert "<none>" in (await run("get", "pods", "-o", "custom-columns=N:.spec.nodeName")).out
    await run("taint", "nodes", "node-1", "a-")
    await run("wait", "pod/p", "--for=jsonpath={.spec.nodeName}=node-1", "--timeout=10s")
    drained = await run("drain", "node-1", "--force", "--timeout=1s", code=1)
    assert "evicting pod default/p" in drained.text


async def test_what_is_not_offered_says_so(run: kubectl.Kubectl) -> None:
    await run("run", "p", "--image=nginx")
    assert "Metrics API not available" in (await run("top", "pods", code=1)).err
    refused = await run("debug", "p", "--image=busybox", code=1)
    assert "ephemeral containers are not offered by fairlead" in refused.err
    resize = ("patch", "pod", "p", "--subresource=resize", "-p", '{"spec":{"containers":[]}}')
    assert "pods are not resized in place by fairlead" in (await run(*resize, code=1)).err
    policy = (
        '{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"n"},"spec":{"podSelector":{}}}'
    )
    assert "not enforced" in (await run("apply", "-f", "-", stdin=policy)).err


async def test_fields_that_are_not_acted_upon_are_named_in_a_warning(run: kubectl.Kubectl, manifest: Path) -> None:
    manifest.write_text(MANIFEST.replace("spec: {containers", "spec: {runtimeClassName: gvisor, containers"))
    warned = await run("apply", "-f", str(manifest))
    text = "Warning: spec.template.spec.runtimeClassName: is kept but not acted upon by fairlead"
    assert text in warned.err
    assert text not in (await run("scale", "deploy/web", "--replicas=1")).err
    assert "v1 Endpoints is deprecated" in (await run("create", "-f", "-", stdin=json.dumps(ENDPOINTS))).err


ENDPOINTS = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "e"}}
REFUSED = {
    "ValidatingWebhookConfiguration": ("admissionregistration.k8s.io/v1", "admission webhooks are not offered"),
    "MutatingWebhookConfiguration": ("admissionregistration.k8s.io/v1", "admission webhooks are not offered"),
    "ValidatingAdmissionPolicy": ("admissionregistration.k8s.io/v1", "admission policies are not offered"),
    "APIService": ("apiregistration.k8s.io/v1", "aggregated API servers are not offered"),
    "CertificateSigningRequest": ("certificates.k8s.io/v1", "signs no certificates"),
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_kinds_that_are_not_offered_say_why(run: kubectl.Kubectl, kind: str) -> None:
    api_version, reason = REFUSED[kind]
    manifest = json.dumps({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}})
    for words in (("apply", "-f", "-"), ("create", "-f", "-"), ("apply", "--server-side", "-f", "-")):
        refused = await run(*words, stdin=manifest, code=1)
        assert reason in refused.err and "fairlead" in refused.err
    assert "No resources found" in (await run("get", kind)).err
    assert "not found" in (await run("get", kind, "x", code=1)).err


async def test_an_old_kubectls_exec_is_refused_with_what_to_do(
    run: kubectl.Kubectl, kubectl_environment: dict[str, str], client: rest.RestClient, door: pod_door.FakePodDoor
) -> None:
    await run("run", "p", "--image=nginx")
    ready = {"phase": "Running", "containerStatuses": [{"name": "p", "state": {"running": {}}}]}
    await client.patch(kinds.POD, "p", {"status": ready}, namespace="default", subresource="status")
    old = kubectl.Kubectl({**kubectl_environment, "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false"})
    refused = await old("exec", "p", "--", "true", code=1)
    assert "only WebSocket upgrades are served, not SPDY; use kubectl 1.30 or newer" in refused.err, refused.err


async def test_custom_objects_are_applied_again_without_a_word(run: kubectl.Kubectl, tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    spec = {
        "group": "a.example",
        "scope": "Namespaced",
        "names": {"plural": "toys", "kind": "Toy"},
        "versions": [version],
    }
    crd = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": spec}
    await run("create", "-f", "-", stdin=json.dumps({**crd, "metadata": {"name": "toys.a.example"}}))
    toy = {"apiVersion": "a.example/v1", "kind": "Toy", "metadata": {"name": "t"}, "spec": {"a": "1"}}
    assert "created" in (await run("apply", "-f", "-", stdin=json.dumps(toy))).out
    again = await run("apply", "-f", "-", stdin=json.dumps({**toy, "spec": {"a": "2"}}))
    assert "configured" in again.out and not again.err
    assert "metadata" in (await run("explain", "toys")).out
    unknown = await run("apply", "-f", "-", stdin=json.dumps({**toy, "spec": {"b": "2"}}), code=1)
    assert 'strict decoding error: unknown field "spec.b"' in unknown.err and "unable to find" not in unknown.err
