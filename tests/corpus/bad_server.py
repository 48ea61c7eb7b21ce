"""A web server on this machine that misbehaves as told, one trick a request, and writes down what it was asked."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What the server holds (path -> bytes), and its tricks: the n-th request gets the n-th, later ones none."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    tricks: list[str] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    seen_headers: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def serve() -> Iterator[Site]:
    """Starts it on a free port of 127.0.0.1 and stops it at the end."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            site.ranges.append(self.headers.get("Range"))
            site.seen_headers.append(dict(self.headers))
            name, _, value = (site.tricks.pop(0) if site.tricks else "").partition("=")
            if name == "status":
                return self.answer(int(value), b"sorry")
            if name == "redirect":
                self.send_response(302)
                self.send_header("Location", value.replace("SITE", site.url))
                self.send_header("Content-Length", "0")
                return self.end_headers()
            if self.path not in site.files:
                return self.answer(404, b"not here")
            self.serve_file(site.files[self.path], name, value)

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def serve_file(self, data: bytes, trick: str, value: str) -> None:
            self.close_connection = True
            start = 0
            asked = self.headers.get("Range")
            if asked is not None and trick != "ignore-range":
                start = int(asked.removeprefix("bytes=").rstrip("-"))
                if start >= len(data):
                    return self.answer(416, b"")
            body = data[start:]
            if trick == "flip":
                body = body[:-1] + bytes([body[-1] ^ 1])
            length = len(body) + {"too-long": 100, "too-short": -100}.get(trick, 0)
            self.send_response(206 if start else 200)
            if start:
                shown = start + 7 if trick == "wrong-start" else start
                self.send_header("Content-Range", f"bytes {shown}-{len(data) - 1}/{len(data) + length - len(body)}")
            if trick in ("chunked", "chunked-cut"):
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for at in range(0, len(body), 1000):
                    if trick == "chunked-cut" and at >= int(value):
                        return
                    piece = body[at : at + 1000]
                    self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                self.wfile.write(b"0\r\n\r\n")
                return
            if trick not in ("no-length", "no-length-cut"):
                self.send_header("Content-Length", str(int(value) if trick == "length" else length))
            self.end_headers()
            if trick in ("cut", "no-length-cut"):
                body = body[: int(value)]
            if trick == "drip":
                for byte in body:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(0.02)
                return
            self.wfile.write(body[: int(value)] if trick == "stall" else body)
            self.wfile.flush()
            if trick == "stall":
                time.sleep(1.0)

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # the client hung up, as some tests want

    server = Quiet(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
