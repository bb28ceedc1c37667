"""A read replica's endpoint: the same server, through a door that makes every session read-only.

It shows what matters to a client of a replica, that writing fails. It shows no lag, and a session that
insists (`SET default_transaction_read_only = off`) is let through.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading

_SSL_REQUEST, _GSS_REQUEST, _CANCEL_REQUEST = 80877103, 80877104, 80877102
_READ_ONLY = b"-c default_transaction_read_only=on"


class ReadOnlyDoor:
    """Listens on a port of its own and passes sessions on to the server."""

    def __init__(self, host: str, port: int) -> None:
        target = (host, port)

        class Session(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError, EOFError):
                    _pass_on(self.request, target)

        class Door(socketserver.ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False

        self._server = Door((host, 0), Session)
        self.host, self.port = host, int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _pass_on(client: socket.socket, target: tuple[str, int]) -> None:
    message = _first_message(client)
    while struct.unpack("!I", message[:4])[0] in (_SSL_REQUEST, _GSS_REQUEST):
        client.sendall(b"N")  # no encryption here
        message = _first_message(client)
    if struct.unpack("!I", message[:4])[0] != _CANCEL_REQUEST:
        message = read_only(message)
    with socket.create_connection(target) as server:
        server.sendall(struct.pack("!I", len(message) + 4) + message)
        back = threading.Thread(target=_copy, args=(server, client), daemon=True)
        back.start()
        _copy(client, server)
        back.join()


def _first_message(client: socket.socket) -> bytes:
    (length,) = struct.unpack("!I", _exactly(client, 4))
    return _exactly(client, length - 4)


def _exactly(client: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length:
        part = client.recv(length - len(found))
        if not part:
            raise EOFError
        found += part
    return found


def read_only(startup: bytes) -> bytes:
    """A startup message (without its length) with the option that makes the session read-only."""
    version, fields = startup[:4], startup[4:].rstrip(b"\0").split(b"\0")
    settings = dict(zip(fields[::2], [*fields[1::2], b""], strict=False))
    settings[b"options"] = b" ".join(filter(None, (settings.get(b"options"), _READ_ONLY)))
    body = b"".join(key + b"\0" + value + b"\0" for key, value in settings.items())
    return version + body + b"\0"


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
