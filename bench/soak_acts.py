"""What a soak does to a cluster: each act is one thing that people or accidents do, made with kubectl or a signal.

An act returns when it is done, not when its consequences are. Those that may cut what is in flight note the moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import psutil

from bench import cluster, lab
from fairlead.api import kinds
from fairlead.base import x509
from fairlead.client import errors, protocol

Object = dict[str, Any]
TLS_HOST = "app.localhost"
CUT_SECONDS = 0.5


class Acts:
    """The acts on one cluster. `cuts` are the moments at which what was in flight could fail, with why."""

    def __init__(self, lab_: lab.Lab, made: cluster.Cluster, client: protocol.Client, rng: random.Random) -> None:
        self.cuts: list[tuple[float, str]] = []
        self.done: dict[str, int] = {}
        self._lab, self._made, self._client, self._rng = lab_, made, client, rng
        self._turn = 0
        self._extras: list[str] = []

    def excuse(self, at: float) -> str:
        """Why a request may have failed at that moment, "" when it may not."""
        return next((why for moment, why in self.cuts if -0.05 <= at - moment <= CUT_SECONDS), "")

    def weighted(self, *, kill_fairlead: bool) -> list[tuple[Callable[[], Awaitable[None]], int]]:
        """The acts and how often each is chosen."""
        return [
            (self.scale, 6),
            (self.restart, 4),
            (self.set_environment, 2),
            (self.kill_pod, 3),
            (self.delete_pod, 3),
            (self.evict, 3),
            (self.unready, 4),
            (self.make_extra, 6),
            (self.remove_extra, 5),
            (self.change_certificate, 3),
            (self.change_config, 3),
            (self.run_job, 2),
            (self.kill_worker, 2),
            (self.kill_master, 2),
            (self.kill_fairlead, 2 if kill_fairlead else 0),
        ]

    async def one(self, *, kill_fairlead: bool) -> None:
        """A random one of them."""
        acts, weights = zip(*self.weighted(kill_fairlead=kill_fairlead), strict=True)
        act = self._rng.choices(acts, weights)[0]
        self._turn += 1
        self.done[act.__name__] = self.done.get(act.__name__, 0) + 1
        self._lab.progress(f"{self._turn}: {act.__name__}")
        await act()

    async def kubectl(self, *words: str, stdin: str = "", check: bool = True) -> str:
        """Runs kubectl. Raises RuntimeError when it fails."""
        process = await asyncio.create_subprocess_exec(
            "kubectl", f"--kubeconfig={self._made.folder / 'kubeconfig'}", *words, stdin=-1, stdout=-1, stderr=-1
        )
        said, problem = await process.communicate(stdin.encode())
        if check and process.returncode:
            raise RuntimeError(f"kubectl {' '.join(words)}: {problem.decode()}")
        return said.decode()

    async def apply(self, *objects: Object) -> None:
        """`kubectl apply`."""
        await self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    async def scale(self) -> None:
        """Another number of replicas."""
        await self.kubectl("scale", "deployment/app", f"--replicas={self._rng.randint(2, 6)}")

    async def restart(self) -> None:
        """A rollout."""
        await self.kubectl("rollout", "restart", f"deployment/{self._rng.choice(('app', 'moody'))}")

    async def set_environment(self) -> None:
        """A rollout by another way; sometimes undone at once."""
        await self.kubectl("set", "env", "deployment/app", f"TURN={self._turn}")
        if self._rng.random() < 0.3:
            await self.kubectl("rollout", "undo", "deployment/app")

    async def kill_pod(self) -> None:
        """The process of a pod dies by itself, or by the kernel's hand."""
        shims = self._made.processes()["shims"]
        children = [child for shim in shims for child in psutil.Process(shim).children(recursive=True)]
        victims = [one for one in children if not any("shim" in word for word in one.cmdline()[:2])]
        if victims:
            victim = self._rng.choice(sorted(victims, key=lambda one: one.pid))
            self.cuts.append((time.time(), "kill of a pod"))
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()

    async def _a_pod(self, app: str) -> Object | None:
        pods = (await self._client.list(kinds.POD, namespace="default", label_selector=f"app={app}")).items
        stay = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"] and pod["status"].get("podIP")]
        return self._rng.choice(stay) if len(stay) > 1 else None

    async def delete_pod(self) -> None:
        """`kubectl delete pod`."""
        if pod := await self._a_pod("app"):
            await self.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false")

    async def evict(self) -> None:
        """The Eviction API, against a PodDisruptionBudget that may say no."""
        if pod := await self._a_pod(self._rng.choice(("app", "moody"))):
            name = pod["metadata"]["name"]
            metadata = {"name": name, "namespace": "default"}
            body = json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata})
            where = f"/api/v1/namespaces/default/pods/{name}/eviction"
            await self.kubectl("create", "--raw", where, "-f", "-", stdin=body, check=False)

    async def unready(self) -> None:
        """A pod says that it is not ready, for four seconds."""
        if pod := await self._a_pod("moody"):
            with contextlib.suppress(OSError):
                await _get(pod["status"]["podIP"], "/unready")
                await asyncio.sleep(4.0)
                await _get(pod["status"]["podIP"], "/ready")

    async def make_extra(self) -> None:
        """A Service and an Ingress more, now and then a namespace with a Deployment."""
        name = f"extra-{self._turn}"
        ports = [{"port": 80, "targetPort": 8080}]
        kind = self._rng.choice(("ClusterIP", "NodePort", "headless"))
        spec: Object = {"selector": {"app": "app"}, "ports": ports}
        if kind == "headless":
            spec["clusterIP"] = "None"
        elif kind == "NodePort":
            spec["type"] = kind
        if self._rng.random() < 0.3:
            spec["sessionAffinity"] = "ClientIP"
        await self.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec},
            _ingress(name),
            _small(name),
        )
        self._extras.append(name)

    async def remove_extra(self) -> None:
        """The oldest of them goes."""
        if self._extras:
            name = self._extras.pop(0)
            await self.kubectl("delete", f"service/{name}", f"ingress/{name}", "-n", "default", "--wait=false")
            await self.kubectl("delete", f"namespace/{name}", "--wait=false")

    async def change_certificate(self) -> None:
        """Another certificate for the HTTPS host."""
        now = datetime.datetime.now(datetime.UTC)
        chain, key = await asyncio.to_thread(x509.self_signed, (TLS_HOST,), now=now)
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tls", "namespace": "default"}}
        await self.apply({**secret, "type": "kubernetes.io/tls", "stringData": {"tls.crt": chain, "tls.key": key}})

    async def change_config(self) -> None:
        """The ConfigMap that `moody` has as a volume."""
        await self.apply(config(str(self._turn)))

    async def run_job(self) -> None:
        """A Job that ends and goes."""
        await self.apply(_job(f"job-{self._turn}"))

    def _engine(self, word: str) -> int:
        return next(pid for pid in self._made.processes()["engine"] if word in psutil.Process(pid).cmdline()[1:2])

    async def kill_worker(self) -> None:
        """`kill -9` of the engine's worker."""
        self.cuts.append((time.time(), "kill of the engine"))
        with contextlib.suppress(StopIteration, psutil.NoSuchProcess):
            os.kill(self._engine("worker"), signal.SIGKILL)

    async def kill_master(self) -> None:
        """`kill -9` of the engine's master; its worker carries on."""
        with contextlib.suppress(StopIteration, psutil.NoSuchProcess):
            os.kill(self._engine("master"), signal.SIGKILL)

    async def kill_fairlead(self) -> None:
        """`kill -9` of fairlead, and its next start two seconds later."""
        for pid in self._made.processes()["fairlead"]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(2.0)
        await self._made.start()

    async def rest(self) -> None:
        """Brings everything back to what it was at first and waits until it is."""
        while self._extras:
            await self.remove_extra()
        await self.kubectl("scale", "deployment/app", "--replicas=3")
        for name in ("app", "moody"):
            await self.kubectl("rollout", "status", f"deployment/{name}", "--timeout=90s")
        for _ in range(600):
            if await self._calm():
                return
            await asyncio.sleep(0.2)
        raise RuntimeError("the cluster does not come to rest:\n" + await self.kubectl("get", "pods,ns,jobs", "-A"))

    async def _calm(self) -> bool:
        """Nothing but the three applications at their smallest, all of it ready."""
        with contextlib.suppress(errors.ApiError, OSError):
            pods = (await self._client.list(kinds.POD, namespace="")).items
            spaces = (await self._client.list(kinds.NAMESPACE)).items
            ready = [
                one
                for one in pods
                if any(c["type"] == "Ready" and c["status"] == "True" for c in one["status"].get("conditions", ()))
            ]
            return len(pods) == len(ready) == 6 and not any(
                one["metadata"]["name"].startswith("extra") for one in spaces
            )
        return False


async def _get(address: str, path: str) -> None:
    reader, writer = await asyncio.open_connection(address, 8080)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: moody\r\nConnection: close\r\n\r\n".encode())
        await reader.readline()
    finally:
        writer.close()


def config(text: str) -> Object:
    """The ConfigMap."""
    metadata = {"name": "config", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"text": text}}


def _ingress(name: str) -> Object:
    backend = {"service": {"name": name, "port": {"number": 80}}}
    rule = {"host": f"{name}.localhost", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": {"rules": [rule]}}


def _small(name: str) -> Object:
    """A Deployment of one pod in a namespace of its own."""
    labels = {"app": name}
    container = {"name": "app", "image": "bench-app:1", "ports": [{"containerPort": 8080}]}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    metadata = {"name": name, "namespace": name}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def _job(name: str) -> Object:
    container = {"name": "work", "image": "bench-app:1", "command": ["sh", "-c", "echo done"]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    spec = {"ttlSecondsAfterFinished": 5, "template": template}
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
