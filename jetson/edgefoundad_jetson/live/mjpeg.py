"""The live picture over HTTP, on loopback: a page, a stream, a still, the counts.

Python's own `http.server` and no framework: four paths that only read, for a few viewers on this
machine, and nothing on a device that has to be kept up to date. What it does not bring is here:
limits on viewers and connections, time-outs, and a guard against other sites' pages.
"""

from __future__ import annotations

import json
import math
import select
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from edgefoundad.errors import InputError
from edgefoundad_jetson.live.broadcast import Broadcast
from edgefoundad_jetson.live.page import page_of

LOOPBACK = "127.0.0.1"

MOST_VIEWERS = 8
_MOST_CONNECTIONS = 32

_TIMEOUT_SECONDS = 10.0
"""A connection that takes or gives nothing for so long is closed."""

_STILL_SECONDS = 2.0
"""How long a still waits for a frame to be judged."""

_LOOK_SECONDS = 0.25
"""How often a stream without pictures looks whether its viewer is still there."""

_SEND_BUFFER = 256 * 1024
"""About two pictures: more on their way to a slow viewer would only be older ones."""

_NAMES = frozenset({LOOPBACK, "localhost", "::1"})

Stats = Callable[[], dict[str, Any]]


class Server(ThreadingHTTPServer):
    """Serves one broadcast until it is closed; `port` is the one that it got."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def __init__(self, port: int, broadcast: Broadcast, *, name: str, stats: Stats) -> None:
        self.broadcast, self.stats = broadcast, stats
        self.page, self.policy = page_of(name)
        self.viewers = threading.BoundedSemaphore(MOST_VIEWERS)
        self._connections: set[socket.socket] = set()
        self._quiet = threading.Condition()
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or "expected a port from 0 to 65535"
            raise InputError(
                f"cannot serve the live picture on port {port}: {why}: choose another --preview, "
                "or 0 for any port that is free"
            ) from None
        self.port = int(self.server_address[1])
        self._thread = threading.Thread(
            target=self.serve_forever, args=(0.05,), name="preview", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Send everyone away and stop listening; takes less than half a second."""
        self.broadcast.close()
        self.shutdown()
        self.server_close()
        self._thread.join(timeout=1)
        with self._quiet:
            for connection in self._connections:
                _end(connection)
            self._quiet.wait_for(lambda: not self._connections, timeout=0.3)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a connection, if there are not too many."""
        with self._quiet:
            if len(self._connections) >= _MOST_CONNECTIONS:
                self.shutdown_request(request)
                return
            self._connections.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection on its own thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._quiet:
                self._connections.discard(request)
                self._quiet.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A viewer that went away or was too slow is no error: only its own connection ends."""


class _Handler(BaseHTTPRequestHandler):
    """One request; the connection ends with it."""

    server: Server
    timeout = _TIMEOUT_SECONDS
    server_version, sys_version = "edgefoundad", ""

    def do_GET(self) -> None:
        """Answer, if it is this machine's own user who asks."""
        path = urlsplit(self.path).path
        if not self._is_local():
            self._reply(403, "text/plain", b"open this page as localhost or 127.0.0.1\n")
        elif path != "/" and self.headers.get("Sec-Fetch-Site", "none") == "cross-site":
            self._reply(403, "text/plain", b"another site's page may not look here\n")
        elif path == "/":
            self._reply(200, "text/html; charset=utf-8", self.server.page)
        elif path == "/stream.mjpg":
            self._limited(self._stream)
        elif path == "/frame.jpg":
            self._limited(self._still)
        elif path == "/stats.json":
            self._counts()
        else:
            self._reply(404, "text/plain", b"there is /, /stream.mjpg, /frame.jpg, /stats.json\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Standard error belongs to the run."""

    def _is_local(self) -> bool:
        """Whether the name in the address is this machine's.

        A site whose name was made to point here (DNS rebinding) is refused; a port that was
        forwarded, as `ssh -L` does, is not.
        """
        try:
            return urlsplit(f"//{self.headers.get('Host', '')}").hostname in _NAMES
        except ValueError:
            return False

    def _limited(self, answer: Callable[[], None]) -> None:
        """Answer, if there are not too many viewers."""
        if not self.server.viewers.acquire(blocking=False):
            said = f"{MOST_VIEWERS} viewers are looking, and no more can: close one\n"
            self._reply(503, "text/plain", said.encode())
            return
        try:
            with self.server.broadcast.looking():
                answer()
        finally:
            self.server.viewers.release()

    def _stream(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self._head(200, "multipart/x-mixed-replace; boundary=frame")
        # The boundary comes after each part, not before the next: so it is shown at once.
        self.wfile.write(b"--frame\r\n")
        number, broadcast = 0, self.server.broadcast
        while not broadcast.closed:
            picture = broadcast.next(number, _LOOK_SECONDS)
            if picture is None:
                if _is_gone(self.connection):
                    return
                continue
            number, jpeg = picture
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg + b"\r\n--frame\r\n")

    def _still(self) -> None:
        picture = self.server.broadcast.next(0, _STILL_SECONDS)
        if picture is None:
            said = f"no frame was judged for {_STILL_SECONDS:g} s\n"
            self._reply(503, "text/plain", said.encode())
        else:
            self._reply(200, "image/jpeg", picture[1])

    def _counts(self) -> None:
        try:
            text = json.dumps(_strict(self.server.stats()), allow_nan=False)
        except Exception as error:
            # Whatever counts is wrong, the run goes on, and the viewer is told.
            self._reply(500, "text/plain", f"{type(error).__name__}: {error}\n".encode())
        else:
            self._reply(200, "application/json", text.encode())

    def _reply(self, status: int, kind: str, body: bytes) -> None:
        self._head(status, kind, len(body))
        self.wfile.write(body)

    def _head(self, status: int, kind: str, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", self.server.policy)
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Connection", "close")
        self.end_headers()


def _strict(value: Any) -> Any:
    """Strict JSON: a number that is none becomes null."""
    if isinstance(value, dict):
        return {str(key): _strict(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_gone(connection: socket.socket) -> bool:
    """Whether the other side has closed; nothing is expected of it."""
    watched = select.poll()
    try:
        # Hanging up alone is asked for, and not read: what it sent beside its request stays there.
        watched.register(connection, select.POLLRDHUP)
        return bool(watched.poll(0))
    except (OSError, ValueError):
        return True


def _end(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # It has ended by itself.
