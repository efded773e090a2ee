"""Many watches of one collection, followed by one process that does little else: `python -m bench.watch_followers URL
CA NUMBER DUE`, the token in TOKEN.

It says `ready` when all watches are open, and after DUE events one JSON object: each new object's name -> when its
event arrived, by the monotonic clock, once for each watch. No event loop and no HTTP library stands between the socket
and the clock: with them the follower, not the server, would be measured.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import socket
import ssl
import sys
import time
import urllib.parse

SECONDS = 60.0
_NAME = re.compile(rb'"type":"ADDED","object":\{.*?"name":"(w[0-9a-f]+)"')


def opened(url: str, context: ssl.SSLContext) -> tuple[ssl.SSLSocket, bytes]:
    """A connection whose watch has begun, and what came after the headers."""
    parts = urllib.parse.urlsplit(url)
    plain = socket.create_connection((parts.hostname, parts.port), timeout=10)
    connection = context.wrap_socket(plain, server_hostname=parts.hostname)
    head = f"GET {parts.path}?{parts.query} HTTP/1.1\r\nhost: {parts.netloc}\r\naccept: application/json\r\n"
    connection.sendall(f"{head}authorization: Bearer {os.environ['TOKEN']}\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    if b" 200 " not in answer[:16]:
        raise RuntimeError(answer.decode())
    connection.setblocking(False)
    return connection, answer.partition(b"\r\n\r\n")[2]


def follow(connections: list[ssl.SSLSocket], due: int) -> list[list[tuple[float, bytes]]]:
    """What each connection brought and when, until that many events are there."""
    selector = selectors.EpollSelector()
    heard: list[list[tuple[float, bytes]]] = [[] for _ in connections]
    for connection, pieces in zip(connections, heard, strict=True):
        selector.register(connection, selectors.EVENT_READ, pieces)
    seen, end = 0, time.monotonic() + SECONDS
    while seen < due and time.monotonic() < end:
        for key, _ in selector.select(1.0):
            while True:
                try:
                    data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                except ssl.SSLWantReadError:
                    break
                if not data:
                    raise RuntimeError("the server has ended a watch")
                key.data.append((time.monotonic(), data))
                seen += data.count(b'"type":"ADDED"')
    return heard


def arrivals(pieces: list[tuple[float, bytes]]) -> list[tuple[str, float]]:
    """Each event's name and when its first bytes came."""
    whole = b"".join(data for _, data in pieces)
    found, at, end = [], 0, len(pieces[0][1]) if pieces else 0
    for match in _NAME.finditer(whole):
        while match.start() >= end:
            at += 1
            end += len(pieces[at][1])
        found.append((match[1].decode(), pieces[at][0]))
    return found


def main(url: str, ca: str, number: str, due: str) -> None:
    """Opens, follows, reports."""
    context = ssl.create_default_context(cafile=ca)
    connections = [opened(url, context)[0] for _ in range(int(number))]
    print("ready", flush=True)
    found: dict[str, list[float]] = {}
    for pieces in follow(connections, int(due)):
        for name, at in arrivals(pieces):
            found.setdefault(name, []).append(at)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
