"""A piece of the outside world: a DNS server and an HTTP server at one address, in namespaces of their own.

outside.py ADDRESS NAME=ADDRESS…: prints "ready" once both answer; HTTP, at port 8080, tells the Host it was asked for.
"""

import http.server
import socket
import struct
import subprocess
import sys
import threading

HERE, *NAMES = sys.argv[1:]
ADDRESSES = {name.encode(): socket.inet_aton(address) for name, _, address in (one.partition("=") for one in NAMES)}


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = f"{self.headers['Host']} {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def answer(query):
    """A records of the names that are known; NXDOMAIN of others, and no records of other types."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]])
        at += 1 + query[at]
    kind = struct.unpack("!H", query[at + 1 : at + 3])[0]
    address = ADDRESSES.get(b".".join(labels).lower())
    found = kind == 1 and address is not None
    flags = 0x8180 if address is not None else 0x8183
    head = query[:2] + struct.pack("!HHHHH", flags, 1, int(found), 0, 0)
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 5, 4) + address if found else b""
    return head + query[12 : at + 5] + record


def serve_names(door):
    while True:
        query, whence = door.recvfrom(4096)
        door.sendto(answer(query), whence)


subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["ip", "address", "add", f"{HERE}/32", "dev", "lo"], check=True)
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind((HERE, 53))
threading.Thread(target=serve_names, args=(names,), daemon=True).start()
server = http.server.ThreadingHTTPServer((HERE, 8080), Answers)
print("ready", flush=True)
server.serve_forever()
