"""The API server: a store, the chain over it and the HTTPS door in front of the chain.

`await start()` makes certificates and token when they are missing, opens the sockets and fills in what a new cluster
holds; then `.url` says where it listens and `.exchange` is the chain for in-process clients. `await close()` ends the
watches and the connections; the store is its owner's to close.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import random
import secrets
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairlead.apiserver import (
    addresses,
    audit,
    authentication,
    bootstrap,
    certificates,
    chain,
    codec,
    door,
    housekeeping,
    kubeconfig,
    own_service,
    requests,
    resources,
    tokens,
)
from fairlead.apiserver import pod_door as pod_doors
from fairlead.apiserver.behaviours import services, table
from fairlead.apiserver.custom import cleanup, definitions
from fairlead.apiserver.streams import upgrade
from fairlead.base import clock as clocks
from fairlead.base import log as logs
from fairlead.base import secret, tasks
from fairlead.client import errors, exchange, rest
from fairlead.store import protocol

log = logs.get(__name__)
ADMIN = exchange.Identity("kubernetes-admin", ("system:masters", authentication.AUTHENTICATED))
SYSTEM = authentication.SERVER
LOOPBACK, EVERYWHERE = ("127.0.0.1", "::1"), ("0.0.0.0", "::")  # noqa: S104 -- compared, and bound where asked for


@dataclass(frozen=True, slots=True)
class ApiServerConfig:
    """What differs between clusters. `addresses` are listened on in addition to loopback; `hosts` are further names
    that the certificate and the Host check know; `controller_rules` are the RBAC rules of each controller, by its
    ServiceAccount in kube-system."""

    state_folder: Path
    cluster_name: str = "default"
    node_name: str = ""
    port: int = 0
    addresses: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    service_cidr: str = "10.96.0.0/16"
    second_service_cidr: str = ""  # of the other address family, in a dual-stack cluster
    controller_rules: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    opener: door.Opener | None = None  # opens `tcp:ADDR:PORT` where this process may not


class ApiServer:
    """See the module."""

    def __init__(
        self,
        store: protocol.Store,
        config: ApiServerConfig,
        *,
        clock: clocks.Clock | None = None,
        pod_door: pod_doors.PodDoor | None = None,
        seed: int | None = None,
    ) -> None:
        self._config = config
        self._clock = clock or clocks.SystemClock()
        self._source = random.SystemRandom() if seed is None else random.Random(seed)  # noqa: S311 -- for tests
        self._allocator = addresses.Allocator(
            config.service_cidr, source=self._source, second_cidr=config.second_service_cidr
        )
        self._store = store
        self._door: door.Door | None = None
        self._token = secret.Secret(_token(config.state_folder))
        behaviours = table.behaviours()
        self._definitions = definitions.Definitions()
        self.registry = resources.Registry({**behaviours, definitions.BUCKET: self._definitions})
        self._definitions.registry = self.registry
        self._nursery = tasks.Nursery("apiserver", on_failure=_failed)
        issued = tokens.Tokens(store, config.state_folder / "pki" / "sa.key", clock=self._clock)
        authenticator = authentication.Authenticator({self._token.reveal(): ADMIN}, read_token=issued.read)
        self.chain = chain.Chain(
            store,
            self.registry,
            authenticator,
            self._allocator,
            clock=self._clock,
            source=self._source,
            node_name=config.node_name,
            tokens=issued,
        )
        self.chain.pod_door = pod_door
        self.chain.folder = config.state_folder
        self.port = 0

    @property
    def exchange(self) -> exchange.Exchange:
        """The chain, for in-process clients."""
        return self.chain

    @property
    def url(self) -> str:
        """Where the server listens on loopback."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def token(self) -> secret.Secret:
        """The administrator's token."""
        return self._token

    @property
    def ca_pem(self) -> bytes:
        """The CA's certificate."""
        return (self._config.state_folder / "pki" / "ca.crt").read_bytes()

    async def start(self) -> None:
        """Raises OSError for an address that cannot be listened on."""
        config = self._config
        self._ensure_certificates()
        entries = self._store.page("services/").entries
        services.restore([codec.decode(entry.value) for entry in entries], self._allocator)
        for entry in self._store.page(f"{definitions.BUCKET}/").entries:
            definitions.install(codec.decode(entry.value), self.registry)
        names = {*certificates.NAMES, *certificates.ADDRESSES, *config.addresses, *config.hosts, self._own_address()}
        self._door = door.Door(
            self.chain,
            self.chain.authenticator,
            hosts=frozenset(name.lower() for name in names),
            upgrade=upgrade.Upgrades(self.chain).serve,
            opener=config.opener,
        )
        tls = door.context(config.state_folder / "pki")
        covered = set(EVERYWHERE).intersection(config.addresses)  # asked for
        self.port = await self._door.listen(_first(covered, "0.0.0.0", "127.0.0.1"), config.port, tls)  # noqa: S104
        with contextlib.suppress(*() if "::" in covered else (OSError,)):  # a machine without IPv6
            await self._door.listen(_first(covered, "::", "::1"), self.port, tls)
        for address in config.addresses:
            if address not in (*LOOPBACK, *covered) and EVERYWHERE[":" in address] not in covered:
                await self._door.listen(address, self.port, tls)
        await self._fill()
        await own_service.publish(self._store, self.chain, self._allocator, addresses=self._reachable(), port=self.port)
        self.chain.audit = audit.Audit(config.state_folder / "log" / "audit.log", self.chain.metrics, clock=self._clock)
        self._keep(self.chain.audit.run, name="audit log")
        self._keep(functools.partial(self._renew_certificates, tls), name="certificates")
        self._nursery.start(asyncio.to_thread(self.chain.tokens.warm), name="the tokens' key")
        self._keep(functools.partial(housekeeping.compact, self._store, self._clock), name="compaction")
        self._keep(functools.partial(housekeeping.expire_events, self._store, self._clock), name="expiry of Events")
        self._keep(functools.partial(housekeeping.place_waiting_pods, self.chain, SYSTEM), name="placement")
        self._keep(functools.partial(cleanup.run, self._store, self.chain, SYSTEM, self._nursery), name="definitions")

    def _ensure_certificates(self) -> None:
        config = self._config
        extra = (*config.addresses, *config.hosts, self._own_address())
        certificates.ensure(config.state_folder / "pki", extra=extra, now=self._clock.now())

    async def _renew_certificates(self, tls: ssl.SSLContext) -> None:
        """A server that runs for a year does not show a certificate that is over."""
        while True:
            await self._clock.sleep(certificates.LOOK_SECONDS)
            await asyncio.to_thread(self._ensure_certificates)
            door.show(tls, self._config.state_folder / "pki")

    def _keep(self, work: tasks.Work, *, name: str) -> None:
        self._nursery.keep(work, name=name, clock=self._clock)

    def _reachable(self) -> tuple[str, ...]:
        """Where pods reach the API: the addresses of the first family that are no loopback, else loopback itself."""
        family = self._allocator.families[0]
        others = [one for one in self._config.addresses if one not in (*LOOPBACK, *EVERYWHERE)]
        return tuple(one for one in others if addresses.family(one) == family) or ("127.0.0.1",)

    def _own_address(self) -> str:
        return str(self._allocator.network.network_address + 1)

    async def _fill(self) -> None:
        """Creates what a new cluster holds where it is missing."""
        import asyncio

        async def create(obj: dict[str, object]) -> None:
            resource = self.registry.of_kind(str(obj["apiVersion"]), str(obj["kind"]))
            assert resource is not None
            metadata = obj["metadata"]
            assert isinstance(metadata, dict)
            namespace, name = metadata.get("namespace", ""), metadata["name"]
            known = self._store.head(resource.key(namespace, name))
            if known is not None:
                await self._add_rules(obj, codec.decode(known.value), resource)
                return
            request = exchange.Request("POST", resource.kind.path(namespace), (), {}, codec.encode(obj), SYSTEM)
            info = requests.read(request, SYSTEM)
            await self.chain.writer.create(obj, info, resource, self.chain.around(info))

        await asyncio.gather(*(create(obj) for obj in bootstrap.objects(self._config.controller_rules)))

    async def _add_rules(self, wanted: dict[str, Any], known: dict[str, Any], resource: resources.Resource) -> None:
        """Gives a bootstrap role the rules that it lacks, as a newer version may; `autoupdate: false` forbids it."""
        annotations = known["metadata"].get("annotations") or {}
        missing = [rule for rule in wanted.get("rules") or () if rule not in (known.get("rules") or ())]
        if missing and annotations.get(bootstrap.AUTO_UPDATE) == "true":
            client = rest.RestClient(self.chain, identity=SYSTEM)
            rules = {"rules": [*(known.get("rules") or ()), *missing]}
            await client.patch(resource.kind, known["metadata"]["name"], rules)

    def write_kubeconfig(self, path: Path) -> None:
        """Writes the administrator's kubeconfig."""
        kubeconfig.write(
            path, name=f"fairlead-{self._config.cluster_name}", server=self.url, ca_pem=self.ca_pem, token=self._token
        )

    async def close(self) -> None:
        """Closes the door and ends the background work. Watches end with the door."""
        await self._nursery.close()
        if self.chain.audit is not None:
            self.chain.audit.flush()
        if self._door is not None:
            await self._door.close()


def _first(covered: set[str], everywhere: str, loopback: str) -> str:
    return everywhere if everywhere in covered else loopback


def _failed(where: str, error: BaseException) -> None:
    log.error("background work failed; this is a bug", error=error, where=where)


def _token(state: Path) -> str:
    """The administrator's token, made when there is none."""
    path = state / "token"
    if path.exists():
        return path.read_text().strip()
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = secrets.token_urlsafe(32)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(made + "\n")
    return made


__all__ = ["ADMIN", "SYSTEM", "ApiServer", "ApiServerConfig", "errors"]
