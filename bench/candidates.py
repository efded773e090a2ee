"""What is measured: one interface for fairlead's engine and its peers, and what each is asked to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from bench import lab


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a load balancer is to do in a benchmark; each candidate translates it to its own configuration.

    `routes`: so many host names in all (route-0.test …), the load's own being `bench.test`. `least` is each one's own
    way of least connections or requests; `two` is the power of two choices, where it has it.
    """

    backends: tuple[str, ...]
    mode: Literal["http", "tcp"] = "http"
    algorithm: str = "round-robin"
    hash_on: str = ""
    large: bool = False  # answers are large: what a candidate can tune for that, it does
    routes: int = 1
    services: int = 1  # so many Backends in all, each with the same backends
    certificate: str = ""  # PEM file with chain and key: terminate TLS
    h2: bool = False  # HTTP/2 from clients
    h2_backend: bool = False  # HTTP/2 without TLS to backends


class Candidate(Protocol):
    """A load balancer that can be started."""

    name: str

    async def start(self, lab_: lab.Lab, job: Job) -> Running:
        """Starts it, pinned to the candidate's core, and returns when it serves. Raises `Missing`, `Unable`."""


class Running(Protocol):
    """One that serves at `address`."""

    address: str

    def pids(self) -> Sequence[int]:
        """Its processes; their descendants count, too."""

    async def change(self, job: Job) -> None:
        """Applies a changed job in its own way, without a restart; returns when the change is in effect or as near to
        it as the candidate can tell."""

    def stop(self) -> None:
        """Ends it."""


class Missing(Exception):
    """The candidate is not installed and could not be; the text says why."""


class Unable(Exception):
    """The candidate cannot do this job; the text says why."""
