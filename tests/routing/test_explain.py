"""`explain` says which rule matched, who was a candidate, who was left out and why."""

import pathlib

import yaml

from fairlead.routing import algorithms, explain, interpret, policy, settings, translate

FOLDER = pathlib.Path(__file__).parent.parent / "golden" / "routing"


LOOPBACK = settings.Settings()


def translated(name, where=LOOPBACK):
    objects = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())["objects"]
    of = {kind: [o for o in objects if o["kind"] == kind] for kind in ("Service", "EndpointSlice", "Ingress")}
    snapshot = translate.Snapshot(services=of["Service"], endpoint_slices=of["EndpointSlice"], ingresses=of["Ingress"])
    return translate.translate(snapshot, where), snapshot.endpoint_slices


def ask(name, host, path="/", out=None):
    translation, slices = translated(name)
    asked = interpret.HttpRequest(host=host, path=path)
    return explain.request(translation, slices, listener="edge-http", asked=asked, out=out)


def test_a_request_is_followed_to_its_endpoints():
    found = ask("thin", "my-app.localhost")
    assert (found.verdict, found.rule) == ("forwarded", "Ingress/default/my-app spec.rules[0].http.paths[0]")
    (one,) = found.backends
    assert [e.address for e in one.candidates] == ["127.244.0.2"]
    assert {e.address: e.reason for e in one.left_out} == {
        "127.244.0.3": "not ready",
        "127.244.0.4": "terminating; used only when no endpoint is ready",
    }
    assert (one.carrier, one.algorithm) == ("engine-l7", "least-request")
    assert "in turn among equals" in one.next


def test_what_a_plane_ejected_is_told():
    (one,) = ask("thin", "my-app.localhost", out={"127.244.0.2": "ejected after 5 errors"}).backends
    assert not one.candidates
    assert one.left_out[-1].reason == "ejected after 5 errors"


def test_rules_with_less_right_are_named():
    found = ask("ingress-conflict", "shop.example", "/cart")
    assert found.rule == "Ingress/shop/new spec.rules[0].http.paths[1]"
    assert found.rejected == ("Ingress/shop/old spec.rules[0].http.paths[0]: exact comes before prefix",)


def test_an_unknown_host_is_told_what_is_known():
    assert ask("thin", "other.localhost").verdict.endswith("hosts known: my-app.localhost")


def test_a_backend_that_does_not_exist_answers_503():
    assert ask("ingress-mistakes", "a.example", "/gone").verdict == "answers 503"


def test_a_closed_door_says_which_object_closed_it_and_why():
    translation, slices = translated("thin")
    (route,) = [name for name in translation.structure.routes if name.startswith("Ingress/")]
    refused = {f"route/{route}": "match.path.value: the expression is too large"}
    asked = interpret.HttpRequest(host="my-app.localhost", path="/")
    found = explain.request(translation, slices, listener="edge-http", asked=asked, refused=refused)
    assert found.verdict == "answers 503, a closed door"
    assert found.because == (
        "Ingress/default/my-app spec.rules[0].http.paths[0]: the engine refused it: "
        "match.path.value: the expression is too large",
    )
    refused = {"backend/default/my-app-service:80/http": "tls: no certificate"}
    found = explain.request(translation, slices, listener="edge-http", asked=asked, refused=refused)
    assert found.verdict == "forwarded"
    assert found.because[0].endswith("tls: no certificate")


def test_a_path_without_a_backend_says_what_is_wrong_with_it_alone():
    found = ask("ingress-mistakes", "a.example", "/gone")
    assert found.because
    assert any("there is no Service default/nowhere" in reason for reason in found.because)
    place = found.rule.rpartition(" ")[2]
    assert not [reason for reason in found.because if "spec.rules" in reason and place not in reason]


def test_a_service_is_explained_by_its_backends():
    translation, slices = translated("thin")
    found = explain.service(translation, slices, name="default/my-app-service")
    assert [one.carrier for one in found.backends] == ["engine-l4", "engine-l7"]


def test_a_service_that_local_clients_are_led_from_says_so():
    where = settings.Settings(network="kernel", connect_time=True)
    found = explain.service(*translated("thin", where), name="default/my-app-service")
    assert [(one.carrier, one.carrier_reason) for one in found.backends] == [
        ("kernel", "local clients are led straight to an endpoint"),
        ("engine-l7", ""),
    ]


def test_an_answer_of_the_engines_own_says_what_is_wrong_with_its_rule():
    backend = {"service": {"name": "nobody", "port": {"number": 80}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    ingress = {
        "metadata": {"name": "i", "namespace": "shop"},
        "spec": {"rules": [{"host": "a", "http": {"paths": paths}}]},
    }
    translation = translate.translate(translate.Snapshot(ingresses=[ingress]), settings.Settings())
    asked = interpret.HttpRequest(host="a", path="/")
    found = explain.request(translation, (), listener="edge-http", asked=asked)
    assert found.verdict == "answers 503"
    assert found.because == (
        "Ingress/shop/i: spec.rules[0].http.paths[0].backend: there is no Service shop/nobody; requests get 503",
    )  # fmt: skip


def test_every_algorithm_is_told_in_a_line():
    for word in policy.ALGORITHMS:
        assert algorithms.summary(word)
    assert algorithms.summary("least-request", layer4=True) == algorithms.summary("sed")
