"""The processor of nginx-class Ingresses: parse, gather by host, translate. Opt-in by `Settings.ingress_nginx`."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.routing import draft
from fairlead.routing.ingress_nginx import catalogue, configmap, objects, routes, sites

#: the controller's name in IngressClasses, and the class that its users write
CONTROLLER = "k8s.io/ingress-nginx"
CLASS = "nginx"


def process(work: draft.Draft, ingresses: Sequence[tuple[int, draft.Object]]) -> None:
    """Adds Ingresses of the class. Each comes with its place among all, oldest first."""
    config = _config(work)
    sources = [_source(order, ingress) for order, ingress in ingresses]
    for source in sources:
        work.problems.extend(source.words.problems)
    gathered, problems = sites.gather(sources)
    work.problems.extend(problems)
    edge = routes.Routes(work, config)
    for site in gathered.values():
        edge.add_site(site)


def _source(order: int, ingress: draft.Object) -> sites.Source:
    meta = ingress["metadata"]
    words = catalogue.parse(meta.get("annotations") or {}, obj=f"Ingress/{draft.key(ingress)}")
    return sites.Source(meta.get("namespace", ""), meta["name"], order, ingress.get("spec") or {}, words)


def _config(work: draft.Draft) -> catalogue.Words:
    name = work.settings.ingress_nginx_config
    found = objects.Lookup("ConfigMap", work.snapshot.config_maps).at(name)
    if found is None:
        return catalogue.Words()
    words = configmap.parse(objects.config_data(found), obj=f"ConfigMap/{name}")
    work.problems.extend(words.problems)
    return words
