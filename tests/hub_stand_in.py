"""A stand-in for the Hugging Face Hub: what huggingface_hub asks of it to make, fill and read a model repository.

Files go in as they do there: the client asks which are large (`preupload`), sends those one by one (`lfs`), and names
all of them in one commit. They come out through `resolve`, the large ones by a redirection to another host.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

TOKEN = "hf_test"


@dataclass
class Repository:
    private: bool
    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{}])  # the first has no files

    def revision(self, name: str) -> tuple[str, dict[str, bytes]] | None:
        numbers = {f"{i:040x}": i for i in range(len(self.commits))} | {"main": len(self.commits) - 1}
        return (f"{numbers[name]:040x}", self.commits[numbers[name]]) if name in numbers else None


class Hub(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.storage = f"http://localhost:{self.server_port}/lfs"
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.requests: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_) -> None:
        pass

    def answer(self, status: int, body: bytes | dict = b"", **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status: int, code: str) -> None:
        self.answer(status, {"error": code}, X_Error_Code=code)

    def handle_any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self.rfile.read(length)
        path = self.path.partition("?")[0]
        self.server.requests.append(f"{self.command} {path}")
        for method, pattern, handler in ROUTES:
            if method == self.command.replace("HEAD", "GET") and (found := re.fullmatch(pattern, path)):
                handler(self, data, *found.groups())
                return
        self.answer(501, f"{self.command} {path} is not part of the stand-in".encode())

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    @property
    def known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def repository(self, name: str) -> Repository | None:
        found = self.server.repositories.get(name)
        if found is None or (found.private and not self.known):
            self.refuse(404 if self.known else 401, "RepoNotFound")
            return None
        return found

    # --- what can be asked

    def create(self, data: bytes) -> None:
        wanted = json.loads(data)
        name = f"{wanted['organization']}/{wanted['name']}"
        if not self.known:
            self.answer(401, {"error": "Invalid username or password."})
        elif wanted["organization"] != "user":
            self.answer(403, {"error": "You don't have the rights to create a model under this namespace"})
        elif name in self.server.repositories:
            self.answer(409, {"error": "You already created this model repo", "url": f"{self.server.address}/{name}"})
        else:
            private = wanted.get("visibility") == "private" or wanted.get("private") is True
            self.server.repositories[name] = Repository(private)
            self.answer(200, {"url": f"{self.server.address}/{name}", "name": name})

    def info(self, data: bytes, name: str) -> None:
        if repository := self.repository(name):
            sha, files = repository.revision("main")
            siblings = [{"rfilename": file} for file in files]
            self.answer(200, {"id": name, "private": repository.private, "sha": sha, "siblings": siblings})

    def validate_card(self, data: bytes) -> None:
        fields = yaml.safe_load(json.loads(data)["content"].split("---\n")[1])
        wrong = fields.get("license", "other") not in ("apache-2.0", "cc-by-4.0", "other")
        wrong |= fields["pipeline_tag"] != "unconditional-image-generation"
        self.answer(
            400 if wrong else 200, {"errors": [{"message": '"license" is unknown'}] if wrong else [], "warnings": []}
        )

    def preupload(self, data: bytes, name: str) -> None:
        if self.repository(name):
            paths = [file["path"] for file in json.loads(data)["files"]]
            modes = {path: "lfs" if path.endswith((".safetensors", ".png")) else "regular" for path in paths}
            files = [{"path": path, "uploadMode": modes[path], "shouldIgnore": False} for path in paths]
            self.answer(200, {"files": files})

    def offer(self, data: bytes, name: str) -> None:
        """The git-lfs batch: which of the large files are wanted, and where to send them."""
        objects = json.loads(data)["objects"]
        for each in objects:
            if each["oid"] not in self.server.large:
                each["actions"] = {"upload": {"href": f"{self.server.storage}/{each['oid']}"}}
        self.answer(200, {"transfer": "basic", "objects": objects})

    def receive(self, data: bytes, oid: str) -> None:
        right = hashlib.sha256(data).hexdigest() == oid
        if right:
            self.server.large[oid] = data
        self.answer(200 if right else 400)

    def commit(self, data: bytes, name: str) -> None:
        if not self.known:
            self.answer(401)
        elif repository := self.repository(name):
            files = dict(repository.commits[-1])
            for line in map(json.loads, data.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = self.server.large[value["oid"]]
            repository.commits.append(files)
            sha, _ = repository.revision("main")
            url = f"{self.server.address}/{name}/commit/{sha}"
            self.answer(200, {"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})

    def resolve(self, data: bytes, name: str, revision: str, file: str) -> None:
        repository = self.repository(name)
        if repository is None:
            return
        found = repository.revision(revision)
        if found is None:
            self.refuse(404, "RevisionNotFound")
            return
        sha, files = found
        if file not in files:
            self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
            return
        oid = hashlib.sha256(files[file]).hexdigest()
        if oid in self.server.large:
            size = str(len(files[file]))
            where = f"{self.server.storage}/{oid}"
            self.answer(302, X_Repo_Commit=sha, X_Linked_Etag=f'"{oid}"', X_Linked_Size=size, Location=where)
        else:
            self.answer(200, files[file], X_Repo_Commit=sha, ETag=f'"{oid}"')

    def send_large(self, data: bytes, oid: str) -> None:
        self.answer(200, self.server.large[oid])


NAME = r"([\w.-]+/[\w.-]+)"
ROUTES = [
    ("POST", "/api/repos/create", Handler.create),
    ("GET", f"/api/models/{NAME}", Handler.info),
    ("POST", "/api/validate-yaml", Handler.validate_card),
    ("POST", f"/api/models/{NAME}/preupload/main", Handler.preupload),
    ("POST", f"/{NAME}.git/info/lfs/objects/batch", Handler.offer),
    ("PUT", "/lfs/(.*)", Handler.receive),
    ("GET", "/lfs/(.*)", Handler.send_large),
    ("POST", f"/api/models/{NAME}/commit/main", Handler.commit),
    ("GET", f"/{NAME}/resolve/([^/]+)/(.*)", Handler.resolve),
]


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub that answers at `address` for as long as the block lasts."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
