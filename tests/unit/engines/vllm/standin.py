"""A small HTTP server that fails on demand. It speaks only as much of vLLM as the faults under test need.

Started like the real one, as `python -m vllm.entrypoints.openai.api_server --port … --model …`; its tokens follow from
a request's seed, so that a test can tell what is lost, doubled or mixed up. FAULTS in the folder of `--model` holds
JSON: what it does wrong.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar


def tokens(seed: int, count: int) -> list[int]:
    return [(seed // 7 + 31 * i) % 50 for i in range(count)]


class Handler(BaseHTTPRequestHandler):
    faults: ClassVar[dict[str, Any]] = {}
    asked = 0
    lock = threading.Lock()
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(503 if self.faults.get("never_healthy") else 200, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        if not self.path.startswith("/v1/completions"):
            where = self.path.partition("?")[0]
            self.note(where)
            if where == self.faults.get("die_at"):
                self.die()
            self.answer(200, {"success": self.faults.get("resets", True)})
            return
        with self.lock:
            Handler.asked += 1
            number = Handler.asked
        if number == self.faults.get("refuse"):
            self.answer(400, {"error": {"message": "too long"}})
        elif number == self.faults.get("fail"):
            self.answer(500, {"error": {"message": "EngineCore encountered an issue"}})
        elif "prompt_logprobs" in body:
            entries = [None] + [{str(i): {"logprob": -1.0}} for i in body["prompt"][1:]]
            self.answer(200, {"choices": [{"prompt_logprobs": entries}]})
        else:
            self.note("sample")
            self.stream(body, number)

    def stream(self, body: dict[str, Any], number: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        ids = tokens(body["seed"], body["max_tokens"])
        half = len(ids) // 2
        self.say(ids[:half], None)
        if number == self.faults.get("silent"):
            time.sleep(3)
        if number == self.faults.get("tear"):
            self.wfile.write(b'data: {"choices": [{"tok')
            return
        if number == self.faults.get("die"):
            self.die()
        if number == self.faults.get("error_inside"):
            self.wfile.write(b'data: {"error": {"message": "engine dead"}}\n\n')
            return
        self.say(ids[half:], "length", nan=number == self.faults.get("nan"))
        self.wfile.write(b"data: [DONE]\n\n")

    def die(self) -> None:
        if "once" in self.faults:
            Path(self.faults["once"]).write_text("it died once", encoding="utf-8")
        os._exit(9)

    def note(self, what: str) -> None:
        """Writes down what was asked for, where a test wants to know."""
        if "record" in self.faults:
            with self.lock, Path(self.faults["record"]).open("a", encoding="utf-8") as file:
                file.write(f"{what}\n")

    def say(self, ids: list[int], finish: str | None, *, nan: bool = False) -> None:
        values = [float("nan") if nan else -1.0] * len(ids)
        choice = {"token_ids": ids, "logprobs": {"token_logprobs": values}, "finish_reason": finish}
        self.wfile.write(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())
        self.wfile.flush()

    def answer(self, status: int, body: Any) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: Any) -> None:
        """Nothing: the log is for what went wrong."""


class Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """A client that hung up is no news: the log is for what went wrong."""


def main() -> None:
    options = dict(zip(sys.argv[3::2], sys.argv[4::2], strict=False))
    faults = Path(options["--model"], "FAULTS")
    Handler.faults = json.loads(faults.read_text(encoding="utf-8")) if faults.exists() else {}
    if "once" in Handler.faults and Path(Handler.faults["once"]).exists():
        Handler.faults = {}
    if "say" in Handler.faults:
        print(Handler.faults["say"], flush=True)
    if Handler.faults.get("environment"):
        print(json.dumps(dict(os.environ)), flush=True)
    if Handler.faults.get("exit"):
        sys.exit(3)
    Server(("127.0.0.1", int(options["--port"])), Handler).serve_forever()


if __name__ == "__main__":
    main()
