"""Which address families a local cluster has, and which is first, by `--ip-family`.

The first is that of `default/kubernetes`, of the pods' DNS and of Services that say nothing, as in Kubernetes. `auto`
is what the cluster was asked for last, else IPv4 with IPv6 beside it where the machine has that. What a cluster's
Services have been given stays, so another first family is refused while its state is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.cluster import config, errors, state

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Families:
    """In order; `all_required` where the second is no bonus."""

    word: str
    order: tuple[str, ...]
    all_required: bool


def decide(word: str, record: state.Record) -> Families:
    """The families of a start; the record tells of the lives before. Raises CannotStart."""
    chosen = (record.ip_family or AUTO) if word == AUTO else word
    order = config.IP_FAMILIES[chosen]
    before = _family_of(record.pod_cidr)
    if before and before != order[0]:
        raise errors.CannotStart(
            f"--ip-family {chosen}: the addresses that this cluster's Services have are {before} first; "
            "`fairlead down --purge` forgets them"
        )
    return Families(chosen, order, all_required=chosen != AUTO)


def _family_of(cidr: str) -> str:
    return ("IPv6" if ":" in cidr else "IPv4") if cidr else ""
