"""A real HTTP server on 127.0.0.1 whose answers can be made to go wrong, path by path, and which remembers them."""

from __future__ import annotations

import hashlib
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Answer:
    """How one request is answered; as it stands: the file, with Range and ETag, as a good server does."""

    status: int | None = None  # this one and an empty body
    body: bytes | None = None  # in place of the file
    kind: str = "application/octet-stream"
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None  # close the connection after so many bytes of the body
    stall: float = 0.0  # before closing it, say nothing for so many seconds
    flip: bool = False  # change the first byte
    ranges: bool = True  # whether Range is understood
    etag: bool = True
    length: bool = True  # whether Content-Length is told


@dataclass(frozen=True)
class Seen:
    path: str
    status: int
    range: str | None
    if_range: str | None


class Server(ThreadingHTTPServer):
    """Serves the files of `folder`; `plan[path]` are the next answers, after which comes `always[path]`."""

    daemon_threads = False  # closing waits for the handlers: nothing is left open

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.plan: dict[str, list[Answer]] = {}
        self.always: dict[str, Answer] = {}
        self.seen: list[Seen] = []
        self.over = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def ranges(self, path: str) -> list[str | None]:
        return [seen.range for seen in self.seen if seen.path == path]

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # clients may leave when they have seen enough
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        path = self.path.removeprefix("/")
        planned = self.server.plan.get(path)
        answer = planned.pop(0) if planned else self.server.always.get(path, Answer())
        file = self.server.folder / path
        content = answer.body if answer.body is not None else file.read_bytes() if file.is_file() else None
        status = answer.status or (404 if content is None else 200)
        whole = content if status == 200 and content is not None else b""
        etag, begin = f'"{hashlib.md5(whole).hexdigest()}"', 0
        if wanted := self._range(answer, etag):
            status, begin = (206, wanted) if wanted < len(whole) else (416, len(whole))
        self.server.seen.append(Seen(path, status, self.headers["Range"], self.headers["If-Range"]))
        self.send_response(status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Connection", "close")
        if answer.etag and status in (200, 206):
            self.send_header("ETag", etag)
        if answer.length:
            self.send_header("Content-Length", str(len(whole) - begin))
        if status == 206:
            self.send_header("Content-Range", f"bytes {begin}-{len(whole) - 1}/{len(whole)}")
        for key, value in answer.headers.items():
            self.send_header(key, value)
        self.end_headers()
        if answer.flip:
            whole = bytes([whole[0] ^ 1]) + whole[1:]
        self.wfile.write(whole[begin:][: answer.cut])
        self.wfile.flush()
        self.server.over.wait(answer.stall)
        self.close_connection = True

    def _range(self, answer: Answer, etag: str) -> int | None:
        found = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        right = self.headers["If-Range"] in (None, etag)
        return int(found[1]) if found and answer.ranges and right and answer.status is None else None

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server of the files in `folder`, in a thread, until the block ends."""
    server = Server(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
