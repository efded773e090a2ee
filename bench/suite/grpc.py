"""`grpc`: gRPC calls over HTTP/2 without TLS on both sides (16 connections of 10 streams, h2load; nghttpd answers with
`grpc-status` in the trailer); CPU per call."""

from __future__ import annotations

from bench import candidates, h2load, lab, report, secure

SUMMARY = "gRPC over HTTP/2 on both sides: CPU per call against the peers"


async def run(lab_: lab.Lab) -> report.Report:
    """Several rounds in turn."""
    backends = tuple([await h2load.grpc_backend(lab_) for _ in range(2)])
    body = lab_.path("grpc") / "message"
    body.write_bytes(b"\x00\x00\x00\x00\x20" + b"q" * 32)
    headers = ("content-type: application/grpc", "te: trailers")

    def spec(address: str, seconds: float) -> h2load.Spec:
        return h2load.Spec(
            address=address, seconds=seconds, tls=False, path="/bench.Echo/Say", headers=headers, body=body
        )

    job = candidates.Job(backends=backends, h2=True, h2_backend=True)
    return await secure.compare(lab_, "grpc", job, spec)
