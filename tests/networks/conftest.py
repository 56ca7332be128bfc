"""A stand-in of the Hub's HTTP API on the loopback: what push, pull and `datasets` ask of it, and no more."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

TOKEN = "hf_of_this_test"
Answer = tuple[int, object, dict[str, str]]  # status, body, headers
LARGE = (".safetensors", ".onnx", ".pt2", ".png")  # which git lfs holds


class Hub:
    """Repositories in memory: `files` of each by path, `private` ones, sizes and hashes as git lfs has them."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.objects: dict[str, bytes] = {}
        self.large: set[str] = set()  # paths that came by git lfs
        self.asked: list[str] = []
        self.commits = 0
        self.fails: dict[str, int] = {}  # status for paths that begin so
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                hub.answer(self)

            do_HEAD = do_POST = do_PUT = do_GET

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def sha(self) -> str:
        return f"{self.commits:040x}"

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(to.path).path)
        self.asked.append(f"{to.command} {path}")
        body = to.rfile.read(int(to.headers.get("Content-Length") or 0))
        allowed = to.headers.get("Authorization") == f"Bearer {TOKEN}"
        status = next((code for start, code in self.fails.items() if path.startswith(start)), 0)
        answer: object = {"error": f"status {status}"}
        headers: dict[str, str] = {}
        if not status:
            asked = re.sub("^/(api/)?datasets/", lambda at: "/api/models/" if at[1] else "/", path)
            flat = "recursive=true" in urlsplit(to.path).query.lower()
            status, answer, headers = self.say(to.command, asked, body, allowed, flat)
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        to.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            to.send_header(name, value)
        to.end_headers()
        if to.command != "HEAD":
            to.wfile.write(data)

    def say(self, method: str, path: str, body: bytes, allowed: bool, flat: bool) -> Answer:  # noqa: PLR0911
        if path == "/api/repos/create":
            return self.create(json.loads(body), allowed)
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}, {}
        if path.startswith("/lfs/"):
            self.objects[path.removeprefix("/lfs/")] = body
            return 200, {}, {}
        named = re.match(r"/(?:api/models/)?([^/]+/[^/]+?)(?:\.git/info/lfs/objects/batch)?(/.*)?$", path)
        repo, rest = (named[1], named[2] or "") if named else ("", "")
        if repo not in self.files or (repo in self.private and not allowed):
            return 401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"}
        if path.endswith(".git/info/lfs/objects/batch"):
            return 200, self.batch(json.loads(body)), {}
        what, _, more = rest.removeprefix("/").partition("/")
        if what in ("revision", "tree", "resolve") and more.split("/")[0] not in ("main", self.sha):
            return 404, {"error": "Invalid rev"}, {"X-Error-Code": "RevisionNotFound"}
        if what in ("", "revision"):
            return 200, {"id": repo, "sha": self.sha, "private": repo in self.private, "siblings": []}, {}
        if what == "tree":
            return self.tree(self.files[repo], more.partition("/")[2], flat)
        if what == "resolve":
            return self.file(repo, more.partition("/")[2])
        if not allowed:
            return 403, {"error": "Forbidden"}, {}
        if what == "preupload":
            asked = [file["path"] for file in json.loads(body)["files"]]
            modes = {name: "lfs" if name.endswith(LARGE) else "regular" for name in asked}
            return 200, {"files": [{"path": n, "uploadMode": m, "shouldIgnore": False} for n, m in modes.items()]}, {}
        assert (method, what) == ("POST", "commit"), (method, path)
        return self.commit(repo, [json.loads(line) for line in body.splitlines()])

    def create(self, asked: dict, allowed: bool) -> Answer:
        if not allowed:
            return 401, {"error": "Invalid username or password"}, {}
        repo = f"{asked['organization']}/{asked['name']}"
        if repo in self.files:
            return 409, {"error": "You already created this model repo", "url": f"{self.url}/{repo}"}, {}
        self.files[repo] = {}
        if asked.get("private") or asked.get("visibility") == "private":
            self.private.add(repo)
        return 200, {"url": f"{self.url}/{repo}", "name": repo, "id": repo}, {}

    def batch(self, asked: dict) -> dict:
        upload = [
            {"oid": o["oid"], "size": o["size"], "actions": {"upload": {"href": f"{self.url}/lfs/{o['oid']}"}}}
            for o in asked["objects"]
        ]
        return {"transfer": "basic", "objects": upload}

    def commit(self, repo: str, lines: list[dict]) -> Answer:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.files[repo][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.files[repo][value["path"]] = self.objects[value["oid"]]
                self.large.add(value["path"])
            elif line["key"] == "deletedFile":
                del self.files[repo][value["path"]]
        self.commits += 1
        url = f"{self.url}/{repo}/commit/{self.sha}"
        return 200, {"success": True, "commitOid": self.sha, "commitUrl": url}, {}

    def tree(self, files: dict[str, bytes], below: str, flat: bool) -> Answer:
        """All files, or what lies right in a folder."""
        found = {}
        for name, data in files.items():
            first, deeper, _ = name.removeprefix(f"{below}/" if below else "").partition("/")
            if below and not name.startswith(f"{below}/"):
                continue
            folder = f"{below}/{first}".strip("/")
            found[name if flat else folder] = self.entry(name, data) if flat or not deeper else {
                "type": "directory", "path": folder, "oid": "1" * 40, "size": 0
            }  # fmt: skip
        return (200, [*found.values()], {}) if found else (404, {"error": "none"}, {"X-Error-Code": "EntryNotFound"})

    def entry(self, name: str, data: bytes) -> dict:
        found = {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
        if name in self.large:
            found["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return found

    def file(self, repo: str, name: str) -> Answer:
        if name not in self.files[repo]:
            return 404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"}
        data = self.files[repo][name]
        digest = hashlib.sha256(data).hexdigest()
        return 200, data, {"ETag": f'"{digest}"', "X-Repo-Commit": self.sha, "Accept-Ranges": "none"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The stand-in, in the place of the real one for this process and those it starts."""
    from huggingface_hub import constants

    made = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", made.url)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf/hub"))
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{made.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    given = {"HF_ENDPOINT": made.url, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "hf")}
    for name, value in {**given, "DISTILLKIT_HOME": str(tmp_path / "ours")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield made
    made.server.shutdown()
    made.server.server_close()
