"""The feature tests of Kubernetes' `[sig-network]` conformance list that one node can show, each named as there, with
the real command line, kubectl and packets. docs/conformance.md has the whole list."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fairlead.testing import ports as free_ports
from tests.system import conftest, local

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif("kernel" not in conftest.MODES, reason="addresses of pods and Services need --network kernel"),
]
APP = Path(__file__).parent / "apps" / "netexec.py"
Object = dict[str, Any]


@pytest.fixture(scope="module")
def cluster() -> Iterator[local.Local]:
    made = local.make(Path(tempfile.mkdtemp(prefix="fl-state-")), "kernel")
    folder = Path(tempfile.mkdtemp(prefix="fl-net-"))
    images = {"images": {"netexec": {"command": [sys.executable, str(APP)]}}}
    (folder / "fairlead.yaml").write_text(yaml.safe_dump(images))
    (folder / "two.yaml").write_text(yaml.safe_dump_all([pod("one"), pod("two")]))
    try:
        made.up(folder)
        yield made
    finally:
        local.remove(made)
        shutil.rmtree(folder)


def pod(name: str, *, app: str = "net", args: tuple[str, ...] = ("http:8080", "udp:8081"), **spec: Any) -> Object:
    ports = [
        {"name": word.replace(":", ""), "containerPort": int(word[-4:]), "protocol": "UDP" if word[0] == "u" else "TCP"}
        for word in args
    ]
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    container = {"name": "c", "image": "netexec", "args": list(args), "ports": ports, "readinessProbe": probe}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": {"containers": [container], **spec},
    }


def service(name: str, **spec: Any) -> Object:
    wanted: Object = {"selector": {"app": "net"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}], **spec}
    kept = {key: value for key, value in wanted.items() if value is not None}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": kept}


@pytest.fixture
def applied(cluster: local.Local) -> Iterator[Callable[..., None]]:
    """Applies objects for one test."""
    made: list[str] = []

    def apply(*objects: Object) -> None:
        text = yaml.safe_dump_all(objects)
        cluster.kubectl("apply", "-f", "-", stdin=text)
        made.append(text)
        for one in objects:
            if one["kind"] == "Pod":
                cluster.kubectl("wait", f"pod/{one['metadata']['name']}", "--for=condition=Ready", "--timeout=30s")

    yield apply
    for text in made:
        cluster.kubectl("delete", "-f", "-", "--ignore-not-found", "--grace-period=0", "--force", stdin=text)


def field(cluster: local.Local, what: str, path: str) -> str:
    return cluster.kubectl("get", *what.split(), "-o", f"jsonpath={{{path}}}")


def fetch(cluster: local.Local, url: str, *, within: str = "one") -> str:
    """The answer that a pod gets."""
    return cluster.kubectl("exec", within, "--", "curl", "-sS", "-m", "5", url).strip()


def eventually(check: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether it becomes true in time; asked without a pause, each question takes its own."""
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            return False
    return True


def in_pod(cluster: local.Local, code: str, *, name: str = "one") -> str:
    return cluster.kubectl("exec", name, "--", sys.executable, "-c", code).strip()


RESOLV = "print(open('/etc/resolv.conf').read().strip())"


# -- Services


def test_services_should_provide_secure_master_service(cluster: local.Local) -> None:
    assert field(cluster, "service kubernetes", ".spec.ports[0].port") == "443"
    said = cluster.kubectl("exec", "one", "--", "curl", "-sk", "-m", "5", "https://kubernetes.default/version").strip()
    assert json.loads(said)["gitVersion"].startswith("v1.")


def test_services_should_serve_a_basic_endpoint_from_pods(cluster: local.Local, applied: Any) -> None:
    applied(service("basic"))
    seen: set[str] = set()
    assert eventually(lambda: (seen.add(fetch(cluster, "http://basic/")), seen == {"one", "two"})[1])
    applied(pod("three"))
    assert eventually(lambda: fetch(cluster, "http://basic/") == "three")
    cluster.kubectl("delete", "pod", "three", "--now")
    assert {fetch(cluster, "http://basic/") for _ in range(6)} == {"one", "two"}


def test_services_should_serve_multiport_endpoints_from_pods(cluster: local.Local, applied: Any) -> None:
    ports = [{"name": "a", "port": 80, "targetPort": 8080}, {"name": "b", "port": 81, "targetPort": 9080}]
    applied(
        pod("multi", app="multi", args=("http:8080", "http:9080")),
        service("multi", selector={"app": "multi"}, ports=ports),
    )
    assert fetch(cluster, "http://multi/") == fetch(cluster, "http://multi:81/") == "multi"


def test_services_should_serve_endpoints_on_same_port_and_different_protocols(
    cluster: local.Local, applied: Any
) -> None:
    ports = [
        {"name": "t", "port": 80, "protocol": "TCP", "targetPort": 8080},
        {"name": "u", "port": 80, "protocol": "UDP", "targetPort": 8081},
    ]
    applied(service("both", ports=ports))
    assert fetch(cluster, "http://both/") in ("one", "two")
    code = "import socket;s=socket.socket(2,2);s.settimeout(3);s.sendto(b'x',('both',80));print(s.recv(99).decode())"
    assert in_pod(cluster, code) in ("one", "two")
    cluster.kubectl(
        "patch", "service", "both", "-p", json.dumps({"spec": {"ports": [{"$patch": "replace"}, ports[0]]}})
    )
    assert fetch(cluster, "http://both/") in ("one", "two")


def node_port_answers(cluster: local.Local, name: str) -> str:
    port = field(cluster, f"service {name}", ".spec.ports[0].nodePort")
    done = subprocess.run(["curl", "-sS", "-m", "5", f"http://127.0.0.1:{port}/"], capture_output=True, text=True)
    return done.stdout


def test_services_should_be_able_to_create_a_functioning_nodeport_service(cluster: local.Local, applied: Any) -> None:
    applied(service("node", type="NodePort"))
    assert eventually(lambda: node_port_answers(cluster, "node") in ("one", "two"))


def test_services_should_be_able_to_change_the_type_from_externalname_to_clusterip(
    cluster: local.Local, applied: Any
) -> None:
    applied(service("moving", type="ExternalName", externalName="example.com", selector=None, ports=None))
    applied(service("moving", type="ClusterIP", externalName=None))
    cluster.kubectl("patch", "service", "moving", "--type=merge", "-p", '{"spec":{"externalName":null}}')
    assert eventually(lambda: fetch(cluster, "http://moving/") in ("one", "two"))


def test_services_should_be_able_to_change_the_type_from_externalname_to_nodeport(
    cluster: local.Local, applied: Any
) -> None:
    applied(service("moving", type="ExternalName", externalName="example.com", selector=None, ports=None))
    applied(service("moving", type="NodePort", externalName=None))
    assert eventually(lambda: node_port_answers(cluster, "moving") in ("one", "two"))


@pytest.mark.parametrize("before", ["ClusterIP", "NodePort"])
def test_services_should_be_able_to_change_the_type_to_externalname(
    cluster: local.Local, applied: Any, before: str
) -> None:
    applied(service("basic"), service("moving", type=before))
    applied(service("moving", type="ExternalName", externalName="basic.default.svc.cluster.local", selector=None))
    assert field(cluster, "service moving", ".spec.clusterIP") == ""
    assert eventually(lambda: fetch(cluster, "http://moving/") in ("one", "two"))


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort"])
def test_services_should_have_session_affinity_work_and_be_able_to_switch_it(
    cluster: local.Local, applied: Any, kind: str
) -> None:
    applied(service("sticky", type=kind, sessionAffinity="ClientIP"))
    assert eventually(lambda: fetch(cluster, "http://sticky/") in ("one", "two"))
    assert len({fetch(cluster, "http://sticky/") for _ in range(8)}) == 1
    applied(service("sticky", type=kind, sessionAffinity="None"))
    assert eventually(lambda: {fetch(cluster, "http://sticky/") for _ in range(4)} == {"one", "two"})
    applied(service("sticky", type=kind, sessionAffinity="ClientIP"))
    assert eventually(lambda: len({fetch(cluster, "http://sticky/") for _ in range(6)}) == 1)


def test_services_should_delete_a_collection_of_services(cluster: local.Local, applied: Any) -> None:
    for name in ("e1", "e2"):
        applied(service(name))
        cluster.kubectl("label", "service", name, "collection=yes")
    applied(service("kept"))
    cluster.kubectl("delete", "services", "-l", "collection=yes")
    names = cluster.kubectl("get", "services", "-o", "name").split()
    assert "service/kept" in names
    assert not {"service/e1", "service/e2"} & set(names)


def test_services_should_find_a_service_from_listing_all_namespaces(cluster: local.Local) -> None:
    said = cluster.kubectl("get", "services", "-A", "--field-selector", "metadata.name=kubernetes", "-o", "name")
    assert said.split() == ["service/kubernetes"]


def test_services_should_complete_a_service_status_lifecycle(cluster: local.Local, applied: Any) -> None:
    applied(service("status"))
    condition = {
        "type": "Proof",
        "status": "True",
        "reason": "R",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    body = json.dumps({"status": {"conditions": [condition]}})
    cluster.kubectl("patch", "service", "status", "--subresource=status", "--type=merge", "-p", body)
    assert field(cluster, "service status", ".status.conditions[0].reason") == "R"
    cluster.kubectl("annotate", "service", "status", "patched=true")
    assert field(cluster, "service status", ".status.conditions[0].reason") == "R"


def test_services_should_test_the_lifecycle_of_an_endpoint(cluster: local.Local, applied: Any) -> None:
    subsets = [{"addresses": [{"ip": "192.0.2.7"}], "ports": [{"port": 80}]}]
    hand = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": "hand", "labels": {"a": "b"}},
        "subsets": subsets,
    }
    applied(hand)
    assert cluster.kubectl("get", "endpoints", "-A", "-l", "a=b", "-o", "name").split() == ["endpoints/hand"]
    applied({**hand, "subsets": [{"addresses": [{"ip": "192.0.2.8"}], "ports": [{"port": 80}]}]})
    assert field(cluster, "endpoints hand", ".subsets[0].addresses[0].ip") == "192.0.2.8"
    cluster.kubectl("delete", "endpoints", "-l", "a=b")
    assert cluster.kubectl("get", "endpoints", "-l", "a=b", "-o", "name") == ""


# -- EndpointSlice


def test_endpointslice_should_create_and_delete_slices_for_a_service_with_a_selector(
    cluster: local.Local, applied: Any
) -> None:
    applied(service("sliced"))
    listing = ("endpointslice -l kubernetes.io/service-name=sliced", ".items[*].endpoints[*].targetRef.name")
    assert eventually(lambda: set(field(cluster, *listing).split()) == {"one", "two"})
    legacy = ("endpoints sliced --ignore-not-found", ".subsets[*].addresses[*].targetRef.name")
    assert eventually(lambda: set(field(cluster, *legacy).split()) == {"one", "two"})
    cluster.kubectl("delete", "service", "sliced")
    assert eventually(lambda: field(cluster, *listing) == "")


def test_endpointslice_should_have_slices_pointing_to_api_server(cluster: local.Local) -> None:
    path = ".items[0].endpoints[0].addresses[0]"
    address = field(cluster, "endpointslice -l kubernetes.io/service-name=kubernetes", path)
    assert field(cluster, "endpoints kubernetes", ".subsets[0].addresses[0].ip") == address


def test_endpointslice_should_support_a_service_with_multiple_ports_in_multiple_slices(
    cluster: local.Local, applied: Any
) -> None:
    ports = [{"name": "a", "port": 80, "protocol": "TCP"}, {"name": "b", "port": 81, "protocol": "TCP"}]
    applied(service("hand", selector=None, ports=ports))
    for name, port_name, target in (("one", "a", 8080), ("two", "b", 8080)):
        address = field(cluster, f"pod {name}", ".status.podIP")
        labels = {"kubernetes.io/service-name": "hand"}
        applied(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": f"hand-{name}", "labels": labels},
                "addressType": "IPv4",
                "endpoints": [{"addresses": [address]}],
                "ports": [{"name": port_name, "port": target, "protocol": "TCP"}],
            }
        )
    assert eventually(lambda: fetch(cluster, "http://hand/") == "one")
    assert eventually(lambda: fetch(cluster, "http://hand:81/") == "two")


# -- DNS


def resolves(cluster: local.Local, name: str) -> list[str]:
    """The addresses that a pod's resolver finds; none where there is no such name (yet)."""
    code = f"import socket;print(*sorted({{x[4][0] for x in socket.getaddrinfo({name!r}, 80, 2)}}))"
    said = cluster.kubectl("exec", "one", "--", sys.executable, "-c", code, check=False).split()
    return [] if "Traceback" in said else said


def test_dns_should_provide_dns_for_services_and_partial_qualified_names(cluster: local.Local, applied: Any) -> None:
    applied(service("named"), service("bare", clusterIP="None"))
    address = field(cluster, "service named", ".spec.clusterIP")
    for name in ("named", "named.default", "named.default.svc", "named.default.svc.cluster.local"):
        assert resolves(cluster, name) == [address]
    addresses = {field(cluster, f"pod {name}", ".status.podIP") for name in ("one", "two")}
    assert eventually(lambda: set(resolves(cluster, "bare")) == addresses)


def test_dns_should_provide_dns_for_the_cluster(cluster: local.Local) -> None:
    address = field(cluster, "service kubernetes", ".spec.clusterIP")
    assert resolves(cluster, "kubernetes.default.svc.cluster.local") == [address]


def test_dns_should_provide_dns_for_externalname_services(cluster: local.Local, applied: Any) -> None:
    applied(service("target"))
    inner = "target.default.svc.cluster.local"
    applied(service("alias", type="ExternalName", externalName=inner, selector=None, ports=None))
    address = field(cluster, "service target", ".spec.clusterIP")
    assert eventually(lambda: resolves(cluster, "alias") == [address])
    applied(service("alias", type="ClusterIP", externalName=None))
    own = field(cluster, "service alias", ".spec.clusterIP")
    assert eventually(lambda: resolves(cluster, "alias") == [own])


def test_dns_should_provide_dns_for_pods_for_hostname_and_subdomain(cluster: local.Local, applied: Any) -> None:
    applied(service("sub", clusterIP="None", selector={"app": "sub"}))
    applied(pod("querier", app="sub", hostname="chosen", subdomain="sub"))
    address = field(cluster, "pod querier", ".status.podIP")
    assert eventually(lambda: resolves(cluster, "chosen.sub.default.svc.cluster.local") == [address])
    assert in_pod(cluster, "import socket;print(socket.gethostname())", name="querier") == "chosen"


def test_dns_should_support_configurable_pod_dns_nameservers(cluster: local.Local, applied: Any) -> None:
    """Also the two that are not of the conformance list: a configurable resolv.conf, and host network."""
    config = {"nameservers": ["192.0.2.53"], "searches": ["own.example"], "options": [{"name": "ndots", "value": "2"}]}
    gateway = in_pod(cluster, RESOLV).split("nameserver ")[1].split()[0]
    applied(
        pod("asks-nobody", app="dns", dnsPolicy="None", dnsConfig=config),
        pod("asks-more", app="dns", dnsConfig=config),
        pod("asks-from-host", app="dns", args=("http:8080",), dnsPolicy="ClusterFirstWithHostNet", hostNetwork=True),
    )
    said = in_pod(cluster, RESOLV, name="asks-nobody")
    assert said.splitlines() == ["search own.example", "nameserver 192.0.2.53", "options ndots:2"]
    said = in_pod(cluster, RESOLV, name="asks-more")
    assert f"nameserver {gateway}\nnameserver 192.0.2.53\noptions ndots:2" in said
    assert said.split("\n")[0].startswith("search default.svc.cluster.local svc.cluster.local cluster.local")
    assert said.split("\n")[0].endswith("own.example")
    said = in_pod(cluster, RESOLV, name="asks-from-host")
    assert f"nameserver {gateway}\noptions ndots:5" in said


def test_dns_should_provide_etc_hosts_entries_for_the_cluster(cluster: local.Local) -> None:
    said = in_pod(cluster, "print(open('/etc/hosts').read())")
    assert "127.0.0.1" in said
    assert f"{field(cluster, 'pod one', '.status.podIP')}\tone" in said.replace("    ", "\t")


# -- Networking, Proxy, HostPort, Ingress API


@pytest.mark.parametrize("protocol", ["http", "udp"])
def test_networking_should_function_for_intra_pod_and_node_pod_communication(
    cluster: local.Local, protocol: str
) -> None:
    address = field(cluster, "pod two", ".status.podIP")
    if protocol == "http":
        assert fetch(cluster, f"http://{address}:8080/") == "two"
        return
    ask = f"s.sendto(b'x', ('{address}', 8081)); print(s.recv(99).decode())"
    code = f"import socket; s = socket.socket(2, 2); s.settimeout(3); {ask}"
    assert in_pod(cluster, code) == "two"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(3)
        asking.sendto(b"x", (address, 8081))
        assert asking.recv(99) == b"two"


def test_proxy_should_answer_through_a_pod_and_a_service(cluster: local.Local, applied: Any) -> None:
    applied(service("proxied"))
    base = "/api/v1/namespaces/default"
    assert cluster.kubectl("get", "--raw", f"{base}/pods/one:8080/proxy/a/b") == "one"
    assert eventually(lambda: cluster.kubectl("get", "--raw", f"{base}/services/proxied:http/proxy/") in ("one", "two"))
    assert cluster.kubectl("get", "--raw", f"{base}/services/http:proxied:80/proxy/x") in ("one", "two")


def test_hostport_has_no_conflict_between_pods_with_same_port_but_different_address_and_protocol(
    cluster: local.Local, applied: Any
) -> None:
    port = free_ports.free()

    def with_host_port(name: str, address: str, container_port: int, protocol: str) -> Object:
        made = pod(name, app=name)
        made["spec"]["containers"][0]["ports"] = [
            {"containerPort": container_port, "hostPort": port, "hostIP": address, "protocol": protocol}
        ]
        return made

    applied(with_host_port("h1", "127.0.0.1", 8080, "TCP"))
    applied(with_host_port("h2", "127.0.0.2", 8080, "TCP"))
    applied(with_host_port("h3", "127.0.0.2", 8081, "UDP"))
    for address, name in (("127.0.0.1", "h1"), ("127.0.0.2", "h2")):
        done = subprocess.run(["curl", "-sS", "-m", "5", f"http://{address}:{port}/"], capture_output=True, text=True)
        assert done.stdout == name, done.stderr
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(3)
        asking.sendto(b"x", ("127.0.0.2", port))
        assert asking.recv(99) == b"h3"


def test_ingress_and_ingressclass_api_support_their_operations(cluster: local.Local, applied: Any) -> None:
    one_class = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": "proof", "labels": {"special": "yes"}},
        "spec": {"controller": "example.com/controller"},
    }
    backend = {"service": {"name": "default-backend", "port": {"number": 80}}}
    ingress = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "proof", "labels": {"special": "yes"}},
        "spec": {"ingressClassName": "proof", "defaultBackend": backend},
    }
    applied(one_class, ingress)
    for kind in ("ingress", "ingressclass"):
        assert cluster.kubectl("get", kind, "-l", "special=yes", "-o", "name").strip().endswith("/proof")
        cluster.kubectl("annotate", kind, "proof", "patched=true")
        assert field(cluster, f"{kind} proof", ".metadata.annotations.patched") == "true"
        cluster.kubectl("delete", kind, "-l", "special=yes")
        assert cluster.kubectl("get", kind, "-l", "special=yes", "-o", "name") == ""
