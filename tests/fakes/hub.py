"""A hub on the loopback that says what the real one says to huggingface_hub, and can be told to misbehave."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, unquote

COMMIT = "c0ffee" * 6 + "c0ff"
LARGE = (".bin", ".jsonl", ".model")  # what git keeps beside itself


@dataclass
class FakeHub:
    """files: path -> bytes. The rest is misbehaviour: what is missing though listed, other sizes and digests than
    the files have, and after how many bytes each next download of a path is cut (None: not).
    """

    repo: str
    files: dict[str, bytes]
    missing: set[str] = field(default_factory=set)
    sizes: dict[str, int] = field(default_factory=dict)
    sha256s: dict[str, str] = field(default_factory=dict)
    cuts: dict[str, list[int | None]] = field(default_factory=dict)
    ranges_work: bool = True
    status: int = 0
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path, range
    endpoint: str = ""

    def downloads(self) -> list[str]:
        """The files that were sent, or begun to be."""
        return [path for method, path, _ in self.asked if method == "GET"]

    def forget(self) -> None:
        self.asked.clear()

    def info(self, path: str) -> dict[str, object]:
        data = self.files[path]
        size, oid = self.sizes.get(path, len(data)), hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        row: dict[str, object] = {"type": "file", "path": path, "size": size, "oid": oid}
        if path.endswith(LARGE):
            sha256 = self.sha256s.get(path, hashlib.sha256(data).hexdigest())
            row["lfs"] = {"oid": sha256, "size": size, "pointerSize": 130}
        return row

    @contextlib.contextmanager
    def serving(self) -> Iterator[FakeHub]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        server.daemon_threads = True
        thread = Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True)
        thread.start()
        self.endpoint = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # the body follows the head in a packet of its own

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if not self.path.startswith(f"/api/datasets/{self.hub.repo}/paths-info/"):
            return self._say(404, {"X-Error-Code": "RepoNotFound"})
        found = [p for p in form["paths"] if p in self.hub.files and p not in self.hub.missing]
        self.hub.asked.append(("POST", "paths-info", None))
        return self._say(200, {}, json.dumps([self.hub.info(path) for path in found]).encode())

    def do_GET(self) -> None:
        hub, path = self.hub, unquote(self.path)
        if hub.status:
            return self._say(hub.status, {})
        start = f"/datasets/{hub.repo}/resolve/"
        if path.startswith("/cdn/"):
            return self._send(path.removeprefix("/cdn/"), {})
        if not path.startswith(start):
            return self._say(404, {"X-Error-Code": "RepoNotFound"})
        revision, _, name = path.removeprefix(start).partition("/")
        if revision not in ("main", COMMIT):
            return self._say(404, {"X-Error-Code": "RevisionNotFound"})
        if name not in hub.files or name in hub.missing:
            return self._say(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        info = hub.info(name)
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{info["oid"]}"'}
        if "lfs" in info and self.command == "GET":
            return self._say(302, headers | {"Location": f"{hub.endpoint}/cdn/{name}"})
        return self._send(name, headers)

    def _send(self, name: str, headers: dict[str, str]) -> None:
        """The bytes, from where a Range says; cut short where the hub was told to."""
        hub, data, asked = self.hub, self.hub.files[name], self.headers.get("Range")
        hub.asked.append((self.command, name, asked))
        status, rest = 200, data
        if asked and hub.ranges_work:
            first = int(asked.removeprefix("bytes=").removesuffix("-"))
            status, rest = 206, data[first:]
            headers |= {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"}
        cuts = hub.cuts.get(name, [])
        cut = cuts.pop(0) if cuts and self.command == "GET" else None
        self._say(status, headers, rest, cut)

    def _say(self, status: int, headers: dict[str, str], body: bytes = b"", cut: int | None = None) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)
