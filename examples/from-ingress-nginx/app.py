"""A shop that tells what it was asked: pod, release, path and headers as they came; /ws is a WebSocket echo."""

import base64
import hashlib
import json
import os
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = os.environ.get("HOSTNAME") or socket.gethostname()
RELEASE = os.environ.get("RELEASE", "main")
MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self.echo()
            return
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        told = {"pod": NAME, "release": RELEASE, "path": self.path, "headers": headers}
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_GET

    def echo(self) -> None:
        key = self.headers["Sec-WebSocket-Key"] + MAGIC
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        while (head := self.rfile.read(2)) and head[0] & 15 != 8:
            size, mask = head[1] & 127, self.rfile.read(4)  # messages of this example are short
            text = bytes(byte ^ mask[i % 4] for i, byte in enumerate(self.rfile.read(size)))
            said = f"{NAME}: ".encode() + text
            self.wfile.write(bytes([0x81, len(said)]) + said)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 256


with Server((os.environ.get("HOST", "0.0.0.0"), int(os.environ.get("PORT", "8080"))), App) as server:
    server.serve_forever()
