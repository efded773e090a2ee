"""A small web application: it answers with its pod's name.

/         the pod's name          /healthz  200, or 503 while unready
/burn     20 ms of CPU            /unready  turns unready    /ready  turns ready again
/slow     answers after ?ms=
"""

import os
import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = os.environ.get("HOSTNAME") or socket.gethostname()
READY = [True]


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        status = 200
        if path == "/burn":
            burn(0.02)
        elif path == "/slow":
            time.sleep(int(query.removeprefix("ms=") or 0) / 1000)
        elif path in ("/ready", "/unready"):
            READY[0] = path == "/ready"
        elif path == "/healthz" and not READY[0]:
            status = 503
        body = f"{NAME}\n".encode()
        head = f"HTTP/1.1 {status} {'OK' if status == 200 else 'Service Unavailable'}\r\n"
        head += f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)

    do_HEAD = do_POST = do_PUT = do_GET

    def log_message(self, format: str, *args: object) -> None:
        if self.path != "/healthz":
            print(self.command, self.path, flush=True)


address = (os.environ.get("HOST", "0.0.0.0"), int(os.environ.get("PORT", "8080")))


class Server(ThreadingHTTPServer):
    request_queue_size = 256
    address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET


with Server(address, App) as server:
    print(f"listening on {address[0]}:{address[1]}", flush=True)
    server.serve_forever()
