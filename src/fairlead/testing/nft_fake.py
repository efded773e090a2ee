"""A kernel without a kernel: keeps the chains and maps of typed transactions and answers where a packet goes.

Faithful where it matters: a transaction that adds what is there, deletes what is not, or leaves a rule or element
without its chain is refused, as the kernel refuses it; then nothing of it is applied.
"""

from __future__ import annotations

import ipaddress
from typing import Literal

from fairlead.dataplane import nft_rules
from fairlead.routing import interpret, table

_Verdict = Literal["ENDPOINTS", "REJECT", "DROP", "PASS"]


class Refused(Exception):
    """The kernel would refuse the transaction."""


class FakeKernel:
    """One table's chains and elements."""

    def __init__(self, node: interpret.Node) -> None:
        self.node = node
        self.chains: dict[str, tuple[nft_rules.Rule, ...]] = {}
        self.elements: dict[nft_rules.Element, nft_rules.Data] = {}

    def commit(self, change: nft_rules.Transaction) -> None:
        """Applies the transaction as a whole. Raises Refused."""
        chains, elements = dict(self.chains), dict(self.elements)
        for chain in change.new_chains:
            chains.setdefault(chain, ())
        for chain, rules in change.rewritten.items():
            if chain not in chains:
                raise Refused(f"rules for chain {chain}, which is not there")
            chains[chain] = rules
        for element in change.deleted:
            if elements.pop(element, None) is None:
                raise Refused(f"deletes {element}, which is not there")
        for element, data in change.added.items():
            if elements.get(element, data) != data:
                raise Refused(f"adds {element}, which is there with other data")
            elements[element] = data
        for chain in change.gone_chains:
            del chains[chain]
        self._check(chains, elements)
        self.chains, self.elements = chains, elements

    @staticmethod
    def _check(
        chains: dict[str, tuple[nft_rules.Rule, ...]], elements: dict[nft_rules.Element, nft_rules.Data]
    ) -> None:
        targets = {str(data[0]) for data in elements.values() if len(data) == 1}
        for rules in chains.values():
            targets |= {
                rule.chain
                for rule in rules
                if isinstance(rule, nft_rules.Goto | nft_rules.Allow | nft_rules.From | nft_rules.FromHere)
            }
        if missing := targets - chains.keys():
            raise Refused(f"leads to chains that are not there: {sorted(missing)}")

    def answer(self, source: str, protocol: str, address: str, port: int) -> interpret.Answer:
        """Where the first packet of a connection goes."""
        family = 6 if ":" in address else 4
        found = self.elements.get((f"services{family}", (address, protocol, port)))
        node_port = found is None and address in self.node.addresses
        if node_port:
            found = self.elements.get((f"nodeports{family}", (protocol, port)))
        if found is None:
            return self._unknown(family, address)
        verdict, endpoints = self._walk(str(found[0]), source)
        if verdict != "ENDPOINTS":
            return interpret.Answer(verdict)
        purpose = "masqueradeports" if node_port else "masquerade"
        key = (protocol, port) if node_port else (address, protocol, port)
        stranger = not self.node.is_pod(source) and (f"addresses{family}", (address,)) in self.elements
        masked = source in self.node.addresses or stranger or (f"{purpose}{family}", key) in self.elements
        return interpret.Answer("ENDPOINTS", endpoints, masked)

    def _unknown(self, family: int, address: str) -> interpret.Answer:
        if (f"addresses{family}", (address,)) in self.elements:
            return interpret.Answer("REJECT")
        drop = any(_within(address, network) for network in self.node.service_networks)
        return interpret.Answer("DROP" if drop else "PASS")

    def _walk(self, chain: str, source: str) -> tuple[_Verdict, tuple[table.Endpoint, ...]]:  # type: ignore[type-arg,unused-ignore]
        for rule in self.chains[chain]:
            match rule:
                case nft_rules.Goto():
                    return self._walk(rule.chain, source)
                case nft_rules.FromHere():
                    if source in self.node.addresses or any(_within(source, one) for one in rule.networks):
                        return self._walk(rule.chain, source)
                case nft_rules.From():
                    if any(_within(source, one) for one in rule.networks):
                        return self._walk(rule.chain, source)
                case nft_rules.Allow():
                    allowed = any(_within(source, one) for one in rule.networks)
                    return self._walk(rule.chain, source) if allowed else ("DROP", ())
                case nft_rules.Drop():
                    return "DROP", ()
                case nft_rules.Refuse():
                    return "REJECT", ()
                case nft_rules.Redirect():
                    return "ENDPOINTS", (table.Endpoint(address=rule.address, port=rule.port),)
                case nft_rules.Spread():
                    return "ENDPOINTS", tuple(self._slot(rule, index) for index in range(rule.count))
        return "PASS", ()

    def _slot(self, rule: nft_rules.Spread, index: int) -> table.Endpoint:
        address, port = self.elements[(nft_rules.endpoints_map(rule.family, rule.base), (rule.base + index,))]
        return table.Endpoint(address=str(address), port=int(port))


def _within(address: str, network: str) -> bool:
    one, of = ipaddress.ip_address(address), ipaddress.ip_network(network, strict=False)
    return one.version == of.version and one in of
