"""What pods of an earlier life have is theirs: their addresses are held before any new pod can be given one.

Otherwise the first new pod of this life would get an address at which a pod that is not adopted yet still listens.
Pods that run go first: the address of one that has ended may be another's by now. Orphans keep theirs until they have
ended.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from pathlib import Path

from fairlead.node import protocols, records


def hold_addresses(network: protocols.Network, folder: Path, ended: Collection[str]) -> None:
    """Gives each pod with a record in `folder` the address that it has; `ended`: pods that need none any more."""
    found = [record for path in folder.iterdir() if path.name not in ended and (record := records.load(path))]
    held: set[str] = set()
    for record in sorted(found, key=lambda one: not one.network_ready):
        if record.ip and record.ip not in held and _is_in(record.ip, network.cidr):
            network.allocate(record.uid, wanted=record.ip)
            held.add(record.ip)


def _is_in(address: str, cidr: str) -> bool:
    return bool(cidr) and ipaddress.ip_address(address) in ipaddress.ip_network(cidr)
