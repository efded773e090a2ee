"""Which passwords of a pod's imagePullSecrets an image's pull is tried with, and how an engine hears of them."""

import asyncio
import base64
import json
import shutil
import tempfile
from pathlib import Path

import house as houses
import pytest
from house import state

from fairlead.api import kinds
from fairlead.base import clock, secret
from fairlead.node import containers, docker, podman, processes, pull_secrets, runtime


def made(auths, kind="kubernetes.io/dockerconfigjson"):
    content = {"auths": auths} if kind.endswith("json") else auths
    file = ".dockerconfigjson" if kind.endswith("json") else ".dockercfg"
    return {"type": kind, "data": {file: base64.b64encode(json.dumps(content).encode()).decode()}}


def login(name):
    return {"username": name, "password": f"of {name}"}


def users(image, *secrets):
    found = pull_secrets.headers(image, secrets)
    return [json.loads(base64.urlsafe_b64decode(one.reveal())).get("username") for one in found]


@pytest.mark.parametrize(
    ("entry", "image", "matches"),
    [
        ("example.com", "example.com/app:1", True),
        ("https://example.com", "example.com/team/app@sha256:00", True),
        ("https://example.com/v2/", "example.com/app", True),
        ("example.com", "example.com:5000/app", False),
        ("example.com:5000", "example.com:5000/app", True),
        ("example.com/team", "example.com/team/app", True),
        ("example.com/team", "example.com/other/app", False),
        ("*.example.com", "eu.example.com/app", True),
        ("*.example.com", "a.eu.example.com/app", False),
        ("*.example.com", "example.com/app", False),
        ("https://index.docker.io/v1/", "nginx:1", True),
        ("docker.io", "docker.io/library/nginx", True),
        ("docker.io/me", "me/app", True),
        ("docker.io/me", "nginx", False),
        ("localhost", "localhost/app", True),
        ("example.com", "nginx", False),
    ],
)
def test_an_entry_is_for_images_of_its_host_port_and_path(entry, image, matches):
    assert users(image, made({entry: login("me")})) == (["me"] if matches else [])


def test_the_closest_is_tried_first_and_each_once():
    secrets = [
        made({"example.com": login("all"), "example.com/team": login("team")}),
        made({"example.com": login("all")}),
    ]
    assert users("example.com/team/app", *secrets) == ["team", "all"]


def test_both_forms_of_a_secret_and_of_a_password_count():
    coded = {"auth": base64.b64encode(b"me:a:b").decode()}
    (found,) = pull_secrets.headers("example.com/app", [made({"example.com": coded}, "kubernetes.io/dockercfg")])
    said = json.loads(base64.urlsafe_b64decode(found.reveal()))
    assert said == {"username": "me", "password": "a:b", "serveraddress": "example.com"}
    (token,) = pull_secrets.headers("example.com/app", [made({"example.com": {"identitytoken": "t"}})])
    assert json.loads(base64.urlsafe_b64decode(token.reveal()))["identitytoken"] == "t"
    assert "of me" not in repr(pull_secrets.headers("example.com/app", [made({"example.com": login("me")})]))


@pytest.mark.parametrize(
    "data",
    [None, {}, {".dockerconfigjson": "!"}, {".dockerconfigjson": "e30="}, {".dockerconfigjson": "W10="},
     {".dockerconfigjson": base64.b64encode(b'{"auths":{"example.com":{"auth":"!"}}}').decode()},
     {".dockerconfigjson": base64.b64encode(b'{"auths":{"example.com":3}}').decode()}],
)  # fmt: skip
def test_a_damaged_secret_has_no_entries(data):
    assert pull_secrets.headers("example.com/app", [{"type": "kubernetes.io/dockerconfigjson", "data": data}]) == ()
    assert pull_secrets.headers("example.com/app", [{"type": "Opaque", "data": data}]) == ()


class Registry:
    """An engine whose registry takes one password."""

    def __init__(self, taken):
        self.taken, self.asked = taken, []

    async def serve(self, reader, writer):
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        given = [line.partition(": ")[2] for line in lines if line.startswith(pull_secrets.HEADER)]
        status, body = 404, {"message": "no such image"}
        if lines[0].startswith("GET /version"):
            status, body = 200, {"ApiVersion": "1.41", "MinAPIVersion": "1.12"}
        if "/containers/json" in lines[0]:
            status, body = 200, []
        if lines[0].startswith("POST"):
            self.asked += given or [""]
            status, body = (200, {"id": "1"}) if given == [self.taken] else (500, {"message": "unauthorized"})
        content = json.dumps(body).encode()
        writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
        await writer.drain()
        writer.close()


@pytest.mark.parametrize("kind", [podman.Podman, docker.Docker])
async def test_each_is_tried_until_one_is_taken(tmp_path, kind):
    registry, path = Registry("two"), str(tmp_path / "engine.sock")
    engine = kind(path, podman.EngineSettings({}))
    secrets = [secret.Secret(word) for word in ("one", "two", "three")]
    async with await asyncio.start_unix_server(registry.serve, path):
        await engine.ensure_image("example.com/app", "IfNotPresent", secrets)
        assert registry.asked == ["one", "two"]
        with pytest.raises(runtime.StartFailed, match="unauthorized"):
            await engine.ensure_image("example.com/app", "Always")
        with pytest.raises(runtime.StartFailed, match="unauthorized"):
            await engine.ensure_image("example.com/app", "IfNotPresent", secrets[:1])
    assert registry.asked == ["one", "two", "", "one"]


async def test_a_pods_own_are_used_and_one_that_is_missing_is_told():
    folder = Path(tempfile.mkdtemp(prefix="fl-node-"))
    made_house, registry = houses.House(folder), Registry("another")
    inner = processes.ProcessRuntime(processes.ProcessSettings(folder / "pods", houses.engine()))
    engine = podman.Podman(str(folder / "engine.sock"), podman.EngineSettings({}))
    made_house.containers = containers.ContainerRuntime(engine, inner, timer=clock.SystemClock())
    async with await asyncio.start_unix_server(registry.serve, engine.path):
        await made_house.start()
        try:
            kept = {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "mine"},
                **made({"example.com": login("me")}),
            }
            await made_house.client.create(kinds.SECRET, kept, namespace="default")
            spec = {"containers": [{"name": "app", "image": "example.com/app:1"}]}
            await made_house.create("web", {**spec, "imagePullSecrets": [{"name": "mine"}, {"name": "gone"}]})
            pod = await made_house.until(
                "web", lambda pod: state(pod).get("state", {}).get("waiting", {}).get("message")
            )
            assert "unauthorized" in state(pod)["state"]["waiting"]["message"]
            assert json.loads(base64.urlsafe_b64decode(registry.asked[0]))["username"] == "me"
            told = dict(await made_house.events("web"))
            assert "(gone)" in told["FailedToRetrieveImagePullSecret"]
            assert "of me" not in str(told)
        finally:
            await made_house.stop()
    shutil.rmtree(folder, ignore_errors=True)
