"""The options of a cluster's start: kept for the next one, and never passed over in silence."""

from __future__ import annotations

import os
import signal

import pytest

from tests.system import local

pytestmark = pytest.mark.system
LEADS_NOWHERE = """
apiVersion: v1
kind: Service
metadata: {name: nowhere}
spec: {selector: {app: nobody}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: elsewhere}
spec:
  ingressClassName: somebody-elses
  rules:
    - host: else.localhost
      http:
        paths: [{path: /, pathType: Prefix, backend: {service: {name: nowhere, port: {number: 80}}}}]
"""


@pytest.mark.parametrize("empty", ["loopback"], indirect=True)
def test_a_start_without_options_is_the_last_one_and_a_running_cluster_refuses_others(empty: local.Local) -> None:
    empty.up(local.EXAMPLE)
    named = ("up", "-d", "--name", empty.name)
    assert empty.fairlead(*named, "--http", f"127.0.0.1:{empty.edge_port}").returncode == 0
    for asked in (("--http", ":1"), ("--network", "kernel"), ("--ingress-nginx",)):
        refused = empty.fairlead(*named, *asked, check=False)
        assert refused.returncode == 1
        assert f"runs already, and not with {' '.join(asked)}; to start it so: fairlead down" in refused.stderr
    os.kill(empty.state.holder(), signal.SIGKILL)
    said = empty.fairlead(*named).stdout
    assert f"--network loopback --http 127.0.0.1:{empty.edge_port}" in said.splitlines()[0]
    assert "✓ deployment/my-app  3/3 available" in said  # what it had is waited for
    assert empty.state.read().edge_http == [f"127.0.0.1:{empty.edge_port}"]


@pytest.mark.parametrize("empty", ["loopback"], indirect=True)
def test_what_leads_nowhere_is_told_when_it_is_brought_up(empty: local.Local) -> None:
    said = empty.up("-", stdin=LEADS_NOWHERE).stdout
    assert "Service/default/nowhere: spec.selector app=nobody fits no pod; its namespace has none" in said
    assert "Ingress/default/elsewhere: spec.ingressClassName: there is no IngressClass 'somebody-elses'" in said
    assert "else.localhost" not in said.partition("ingress ")[2]
    explained = empty.fairlead("explain", "--name", empty.name, "http://else.localhost/").stdout
    assert "not Ingress/default/elsewhere: spec.ingressClassName" in explained


def test_a_start_that_cannot_be_leaves_no_state(empty: local.Local) -> None:
    refused = empty.fairlead("up", "-d", "--name", empty.name, "--http", "nonsense", check=False)
    assert (refused.returncode, empty.state.path.exists()) == (1, False)
    assert "'nonsense': ADDR:PORT is expected" in refused.stderr
