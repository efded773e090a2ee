"""TokenRequests: what a token says, for whom it is good, what it is bound to, and what is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from fairlead.api import kinds
from fairlead.apiserver import authentication, server
from fairlead.client import errors, rest

Object = dict[str, Any]
ROBOT = "system:serviceaccount:default:robot"


@pytest.fixture
async def robot(client: rest.RestClient) -> Object:
    await client.create(kinds.NODE, {"metadata": {"name": "node-1"}})
    return await client.create(kinds.SERVICE_ACCOUNT, {"metadata": {"name": "robot"}}, namespace="default")


async def _pod(client: rest.RestClient, account: str = "robot", name: str = "p") -> Object:
    spec = {"serviceAccountName": account, "containers": [{"name": "a", "image": "a"}]}
    return await client.create(kinds.POD, {"metadata": {"name": name}, "spec": spec}, namespace="default")


async def _request(client: rest.RestClient, **spec: Any) -> Object:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {"name": "robot"}}
    return await client.create(kinds.SERVICE_ACCOUNT, {**body, "spec": spec}, namespace="default", subresource="token")


def _claims(token: str) -> Object:
    found: Object = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return found


async def _review(api: server.ApiServer, token: str, *audiences: str) -> Object:
    body = {"spec": {"token": token, "audiences": list(audiences)}}
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    request = rest.exchange.Request("POST", path, (), {}, json.dumps(body).encode(), server.ADMIN)
    found: Object = json.loads((await api.exchange(request)).body)["status"]
    return found


async def test_a_token_bound_to_a_pod_names_it_and_its_node_and_goes_with_it(
    api: server.ApiServer, client: rest.RestClient, robot: Object
) -> None:
    pod = await _pod(client)
    made = await _request(client, boundObjectRef={"kind": "Pod", "apiVersion": "v1", "name": "p"})
    token = made["status"]["token"]
    claims = _claims(token)
    about = claims["kubernetes.io"]
    assert claims["sub"] == ROBOT and claims["aud"] == [claims["iss"]] and claims["exp"] - claims["iat"] == 3600
    assert about["pod"] == {"name": "p", "uid": pod["metadata"]["uid"]} and about["node"]["name"] == "node-1"
    assert about["serviceaccount"]["uid"] == robot["metadata"]["uid"]
    user = (await _review(api, token))["user"]
    assert user["username"] == ROBOT and user["uid"] == robot["metadata"]["uid"]
    assert user["extra"]["authentication.kubernetes.io/pod-name"] == ["p"]
    assert user["extra"]["authentication.kubernetes.io/node-name"] == ["node-1"]
    assert user["extra"]["authentication.kubernetes.io/credential-id"] == [f"JTI={claims['jti']}"]
    await client.delete(kinds.POD, "p", namespace="default", grace_seconds=0)
    await _pod(client)  # another one of that name
    assert (await _review(api, token))["authenticated"] is False


async def test_a_token_outlives_the_mark_of_its_pods_deletion_by_a_minute(
    api: server.ApiServer, client: rest.RestClient, robot: Object
) -> None:
    await _pod(client)
    token = (await _request(client, boundObjectRef={"kind": "Pod", "name": "p"}))["status"]["token"]
    await client.delete(kinds.POD, "p", namespace="default", grace_seconds=30)
    assert (await _review(api, token))["authenticated"] is True


async def test_tokens_bound_to_secrets_and_nodes_go_with_them(
    api: server.ApiServer, client: rest.RestClient, robot: Object
) -> None:
    await client.create(kinds.SECRET, {"metadata": {"name": "s"}}, namespace="default")
    for kind, name, namespace in ((kinds.SECRET, "s", "default"), (kinds.NODE, "node-1", "")):
        token = (await _request(client, boundObjectRef={"kind": kind.kind, "name": name}))["status"]["token"]
        assert _claims(token)["kubernetes.io"][kind.kind.lower()]["name"] == name
        assert (await _review(api, token))["authenticated"] is True
        await client.delete(kind, name, namespace=namespace)
        assert (await _review(api, token))["authenticated"] is False


async def test_a_token_is_good_for_its_audiences_only(
    api: server.ApiServer, client: rest.RestClient, robot: Object
) -> None:
    vault = (await _request(client, audiences=["vault", "other"]))["status"]["token"]
    assert (await _review(api, vault))["authenticated"] is False, "not for the API server"
    assert (await _review(api, vault, "vault", "elsewhere"))["audiences"] == ["vault"]
    own = (await _request(client))["status"]["token"]
    assert (await _review(api, own))["audiences"] == [authentication.AUDIENCE]
    assert (await _review(api, own, "vault"))["authenticated"] is False


@pytest.mark.parametrize(
    ("spec", "code", "words"),
    [
        ({"expirationSeconds": 10}, 422, "spec.expirationSeconds: Invalid value: 10: may not specify a duration less"),
        ({"expirationSeconds": 2**40}, 422, "may not specify a duration larger than 2^32 seconds"),
        ({"expirationSeconds": "long"}, 400, "TokenRequestSpec.spec.expirationSeconds of type int64"),
        ({"audiences": "x"}, 400, "audiences"),
        ({"boundObjectRef": "x"}, 400, "boundObjectRef"),
        ({"boundObjectRef": {"kind": "ConfigMap", "name": "x"}}, 400, "cannot bind token to object of type v1"),
        ({"boundObjectRef": {"kind": "Pod", "name": "none"}}, 404, 'pods "none" not found'),
        ({"boundObjectRef": {"kind": "Pod", "name": "q"}}, 400, "running with different serviceaccount name"),
        ({"boundObjectRef": {"kind": "Pod", "name": "p", "uid": "x"}}, 409, "does not match the UID in record"),
    ],
)
async def test_what_is_refused(client: rest.RestClient, robot: Object, spec: Object, code: int, words: str) -> None:
    await _pod(client)
    await _pod(client, account="default", name="q")
    with pytest.raises(errors.ApiError) as caught:
        await _request(client, **spec)
    assert caught.value.code == code and words in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    "body", [{"metadata": []}, {"spec": []}, {"spec": {"token": 1}}, {"spec": {"audiences": 1}}, []]
)
@pytest.mark.parametrize(
    "path",
    [
        "/apis/authentication.k8s.io/v1/tokenreviews",
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
    ],
)
async def test_reviews_of_the_wrong_shape_are_refused(api: server.ApiServer, path: str, body: Any) -> None:
    request = rest.exchange.Request("POST", path, (), {}, json.dumps(body).encode(), server.ADMIN)
    assert (await api.exchange(request)).status in (201, 400, 422)
