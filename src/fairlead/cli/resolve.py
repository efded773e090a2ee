"""`fairlead resolve NAME`: asks the cluster's own DNS from this shell, with the search path that a pod has.

    fairlead resolve my-app-service                  fairlead resolve -n shop db-0.db
    fairlead resolve 10.96.7.9                       fairlead resolve fd00:10:244::5
    fairlead resolve -t SRV _http._tcp.my-app-service.default.svc.cluster.local

An address is asked for its name. Every answer is one line: name, seconds it may be kept, type, value. Exit 1: there is
no such name; the names that were tried are told. The cluster's DNS answers for the cluster domain and asks the
machine's own resolvers for the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import click
import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.reversename
import dns.rrset

from fairlead.cli import failure, options, remote
from fairlead.cluster import state

DOMAIN = "cluster.local"
LIMIT_SECONDS = 5.0
_ENOUGH_DOTS = 5  # `ndots` of a pod


@click.command("resolve")
@options.name
@click.option("-n", "--namespace", default="default", show_default=True, help="Whose search path is used.")
@click.option("-t", "--type", "types", multiple=True, help="Record types (A and AAAA; PTR of an address).")
@click.argument("what", metavar="NAME|ADDRESS")
def command(name: str, namespace: str, types: tuple[str, ...], what: str) -> None:
    """What the cluster's DNS answers for a name, or which name an address has."""
    server = door(remote.inside(name))
    reverse = reversed_name(what)
    types = types or (("PTR",) if reverse else ("A", "AAAA"))
    tried = [reverse] if reverse else list(candidates(what, namespace))
    answers = asyncio.run(first_answer(server, tried, types))
    if not answers:
        raise failure.Failure(f"{what}: no {' or '.join(types)} record; asked {server} for {', '.join(tried)}")
    for rrset in answers:
        for record in rrset:
            click.echo(f"{rrset.name} {rrset.ttl} {dns.rdatatype.to_text(rrset.rdtype)} {record}")


def door(record: state.Record) -> str:
    """ADDR:PORT of a running cluster's DNS. Raises Failure."""
    if not record.dns:
        raise failure.Failure("this cluster was started by an older fairlead; `fairlead down`, then `fairlead up -d`")
    return record.dns


def reversed_name(what: str) -> str:
    """The name below in-addr.arpa or ip6.arpa that stands for an address (in brackets or not); "" for what is none."""
    try:
        return dns.reversename.from_address(what.strip("[]")).to_text()
    except (dns.exception.SyntaxError, ValueError):
        return ""


def candidates(what: str, namespace: str) -> Iterator[str]:
    """The names that a pod's resolver would ask for, in its order."""
    if what.endswith("."):
        yield what
        return
    searched = [f"{what}.{tail}" for tail in (f"{namespace}.svc.{DOMAIN}", f"svc.{DOMAIN}", DOMAIN)]
    yield from [what, *searched] if what.count(".") >= _ENOUGH_DOTS else [*searched, what]


async def first_answer(server: str, names: list[str], types: tuple[str, ...]) -> list[dns.rrset.RRset]:
    """The records of the first name that has any. Raises Failure where the server does not answer or the question is
    none."""
    for name in names:
        found = [rrset for kind in types for rrset in await ask(server, name, kind)]
        if found:
            return [rrset for index, rrset in enumerate(found) if rrset not in found[:index]]  # both types' CNAME
    return []


async def ask(server: str, name: str, kind: str) -> list[dns.rrset.RRset]:
    """One question over UDP, over TCP where the answer is truncated. Raises Failure."""
    address, _, port = server.rpartition(":")
    try:
        question = dns.message.make_query(dns.name.from_text(name), kind.upper(), use_edns=True)
        answer, _ = await dns.asyncquery.udp_with_fallback(
            question, address.strip("[]"), timeout=LIMIT_SECONDS, port=int(port)
        )
    except (dns.exception.DNSException, OSError, ValueError) as error:
        raise failure.Failure(f"{name} {kind} at {server}: {error or type(error).__name__}") from None
    if answer.rcode() == dns.rcode.SERVFAIL and not name.rstrip(".").endswith(DOMAIN):
        return []  # the machine's own resolvers do not answer; a Service's name has nothing to do with them
    if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise failure.Failure(f"{name} {kind} at {server}: {dns.rcode.to_text(answer.rcode())}")
    return list(answer.answer)
