"""`fairlead run`: copies of one command behind a Service and an Ingress, with no manifest at all.

    fairlead run --replicas 3 --port 8000 -- uvicorn app:app --host '$(HOST)' --port '$(PORT)'

The command runs in the current folder and must listen where $HOST and $PORT say ($(HOST) and $(PORT) in its arguments
are replaced). `--dry-run -o yaml` prints the equivalent manifests. `--reload` restarts by rolling when files below the
folder change (cli/reloading.py): the new copies serve before an old one stops, so no request fails.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import click

from fairlead.api import manifest
from fairlead.cli import apply, bringup, failure, launch, options, reloading
from fairlead.cluster import state

Object = dict[str, Any]
IMAGE = "localhost/process"


@click.command("run", context_settings={"ignore_unknown_options": True})
@options.name
@options.serving
@options.launching
@click.option("--replicas", default=1, show_default=True, type=click.IntRange(0, 1000), help="How many copies.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535), help="The port it listens on.")
@click.option("--app", default="", help="The name of it all (the command's name).")
@click.option("--host", default="", help="The Ingress' host (APP.localhost).")
@click.option("--env", "environment", multiple=True, metavar="NAME=VALUE", help="A variable of the command; repeat it.")
@click.option("--probe", default="", metavar="/PATH", help="Readiness by HTTP (default: it takes connections).")
@click.option("--cpu", default="100m", show_default=True, help="CPU request of a copy.")
@click.option("--max-replicas", default=0, help="Scale up to so many by CPU (50 %).")
@click.option("--reload", is_flag=True, help="Restart by rolling when files below this folder change.")
@click.option(
    "--reload-exclude",
    multiple=True,
    metavar="GLOB",
    help="Leave such files alone, too (logs, databases, caches and version control are left alone anyway).",
)
@click.option("--dry-run", is_flag=True, help="Only print the manifests.")
@click.option("-o", "output", type=click.Choice(["yaml"]), default="yaml", help="How --dry-run prints them.")
@click.argument("words", nargs=-1, required=True, metavar="-- COMMAND...", type=click.UNPROCESSED)
def command(
    name: str,
    words: tuple[str, ...],
    reload: bool,
    reload_exclude: tuple[str, ...],
    dry_run: bool,
    output: str,
    **how: Any,
) -> None:
    """Run copies of a command behind a balancer: fairlead run --replicas 3 --port 8000 -- COMMAND..."""
    started = time.monotonic()
    wanted = {
        key: how.pop(key) for key in ("replicas", "port", "app", "host", "environment", "probe", "cpu", "max_replicas")
    }
    objects = manifests(words, Path.cwd(), **wanted)
    if dry_run:
        click.echo(manifest.dump(objects), nl=False)
        return
    if reload and how["detach"]:
        raise failure.Failure("--reload watches files from the foreground; leave --detach out")
    try:
        folder = state.StateFolder.of(name)
    except state.StateError as error:
        raise failure.Failure(str(error)) from None
    planned = apply.plan([manifest.Manifest("run", 0, one) for one in objects])
    follow = reloading.follower(objects[0]["metadata"]["name"], Path.cwd(), reload_exclude) if reload else None
    launch.launch(bringup.Plan(folder, planned, {}, Path.cwd(), how.pop("timeout"), started, follow), **how)


def manifests(words: tuple[str, ...], folder: Path, **wanted: Any) -> list[Object]:
    """The Deployment, Service, Ingress and (with max_replicas) autoscaler that a command line means. Raises Failure."""
    name = wanted["app"] or re.sub(r"[^a-z0-9]+", "-", Path(words[0]).name.lower()).strip("-")
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name):
        raise failure.Failure(
            f"--app {name!r}: lower-case letters, digits and '-', beginning and ending with a letter or digit"
        )
    labels = {"app": name}
    probe = {"httpGet": {"path": wanted["probe"], "port": wanted["port"]}} if wanted["probe"] else None
    container: Object = {
        "name": name,
        "image": IMAGE,
        "command": list(words),
        "workingDir": str(folder),
        "env": [_variable(text) for text in wanted["environment"]],
        "ports": [{"name": "http", "containerPort": wanted["port"]}],
        "readinessProbe": {**(probe or {"tcpSocket": {"port": wanted["port"]}}), "periodSeconds": 2},
        "resources": {"requests": {"cpu": wanted["cpu"]}},
    }
    metadata = {"name": name, "labels": labels}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": wanted["replicas"],
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    found = [deployment, _service(metadata, labels), _ingress(metadata, wanted["host"] or f"{name}.localhost")]
    if wanted["max_replicas"]:
        found.append(_autoscaler(metadata, wanted["replicas"], wanted["max_replicas"]))
    return found


def _variable(text: str) -> Object:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise failure.Failure(f"--env {text}: NAME=VALUE is expected")
    return {"name": key, "value": value}


def _service(metadata: Object, labels: Object) -> Object:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"selector": labels, "ports": ports}}


def _ingress(metadata: Object, host: str) -> Object:
    backend = {"service": {"name": metadata["name"], "port": {"name": "http"}}}
    rule = {"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": {"rules": [rule]}}


def _autoscaler(metadata: Object, low: int, high: int) -> Object:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": metadata["name"]}
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
    }
    spec = {"scaleTargetRef": target, "minReplicas": max(low, 1), "maxReplicas": high, "metrics": [metric]}
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": metadata, "spec": spec}
