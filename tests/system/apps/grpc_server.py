"""A gRPC server for proofs, without generated code: `proof.Name/Say` answers its pod's name; health is SERVING."""

import os
import signal
import socket
import time
from concurrent import futures

import grpc

NAME = os.environ.get("NAME") or socket.gethostname()


def say(request: bytes, context: grpc.ServicerContext) -> bytes:
    """The request is how many milliseconds the call takes."""
    time.sleep(int(request or b"0") / 1000)
    return NAME.encode()


def check(request: bytes, context: grpc.ServicerContext) -> bytes:
    return b"\x08\x01"  # HealthCheckResponse{status: SERVING}


def methods(name: str, **functions) -> grpc.GenericRpcHandler:
    handlers = {method: grpc.unary_unary_rpc_method_handler(function) for method, function in functions.items()}
    return grpc.method_handlers_generic_handler(name, handlers)


server = grpc.server(futures.ThreadPoolExecutor(64))
server.add_generic_rpc_handlers((methods("proof.Name", Say=say), methods("grpc.health.v1.Health", Check=check)))
server.add_insecure_port(f"{os.environ.get('HOST') or '0.0.0.0'}:{os.environ.get('PORT', '50051')}")
server.start()
signal.signal(signal.SIGTERM, lambda *_: server.stop(5))
server.wait_for_termination()
