"""`h2`: HTTP/2 over TLS from clients (16 connections of 10 streams, h2load), HTTP/1.1 to the backends; CPU per
request."""

from __future__ import annotations

from bench import candidates, h2load, lab, load, report, secure

SUMMARY = "HTTP/2 over TLS: CPU per request against the peers"


async def run(lab_: lab.Lab) -> report.Report:
    """Several rounds in turn."""
    backend = await load.backend(lab_, load.BackendSpec(servers=4))
    job = candidates.Job(backends=backend.addresses, certificate=h2load.certificate(lab_), h2=True)
    return await secure.compare(lab_, "h2", job, lambda address, seconds: h2load.Spec(address=address, seconds=seconds))
