"""The manifests of the cluster benchmarks are what their names say."""

import json

from bench import app, rolling


def test_a_deployment_a_service_and_an_ingress_of_one_name():
    made = app.App(name="shop", replicas=4, start_ms=50).objects()
    assert [one["kind"] for one in made] == ["Deployment", "Service", "Ingress"]
    assert {one["metadata"]["name"] for one in made} == {"shop"}
    assert made[2]["spec"]["rules"][0]["host"] == "shop.localhost"


def test_three_ways_in_and_only_one_is_balanced_by_request():
    services = [one for one in rolling.objects(app.App()) if one["kind"] == "Service"]
    words = {one["metadata"]["name"]: one["spec"]["ports"][0].get("appProtocol") for one in services}
    assert words == {"app": None, "app-l7": "http", "app-l4": None}


def test_folders_that_fairlead_takes(tmp_path):
    app.write(tmp_path, app.App().objects(), command=("/opt/loadgen", "app"))
    images = json.loads((tmp_path / "fairlead.yaml").read_text())["images"]
    assert images == {"bench-app:*": {"command": ["/opt/loadgen", "app"]}}
    assert (tmp_path / "manifests.yaml").read_text().count("\n---\n") == 2
