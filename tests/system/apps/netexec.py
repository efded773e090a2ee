"""Answers its host's name over HTTP and UDP on the given ports: netexec.py http:8080 udp:8081 …, on [::] dual: HTTP and
dualudp: UDP."""

import http.server
import os
import socket
import sys
import threading

NAME = os.environ.get("HOSTNAME") or socket.gethostname()


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = NAME.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Path", self.path)
        self.send_header("X-Method", self.command)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_HEAD = do_GET

    def log_message(self, *_):
        pass


class Dual(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


def datagrams(port, family, host):
    with socket.socket(family, socket.SOCK_DGRAM) as answering:
        answering.bind((host, port))
        while True:
            _, client = answering.recvfrom(2048)
            answering.sendto(NAME.encode(), client)


for word in sys.argv[1:]:
    kind, _, port = word.partition(":")
    if kind == "http":
        server = http.server.ThreadingHTTPServer((os.environ.get("HOST", ""), int(port)), Answers)
        threading.Thread(target=server.serve_forever).start()
    elif kind == "dual":
        threading.Thread(target=Dual(("::", int(port)), Answers).serve_forever).start()
    elif kind == "dualudp":
        threading.Thread(target=datagrams, args=(int(port), socket.AF_INET6, "::")).start()
    else:
        threading.Thread(target=datagrams, args=(int(port), socket.AF_INET, os.environ.get("HOST", ""))).start()
