"""A small W&B server that records what a run sends and can stop answering."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeServer(ThreadingHTTPServer):
    """url: its address. runs: what was upserted, by run id. history: rows received, by run id."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.status = 200  # of every GraphQL answer
        self.silent = threading.Event()  # once set, requests are taken and never answered
        self.over = threading.Event()
        self.runs: dict[str, dict[str, Any]] = {}
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.exit_codes: dict[str, int] = {}
        self.tables: list[str] = []
        self.requests: list[str] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that closes the connection."""

    def graphql(self, name: str, variables: dict[str, Any]) -> dict[str, Any]:
        project = {"id": "p", "name": "acmix_exp", "entity": {"id": "e", "name": "someone"}}
        if name == "RunResumeStatus":
            rows = self.history.get(variables["name"])
            bucket = None if rows is None else self._bucket(variables["name"], rows)
            return {"model": {**project, "bucket": bucket}}
        if name == "UpsertBucket":
            run = self.runs.setdefault(variables["name"], {})
            run.update({key: value for key, value in variables.items() if value is not None})
            bucket = {
                "id": variables["name"],
                "name": variables["name"],
                "displayName": run.get("displayName"),
                "config": "{}",
                "historyLineCount": len(self.history.get(variables["name"], [])),
                "project": project,
            }
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if name == "Viewer":
            viewer = {"id": "v", "entity": "someone", "username": "someone", "email": "", "flags": "{}"}
            return {"viewer": {**viewer, "teams": {"edges": []}}}
        if name == "CreateRunFiles":
            files = [{"name": file, "uploadUrl": f"{self.url}/upload/{file}"} for file in variables["files"]]
            return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}
        if name == "ArtifactType":
            return {"project": {"artifact": None}}
        if name == "CreateArtifact":
            self.tables.append(variables["input"]["artifactCollectionName"])
            artifact = {"id": "a", "state": "COMMITTED", "artifactSequence": {"latestArtifact": None}}
            return {"createArtifact": {"artifact": artifact}}
        return {}  # "nothing known", which wandb takes as such

    def stream(self, run: str, body: dict[str, Any]) -> None:
        part = body.get("files", {}).get("wandb-history.jsonl")
        if part:
            rows = self.history.setdefault(run, [])
            rows[part["offset"] :] = [json.loads(line) for line in part["content"]]
        if body.get("complete"):
            self.exit_codes[run] = body["exitcode"]

    def _bucket(self, run: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": run,
            "name": run,
            "summaryMetrics": "{}",
            "displayName": self.runs[run].get("displayName"),
            "logLineCount": 0,
            "historyLineCount": len(rows),
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(rows[-1])]),
            "eventsTail": "[]",
            "config": "{}",
            "tags": [],
            "notes": None,
            "wandbConfig": '{"t": 1}',
        }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.server.silent.is_set():
            self.server.over.wait(60)
            return
        if self.path == "/graphql":
            query = json.loads(body)
            found = re.search(r"(?:query|mutation)\s+(\w+)", query["query"])
            name = found.group(1) if found else ""
            self.server.requests.append(name)
            answer = self.server.graphql(name, query.get("variables") or {})
            self._answer({"data": answer}, self.server.status)
            return
        self.server.requests.append(self.path)
        if stream := re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path):
            self.server.stream(stream.group(1), json.loads(body))
        self._answer({}, 200)

    do_PUT = do_GET = do_POST

    def _answer(self, content: Any, status: int) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[FakeServer]:
    server = FakeServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
