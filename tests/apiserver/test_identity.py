"""Who may do what: tokens, certificates, impersonation, a matrix of subjects, and no granting of what one has not."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fairlead.api import kinds
from fairlead.apiserver import authentication, certificates, rbac, server
from fairlead.client import errors, exchange, inprocess, rest

VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
RESOURCES = (
    *((kind.group, kind.plural) for kind in kinds.KINDS if kind is not kinds.HPA_V1),
    ("", "pods/exec"),
    ("", "pods/log"),
    ("", "nodes/proxy"),
    ("apps", "deployments/scale"),
    ("", "serviceaccounts/token"),
)
READ = {"get", "list", "watch"}
# what `view` reads in a namespace
PLAIN = {
    *("configmaps", "endpoints", "persistentvolumeclaims", "pods", "services", "serviceaccounts", "bindings", "events"),
    *("limitranges", "namespaces", "pods/log", "resourcequotas", "controllerrevisions", "daemonsets", "deployments"),
    *("deployments/scale", "replicasets", "statefulsets", "horizontalpodautoscalers", "cronjobs", "jobs", "ingresses"),
    *("networkpolicies", "poddisruptionbudgets", "endpointslices", "backendpolicies"),
}


def viewer(verb: str, group: str, resource: str) -> bool:
    return verb in READ and resource in PLAIN and group not in ("rbac.authorization.k8s.io", "events.k8s.io")


def node(verb: str, group: str, resource: str) -> bool:
    if group == "" and resource in ("nodes", "pods"):
        return verb in READ | {"create", "patch", "update"} or (verb == "delete" and resource == "pods")
    if group == "" and resource == "persistentvolumes":
        return verb in READ | {"create", "patch", "update"}
    if group == "" and resource in (
        "services", "configmaps", "secrets", "persistentvolumeclaims", "serviceaccounts", "namespaces", "endpoints",
    ):  # fmt: skip
        return verb in READ
    if resource == "serviceaccounts/token":
        return verb == "create"
    if resource == "events":
        return verb in ("create", "patch", "update")
    if resource == "leases":
        return verb in READ | {"create", "update", "patch", "delete"}
    return verb in READ and resource in ("ingresses", "endpointslices")


SUBJECTS: dict[str, tuple[exchange.Identity, Any]] = {
    "anonymous": (authentication.ANONYMOUS, lambda *_: False),
    "somebody": (exchange.Identity("jane", ("system:authenticated",)), lambda *_: False),
    "account": (inprocess.service_account("default", namespace="default"), lambda *_: False),
    "admin": (server.ADMIN, lambda *_: True),
    "node": (exchange.Identity("system:node:n", ("system:nodes", "system:authenticated")), node),
    "viewer": (exchange.Identity("view", ("viewers", "system:authenticated")), viewer),
}


@pytest.mark.parametrize("subject", SUBJECTS)
async def test_matrix(api: server.ApiServer, client: rest.RestClient, subject: str) -> None:
    binding = {
        "metadata": {"name": "viewers"},
        "roleRef": {"kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "Group", "name": "viewers"}],
    }
    await client.create(kinds.ROLE_BINDING, binding, namespace="default")
    identity, expected = SUBJECTS[subject]
    wrong = []
    for group, resource in RESOURCES:
        plain, _, subresource = resource.partition("/")
        for verb in VERBS:
            asked = rbac.Attributes(verb, group, plain, subresource, "default", "x")
            if api.chain.authorizer.allowed(identity, asked) is not expected(verb, group, resource):
                wrong.append((verb, group, resource))
    assert not wrong
    elsewhere = rbac.Attributes("get", "", "configmaps", "", "kube-system", "x")
    assert api.chain.authorizer.allowed(identity, elsewhere) is (subject in ("admin", "node"))


async def ask(api: server.ApiServer, path: str, token: str = "", **more: Any) -> tuple[int, dict[str, Any] | str]:
    context = ssl.create_default_context(cadata=api.ca_pem.decode())
    if "certificate" in more:
        context.load_cert_chain(*more.pop("certificate"))
    headers = {"authorization": f"Bearer {token}"} if token else {}
    headers |= more.pop("headers", {})
    async with aiohttp.ClientSession() as session, session.get(api.url + path, ssl=context, headers=headers) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if text.startswith("{") else text


async def test_doors_without_identity(api: server.ApiServer) -> None:
    for path in ("/livez", "/readyz", "/version"):
        assert (await ask(api, path))[0] == 200
    for path in ("/api", "/apis", "/api/v1/pods", "/openapi/v3", "/metrics"):
        status, body = await ask(api, path)
        assert status == 403 and isinstance(body, dict) and 'User "system:anonymous"' in body["message"], path
    assert (await ask(api, "/version", "wrong"))[0] == 401


async def test_foreign_hosts_and_origins_are_refused(api: server.ApiServer) -> None:
    token = api.token.reveal()
    assert (await ask(api, "/api", token, headers={"host": "evil.example:443"}))[0] == 403
    assert (await ask(api, "/api", token, headers={"origin": "https://evil.example"}))[0] == 403
    assert (await ask(api, "/api", token, headers={"host": "localhost"}))[0] == 200


async def test_client_certificates(api: server.ApiServer, tmp_path: Path) -> None:
    pki = tmp_path / "pki"
    certificate, key = certificates.make_client(pki, "jane", groups=["system:masters"], now=api.chain.clock.now())
    (tmp_path / "c.pem").write_bytes(certificate)
    (tmp_path / "k.pem").write_bytes(key)
    pair = (str(tmp_path / "c.pem"), str(tmp_path / "k.pem"))
    assert (await ask(api, "/api/v1/namespaces", certificate=pair))[0] == 200


async def test_account_tokens(api: server.ApiServer, client: rest.RestClient) -> None:
    await client.create(kinds.SERVICE_ACCOUNT, {"metadata": {"name": "robot"}}, namespace="default")
    body = json.dumps({"spec": {"expirationSeconds": 700}}).encode()
    path = kinds.SERVICE_ACCOUNT.path("default", "robot", "token")
    made = await api.exchange(exchange.Request("POST", path, (), {}, body, server.ADMIN))
    token = json.loads(made.body)["status"]["token"]
    status, answer = await ask(api, "/api/v1/namespaces/default/pods", token)
    assert status == 403 and "system:serviceaccount:default:robot" in str(answer)
    head, claims, signature = token.split(".")
    assert (await ask(api, "/api", f"{head}.{claims}.{signature[:-4]}AAAA"))[0] == 401
    await client.delete(kinds.SERVICE_ACCOUNT, "robot", namespace="default")
    assert (await ask(api, "/api", token))[0] == 401, "a token goes with its account"


async def test_nobody_hands_on_what_they_have_not(api: server.ApiServer, client: rest.RestClient) -> None:
    rules = [
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
    ]
    await client.create(kinds.ROLE, {"metadata": {"name": "granter"}, "rules": rules}, namespace="default")
    binding = {"metadata": {"name": "b"}, "roleRef": {"kind": "Role", "name": "granter"}}
    binding["subjects"] = [{"kind": "User", "name": "jane"}]
    await client.create(kinds.ROLE_BINDING, binding, namespace="default")
    jane = inprocess.client(api.exchange, exchange.Identity("jane", ("system:authenticated",)))
    rules[0]["verbs"] = ["get"]
    await jane.create(kinds.ROLE, {"metadata": {"name": "same"}, "rules": [rules[1]]}, namespace="default")
    more = {"apiGroups": [""], "resources": ["pods"], "verbs": ["delete"]}
    # jane may do everything with roles, `escalate` included by *: take that away first
    await client.patch(
        kinds.ROLE,
        "granter",
        {"rules": [{**rules[0], "verbs": ["create", "get", "update"]}, rules[1]]},
        namespace="default",
    )
    with pytest.raises(errors.ApiError, match="not currently held"):
        await jane.create(kinds.ROLE, {"metadata": {"name": "more"}, "rules": [more]}, namespace="default")
    admin = {
        "metadata": {"name": "c"},
        "roleRef": {"kind": "ClusterRole", "name": "admin"},
        "subjects": binding["subjects"],
    }
    with pytest.raises(errors.ApiError, match="not currently held"):
        await jane.create(kinds.ROLE_BINDING, admin, namespace="default")


async def test_impersonation(api: server.ApiServer) -> None:
    async def who(identity: exchange.Identity) -> exchange.Response:
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        headers = {"impersonate-user": "jane", "impersonate-group": "devs"}
        return await api.exchange(exchange.Request("POST", path, (), headers, b"{}", identity))

    answer = await who(server.ADMIN)
    assert json.loads(answer.body)["status"]["userInfo"] == {
        "username": "jane",
        "groups": ["devs", "system:authenticated"],
    }
    assert (await who(exchange.Identity("joe", ("system:authenticated",)))).status == 403
