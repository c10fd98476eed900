"""A local model hub: the part of the HTTP API that huggingface_hub uses to download models."""

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit

from loopback_server import serve_loopback

MIB = 1 << 20


def commit_of(repo: str, revision: str) -> str:
    return hashlib.sha1(f"{repo}@{revision}".encode()).hexdigest()


@dataclass
class RecordedRequest:
    method: str
    path: str
    token: str | None
    range: str | None


@dataclass
class Hub:
    """repos: (repo, revision) -> files. Large files are served by another host, as on the hub.

    gated: repos that need this token. cut: bytes of a large file after which the first response is interrupted.
    stall: the same, but the response waits for `go_on`. spoilt: files whose contents arrive corrupted.
    """

    repos: dict[tuple[str, str], dict[str, bytes]]
    gated: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    stall: int | None = None
    corrupted: set[str] = field(default_factory=set)
    sizes: dict[str, int] = field(default_factory=dict)
    asked: list[RecordedRequest] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fetched(self, name: str) -> list[RecordedRequest]:
        """Return the requests for the contents of files."""
        contents = [hashlib.sha256(files[name]).hexdigest() for files in self.repos.values() if name in files]
        ends = tuple(f"/large/{digest}" for digest in contents) if is_large(name) else f"/{name}"
        return [one for one in self.asked if one.method == "GET" and one.path.endswith(ends)]


@contextlib.contextmanager
def serve_hub(repos: dict[tuple[str, str], dict[str, bytes]], **how: Any) -> Iterator[Hub]:
    hub = Hub(repos, **how)

    with serve_loopback(type("Handler", (_Handler,), {"hub": hub})) as hub.port:
        try:
            yield hub
        finally:
            hub.go_on.set()


def is_large(name: str) -> bool:
    return name.endswith((".safetensors", ".bin", ".gguf"))


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        token = self.headers.get("Authorization")
        self.hub.asked.append(RecordedRequest(self.command, path, token, self.headers.get("Range")))
        parts = path.strip("/").split("/")
        if parts[0] == "large":
            self._large(parts[1])
        elif parts[:2] == ["api", "models"]:
            self._info("/".join(parts[2:4]), "/".join(parts[5:]))
        elif parts[2:3] != ["resolve"]:
            self._answer(404)
        else:
            self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]), token)

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _files(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        known = [key for key in self.hub.repos if key[0] == repo]
        for key in known:
            if revision in (key[1], commit_of(*key)):
                commit = key[1] if len(key[1]) == 40 else commit_of(*key)
                return commit, self.hub.repos[key]
        self._answer(404, X_Error_Code="RevisionNotFound" if known else "RepoNotFound")
        return None

    def _info(self, repo: str, revision: str) -> None:
        found = self._files(repo, revision)
        if found is None:
            return
        siblings = []
        for name, content in found[1].items():
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            file: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": blob}
            if is_large(name):
                digest = hashlib.sha256(content).hexdigest()
                file["lfs"] = {"sha256": digest, "size": self.hub.sizes.get(name, len(content)), "pointerSize": 130}
            siblings.append(file)
        answer = {"id": repo, "modelId": repo, "sha": found[0], "private": False, "tags": [], "siblings": siblings}
        self._answer(200, json.dumps(answer).encode(), Content_Type="application/json")

    def _resolve(self, repo: str, revision: str, name: str, token: str | None) -> None:
        found = self._files(repo, revision)
        if found is None:
            return
        commit, files = found
        if repo in self.hub.gated and token != f"Bearer {self.hub.gated[repo]}":
            self._answer(401, X_Error_Code="GatedRepo", X_Repo_Commit=commit)
        elif name not in files:
            self._answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        elif is_large(name):
            digest = hashlib.sha256(files[name]).hexdigest()
            self._answer(
                302,
                X_Repo_Commit=commit,
                X_Linked_Etag=f'"{digest}"',
                X_Linked_Size=str(len(files[name])),
                Location=f"http://localhost:{self.hub.port}/large/{digest}",
            )
        else:
            blob = hashlib.sha1(b"blob %d\0" % len(files[name]) + files[name]).hexdigest()
            self._answer(200, files[name], X_Repo_Commit=commit, ETag=f'"{blob}"')

    def _large(self, digest: str) -> None:
        name, content = next(
            (name, content)
            for files in self.hub.repos.values()
            for name, content in files.items()
            if hashlib.sha256(content).hexdigest() == digest
        )
        if name in self.hub.corrupted:
            content = b"\xff" + content[1:]
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        ends = self.hub.cut if self.hub.cut is not None else self.hub.stall
        if ends is not None and ends >= len(content):  # a smaller file comes whole
            ends = None
        with contextlib.suppress(OSError):
            self.wfile.write(content[start:ends])
            self.wfile.flush()
            if ends is not None and self.hub.stall is not None:
                self.hub.go_on.wait(30)
        if ends is not None:
            self.hub.cut = self.hub.stall = None
            self.close_connection = True
