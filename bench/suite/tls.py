"""`tls`: keep-alive HTTP/1.1 over TLS, 64 connections (h2load), P-256 certificate; CPU per request."""

from __future__ import annotations

from bench import candidates, h2load, lab, load, report, secure

SUMMARY = "HTTP/1.1 over TLS, keep-alive: CPU per request against the peers"


async def run(lab_: lab.Lab) -> report.Report:
    """Several rounds in turn."""
    backend = await load.backend(lab_, load.BackendSpec(servers=4))
    job = candidates.Job(backends=backend.addresses, certificate=h2load.certificate(lab_))
    return await secure.compare(
        lab_, "tls", job, lambda address, seconds: h2load.Spec(address=address, seconds=seconds, http1=True, clients=64)
    )
