"""A scripted server of the OpenAI chat protocol, for tests and for trying things without a model.

It answers `POST …/chat/completions` with one turn of its script after another (the last one again and again), keeps
what it was asked, and can misbehave in the ways that real servers and networks do. Loopback only.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer, byte by byte if need be.

    Attributes:
        wait_s: silence before the first byte. drip_s: pause after each of the first 200 bytes of the body.
        length: what Content-Length claims, where that is not the truth.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    wait_s: float = 0.0
    drip_s: float = 0.0
    length: int | None = None


Script = Sequence[Turn] | Callable[[dict[str, Any]], Turn]


def say(
    text: str | None, *, reasoning: str | None = None, key: str = "reasoning_content", finish: str = "stop", **more: Any
) -> Turn:
    """A chat completion. `key`: the field for thinking (`reasoning` in newer vLLM and Ollama); more: of the message."""
    message = {"role": "assistant", "content": text} | ({key: reasoning} if reasoning is not None else {}) | more
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return plain(json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage}))


def plain(body: str, status: int = 200, kind: str = "application/json", **headers: str) -> Turn:
    """Any body. A header's name is written with `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Turn(status, {"Content-Type": kind} | named, body.encode())


class ChatServer:
    """Runs while the `with` lasts.

    Attributes:
        url: for an adapter's settings, `http://127.0.0.1:PORT/v1`. address: `127.0.0.1:PORT`, for the allow-list.
        asked: bodies of the calls so far. headers: of the calls so far, names in lower case.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._lock, self._closing = threading.Lock(), threading.Event()
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer._answer(self)

            def do_GET(self) -> None:
                outer._answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
                """Nothing on stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.address}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, call: BaseHTTPRequestHandler) -> None:
        raw = call.rfile.read(int(call.headers.get("Content-Length", 0)))
        try:
            body = json.loads(raw) if raw else {}
        except ValueError:
            body = {"raw": raw.decode("utf-8", "replace")}
        with self._lock:
            at = len(self.asked)
            self.asked.append(body)
            self.headers.append({k.lower(): v for k, v in call.headers.items()})
        turn = self._script(body) if callable(self._script) else self._script[min(at, len(self._script) - 1)]
        call.close_connection = True
        with contextlib.suppress(OSError):  # the client has gone: what it is there to do
            self._send(call, turn)

    def _send(self, call: BaseHTTPRequestHandler, turn: Turn) -> None:
        if self._closing.wait(turn.wait_s):
            return
        call.send_response(turn.status)
        for name, value in turn.headers.items():
            call.send_header(name, value)
        call.send_header("Content-Length", str(len(turn.body) if turn.length is None else turn.length))
        call.end_headers()
        drip = 200 if turn.drip_s else 0
        for byte in turn.body[:drip]:
            call.wfile.write(bytes([byte]))
            call.wfile.flush()
            if self._closing.wait(turn.drip_s):
                return
        call.wfile.write(turn.body[drip:])


def main() -> None:
    """Serve one answer until stopped: `python -m mien.testing.chat_server`."""
    with ChatServer([say("This is a scripted answer.")]) as server, contextlib.suppress(KeyboardInterrupt):
        print(server.url)
        while True:
            time.sleep(1)


if __name__ == "__main__":
    main()
