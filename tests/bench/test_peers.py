"""Every peer can be given every job that the benchmarks have, and the configuration says so."""

import json

import pytest

from bench import candidates
from bench.peers import envoy, haproxy, nginx

BACKENDS = ("127.0.0.1:1001", "127.0.0.1:1002")


def job(**fields):
    return candidates.Job(**{"backends": BACKENDS, **fields})


def texts(tmp_path, wanted):
    yield "haproxy", haproxy.render(wanted, 1, tmp_path)
    yield "nginx", nginx.render(wanted, 1, tmp_path)
    bootstrap = envoy.render(wanted, 1, tmp_path / "eds.json")
    yield "envoy", json.dumps([bootstrap, envoy.endpoints(wanted)])


@pytest.mark.parametrize("mode", ["http", "tcp"])
def test_every_backend_is_in_the_configuration(tmp_path, mode):
    for name, text in texts(tmp_path, job(mode=mode)):
        assert "1001" in text and "1002" in text, name
        assert "$" not in text.replace("$connection_upgrade", "").replace("$http_upgrade", "").replace("$host", ""), (
            name
        )


def test_many_routes_and_services(tmp_path):
    for name, text in texts(tmp_path, job(routes=50, services=7)):
        routed = text + "".join(file.read_text() for file in tmp_path.glob("*.map"))
        assert "route-48.test" in routed and "route-49.test" not in routed, name
        assert "s6" in text and "s7" not in text, name


@pytest.mark.parametrize(
    ("peer", "words"),
    [("haproxy", {"least": "leastconn", "two": "random(2)"}), ("nginx", {"least": "least_conn", "two": "random two"})],
)
def test_the_algorithm_is_the_peers_own_word(tmp_path, peer, words):
    for algorithm, word in words.items():
        assert word in dict(texts(tmp_path, job(algorithm=algorithm)))[peer]
