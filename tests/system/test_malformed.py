"""Ambiguous and malformed requests, sent raw through the engine: no server behind it sees what the client did not send.

The table is tests/golden/malformed/requests.json. A row without `reaches` is refused with its answer and a close, and
what follows on the connection (`GET /smuggled`) is never read. The others say what a server has to understand, and that
the next request on the connection is understood as itself. After each row a request marks the place in the server's
log, so that a request too many is seen, whenever it comes.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fairlead.routing import table
from tests.system import http_servers, lone_engine

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(bool(lone_engine.missing()), reason=lone_engine.missing()),
    pytest.mark.skipif(bool(http_servers.missing()), reason=f"not installed: {http_servers.missing()}"),
]
ROWS = json.loads((Path(__file__).parents[1] / "golden/malformed/requests.json").read_text())
NEXT = b"GET /%s HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"


def raw(text: Any) -> bytes:
    """The bytes that a row stands for: a character is a byte, [text, n] is a text n times."""
    if isinstance(text, str):
        return text.encode("latin-1")
    if len(text) == 2 and isinstance(text[1], int):
        return raw(text[0]) * text[1]
    return b"".join(map(raw, text))


def talk(port: int, sent: bytes, ends: bool = False) -> bytes:
    """Sends all of it and reads until the end."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=15) as client:
        try:
            client.sendall(sent)
            if ends:
                client.shutdown(socket.SHUT_WR)
            while piece := client.recv(65536):
                answer += piece
        except (ConnectionResetError, BrokenPipeError):
            pass  # it was cut off after its answer
    return answer


def statuses(answer: bytes) -> list[int]:
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def play(port: int, row: dict[str, Any]) -> tuple[list[int], list[int]]:
    """The answers that a row gets, and those that it has to get."""
    if "reaches" not in row:
        return statuses(talk(port, raw(row["send"]) + NEXT % b"smuggled")), row["answers"]
    if row.get("broken"):
        return statuses(talk(port, raw(row["send"]), ends=True)), row["answers"]
    following = [] if row.get("closed") else [200]
    return statuses(talk(port, raw(row["send"]) + NEXT % b"after")), row["answers"] + following


def wanted(row: dict[str, Any]) -> list[str]:
    goes_on = "reaches" in row and not row.get("closed") and not row.get("broken")
    return [*row.get("reaches", []), *(["GET /after"] if goes_on else [])]


def understood(line: dict[str, Any]) -> str:
    """A server's line as the table writes it; what it may not say is said."""
    if "error" in line or not line["method"]:
        return f"malformed: {line}"
    odd = f" upgrade={line['upgrade']}" if line["upgrade"] else ""
    odd += "" if line["client"] == "127.0.0.1" else f" client={line['client']}"
    return f"{line['method']} {line['target']}{line['body'] and ' ' + line['body']}{odd}"


def seen_by_row(lines: list[dict[str, Any]]) -> list[list[str]]:
    """What a server has understood, cut at the marks."""
    rows: list[list[str]] = [[]]
    for line in lines:
        whole = line.get("status", 200) == 200 or not line.get("method")
        if line.get("target", "").startswith("/mark/"):
            rows.append([])
        elif "port" not in line and whole:
            rows[-1].append(understood(line))
    return rows


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fl-") as made:
        yield Path(made)


def judge(server: http_servers.Server, port: int) -> list[str]:
    """What is wrong, row by row, with that server behind the engine."""
    wrong = []
    for number, row in enumerate(ROWS):
        got, due = play(port, row)
        if got != due:
            wrong.append(f"{row['what']}: {server.name} behind it, answered {got}, not {due}")
        assert statuses(talk(port, NEXT % f"mark/{number}".encode())) == [200]
    for row, seen in zip(ROWS, seen_by_row(server.lines()), strict=False):
        if seen != wanted(row):
            wrong.append(f"{row['what']}: {server.name} saw {seen}, not {wanted(row)}")
    return wrong


@pytest.mark.timeout(300)
async def test_no_server_sees_a_request_that_the_client_did_not_send(folder: Path) -> None:
    with http_servers.all_started(folder) as servers:
        ports = lone_engine.free_ports(server.name for server in servers)
        parts = []
        for server in servers:
            door = f"tcp:127.0.0.1:{ports[server.name]}"
            listener = table.Listener(id=server.name, protocol="http", sockets=(door,))
            parts.append(lone_engine.one_to_one(listener, server.port))
        async with lone_engine.carrying(folder, parts):
            judged = [asyncio.to_thread(judge, server, ports[server.name]) for server in servers]
            wrong = [each for found in await asyncio.gather(*judged) for each in found]
    assert not wrong, "\n" + "\n".join(wrong)
