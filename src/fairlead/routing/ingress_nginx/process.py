"""The way of nginx-class Ingresses through a translation: parsed one by one, translated host by host.

Opt-in by `Settings.ingress_nginx`. The controller's ConfigMap gives the defaults of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fairlead.api.problem import Problem
from fairlead.routing import draft, table
from fairlead.routing.ingress_nginx import catalogue, configmap, doors, objects, routes, sites

Object = dict[str, Any]
#: the controller's name in IngressClasses, and the class that its users write
CONTROLLER = "k8s.io/ingress-nginx"
CLASS = "nginx"


def source(key: str, ingress: Object, order: int) -> tuple[sites.Source, list[Problem]]:
    """One Ingress, parsed, and what is wrong with it by itself."""
    namespace, _, name = key.partition("/")
    words = catalogue.parse(ingress["metadata"].get("annotations") or {}, obj=f"Ingress/{key}")
    return sites.parse(namespace, name, order, ingress.get("spec") or {}, words)


class Controller:
    """Translates hosts by a ConfigMap that stays the same object while it does not change."""

    def __init__(self) -> None:
        self.config = catalogue.Words()
        self._config_map: Object | None = None
        self._names = sites.Names()

    def read(self, work: draft.Draft) -> table.HttpSettings:
        """Reads the ConfigMap; the settings of the doors."""
        found = work.config_maps.get(work.settings.ingress_nginx_config)
        if found is not self._config_map:
            obj = f"ConfigMap/{work.settings.ingress_nginx_config}"
            self.config = configmap.parse(objects.config_data(found), obj=obj) if found else catalogue.Words()
            self._config_map = found
        work.problems.extend(self.config.problems)
        return doors.http(self.config)

    def begin(self, work: draft.Draft, sources: Sequence[sites.Source]) -> Callable[[str], bool]:
        """Learns who has which name; what is wrong with that is told. Returns whether a host is known by others now."""
        before, self._names = self._names, sites.names(sources)
        work.problems.extend(self._names.problems)
        now = self._names
        return lambda host: (
            before.www.get(host, "") != now.www.get(host, "")
            or tuple(before.aliases.get(host, ())) != tuple(now.aliases.get(host, ()))
        )

    @property
    def has_names(self) -> bool:
        """Whether any host is known by others."""
        return bool(self._names.aliases or self._names.www or self._names.problems)

    def names(self, host: str) -> tuple[str, ...]:
        """What else the host is known by: the www host that leads to it, and its aliases."""
        return (self._names.www.get(host, ""), *self._names.aliases.get(host, ()))

    def translate(self, part: draft.Draft, host: str, sources: Sequence[sites.Source]) -> None:
        """Adds the Routes of a host."""
        www, *aliases = self.names(host)
        site, problems = sites.at_host(host, sources, aliases=aliases, www=www)
        part.problems.extend(problems)
        if site is not None:
            sites.finish(site)
            routes.Routes(part, self.config).add_site(site)
