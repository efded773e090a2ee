"""`fairlead curl URL…`: the curl of this machine, with the names and ports of the cluster's Services.

    fairlead curl http://my-app-service/             fairlead curl -n shop -i https://checkout.shop:8443/health

Names are resolved by the cluster's DNS; what is not its own goes where it always went. In loopback mode a port that may
not be bound is carried at port + 8000, and so reached there. All other arguments are curl's, its exit code is ours.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import urllib.parse

import click
import dns.rdatatype

from fairlead.cli import addresses, failure, options, remote, resolve
from fairlead.cluster import state
from fairlead.routing import settings

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


@click.command("curl", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@options.name
@click.option("-n", "--namespace", default="default", show_default=True, help="Whose search path is used.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="CURL-ARGUMENTS URL")
def command(name: str, namespace: str, arguments: tuple[str, ...]) -> None:
    """Run curl with the names of the cluster's Services."""
    program = shutil.which("curl")
    if program is None:
        raise failure.Failure("curl is not installed; `fairlead resolve NAME` tells the address")
    record = remote.inside(name)
    words = asyncio.run(connections(record, namespace, arguments))
    os.execv(program, [program, *words, *arguments])  # noqa: S606  curl itself, and no shell


async def connections(record: state.Record, namespace: str, arguments: tuple[str, ...]) -> list[str]:
    """curl's `--connect-to` for each URL among the arguments whose host the cluster knows. Raises Failure."""
    words = []
    for text in arguments:
        url = urllib.parse.urlsplit(text)
        if url.scheme not in _PORTS or not url.hostname:
            continue
        own = [one for one in resolve.candidates(url.hostname, namespace) if one.rstrip(".").endswith(resolve.DOMAIN)]
        answers = await resolve.first_answer(resolve.door(record), own, ("A", "AAAA"))
        found = [str(one) for rrset in answers for one in rrset if rrset.rdtype != dns.rdatatype.CNAME]
        if found:
            port = url.port or _PORTS[url.scheme]
            host = settings.bracketed(found[0])
            words += ["--connect-to", f"{url.hostname}:{port}:{host}:{addresses.carried_port(record, port)}"]
    return words
