"""A CMQ of a test's own over HTTP: queues and topics, signatures checked by the official SDK's code (reference H.3)."""

from __future__ import annotations

import json
import threading
import uuid
from collections import defaultdict, deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from cmq.sign import Sign

SECRET_ID, SECRET_KEY = "AKIDtest", "a secret key"


class CmqServer:
    """Knows the queues and topics that a test makes."""

    def __init__(self) -> None:
        self.queues: dict[str, deque[str]] = {}
        self.topics: dict[str, list[str]] = defaultdict(list)
        self.answer: dict[str, Any] | None = None
        """Instead of doing what is asked."""
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = {name: values[0] for name, values in parse_qs(body, keep_blank_values=True).items()}
                answer = server.answer or server.perform(self.headers["Host"], self.path, form)
                content = json.dumps({"requestId": "1", **answer}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def perform(self, host: str, path: str, form: dict[str, str]) -> dict[str, Any]:
        given = form.pop("Signature")
        method = "sha256" if form.get("SignatureMethod") == "HmacSHA256" else "sha1"
        if (
            form["SecretId"] != SECRET_ID
            or given != Sign(SECRET_ID, SECRET_KEY).make(host, path, form, "POST", method).decode()
        ):
            return {"code": 4100, "message": "authentication failed"}
        match form["Action"]:
            case "SendMessage" if form["queueName"] in self.queues:
                self.queues[form["queueName"]].append(form["msgBody"])
                return {"code": 0, "message": "", "msgId": uuid.uuid4().hex}
            case "ReceiveMessage" if self.queues.get(form["queueName"]):
                body = self.queues[form["queueName"]].popleft()
                return {
                    "code": 0, "message": "", "msgBody": body, "msgId": "1", "receiptHandle": "1", "enqueueTime": 1,
                    "firstDequeueTime": 1, "nextVisibleTime": 2, "dequeueCount": 1,
                }  # fmt: skip
            case "PublishMessage" if form["topicName"] in self.topics:
                self.topics[form["topicName"]].append(form["msgBody"])
                return {"code": 0, "message": "", "msgId": uuid.uuid4().hex}
        return {"code": 4000, "message": "(10300)queue or topic does not exist"}
