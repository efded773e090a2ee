"""An HTTP/1.1 server on h11 that writes each request that it has read whole as a line of JSON."""

import json
import socket
import sys
import threading

import h11


def serve(connection):
    """Serves one connection until it ends or breaks the rules."""
    state = h11.Connection(h11.SERVER)
    request, body, ended = None, b"", False
    with connection:
        while True:
            try:
                event = state.next_event()
            except h11.RemoteProtocolError as error:
                if not ended:  # an end in the middle of a request is no error of the request
                    tell({"error": str(error)})
                return
            if event is h11.NEED_DATA:
                piece = connection.recv(65536)
                ended = not piece
                state.receive_data(piece)
            elif isinstance(event, h11.Request):
                request, body = event, b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                answer(connection, state, request, body)
            else:
                return


def answer(connection, state, request, body):
    fields = {name.decode(): value.decode("latin-1") for name, value in request.headers}
    tell(
        {
            "method": request.method.decode(),
            "target": request.target.decode(),
            "body": body.decode("latin-1"),
            "upgrade": fields.get("upgrade", ""),
            "client": fields.get("x-forwarded-for", ""),
        }
    )
    head = h11.Response(status_code=200, headers=[("content-length", "4")])
    pieces = [state.send(head), state.send(h11.Data(data=b"seen")), state.send(h11.EndOfMessage())]
    connection.sendall(b"".join(filter(None, pieces)))
    if state.our_state is h11.DONE and state.their_state is h11.DONE:
        state.start_next_cycle()


def tell(line):
    with LOCK:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


LOCK = threading.Lock()

if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    tell({"port": listener.getsockname()[1]})
    while True:
        accepted, _ = listener.accept()
        threading.Thread(target=serve, args=(accepted,), daemon=True).start()
