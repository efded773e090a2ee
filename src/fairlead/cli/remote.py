"""Speaks to a running cluster from the shell, by its kubeconfig: a Client, or raw answers for logs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator

from fairlead.cli import failure
from fairlead.client import errors, exchange, https, kubeconfig, protocol
from fairlead.cluster import state


def running(name: str) -> state.StateFolder:
    """The state of that cluster. Raises Failure with what to do if it does not run."""
    folder = state.StateFolder.of(name)
    if not folder.holder():
        raise failure.Failure(f"cluster {name!r} does not run; start it with: fairlead up -d")
    return folder


def inside(name: str) -> state.Record:
    """Takes this process to where the cluster's own addresses are, which in rootless mode is not the machine's network.
    Call it before there are threads. Raises Failure."""
    folder = running(name)
    record = folder.read()
    if record.network == "rootless":
        from fairlead.cluster import rootless

        try:
            rootless.visit(folder)
        except rootless.CannotEnter as error:
            raise failure.Failure(f"cluster {name!r}: {error}") from None
    return record


@contextlib.asynccontextmanager
async def connect(name: str) -> AsyncIterator[tuple[protocol.Client, https.HttpsExchange]]:
    """A Client of the cluster of that name, and the Exchange under it. Refusals become Failures."""
    client, send = https.client(kubeconfig.load(running(name).kubeconfig))
    try:
        yield client, send
    except errors.ApiError as error:
        raise failure.Failure(str(error)) from None
    finally:
        await send.close()


async def lines(send: https.HttpsExchange, path: str, query: dict[str, str]) -> AsyncIterator[str]:
    """The lines of a text answer that may go on for ever. Raises ApiError."""
    answer = await send(exchange.Request("GET", path, tuple(query.items())))
    if answer.status >= 400:
        raise errors.ApiError(_status(answer))
    rest = b""
    try:
        async for chunk in answer.stream if answer.stream is not None else _once(answer.body):
            *whole, rest = (rest + chunk).split(b"\n")
            for text in whole:
                yield text.decode(errors="replace")
        if rest:
            yield rest.decode(errors="replace")
    finally:
        await answer.close()


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


def _status(answer: exchange.Response) -> dict[str, object]:
    try:
        found = json.loads(answer.body)
        return found if isinstance(found, dict) else {}
    except ValueError:
        return {"code": answer.status, "message": f"the API server answered {answer.status}"}
