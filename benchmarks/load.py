"""Load on a server from one process with raw sockets: little of the processor is taken from the server beside it.

    python benchmarks/load.py PORT PATH CLIENTS SECONDS RATE BODY CONTENT-TYPE

Prints JSON. With RATE 0 each connection asks again when it has its answer; else requests start on a clock, whatever
comes back. Knows nothing about genre_ray.
"""

import json
import re
import selectors
import socket
import sys
import time
from pathlib import Path

LENGTH = re.compile(rb"\ncontent-length:\s*(\d+)", re.IGNORECASE)
CLOSES = re.compile(rb"\nconnection:\s*close", re.IGNORECASE)


class Connection:
    """One keep-alive connection: sends the request in pieces as the socket takes them, reads one answer."""

    def __init__(self, port: int, content: bytes) -> None:
        self.port, self.content = port, content
        self.socket = self._open()
        self.sent = len(content)
        self.answer = b""
        self.start = 0.0

    def _open(self) -> socket.socket:
        found = socket.create_connection(("127.0.0.1", self.port))
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        found.setblocking(False)
        return found

    def renew(self) -> None:
        """Open another connection in its place."""
        self.socket.close()
        self.socket = self._open()

    def ask(self, now: float) -> None:
        """Begin the next request."""
        self.start, self.sent, self.answer = now, 0, b""

    def send(self) -> bool:
        """True when the whole request is out."""
        try:
            self.sent += self.socket.send(memoryview(self.content)[self.sent :])
        except BlockingIOError:
            pass
        except OSError:
            return True  # the answer, or its absence, says what happened
        return self.sent == len(self.content)

    def receive(self) -> int | None:
        """The status when the answer is complete, 0 when the connection broke, None while more is to come."""
        try:
            piece = self.socket.recv(65536)
        except BlockingIOError:
            return None
        except OSError:
            return 0
        if not piece:
            return 0
        self.answer += piece
        head, found, rest = self.answer.partition(b"\r\n\r\n")
        length = LENGTH.search(head) if found else None
        if not found or len(rest) < (int(length[1]) if length else 0):
            return None
        return int(head.split(b" ", 2)[1])


def load(
    port: int, path: str, clients: int, seconds: float, rate: float, content: bytes, kind: str
) -> dict[str, float | int]:
    """Statuses and times of `seconds` of load by `clients` connections."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
    request = head.encode() + content
    selector = selectors.DefaultSelector()
    idle = [Connection(port, request) for _ in range(clients)]
    times: list[tuple[int, float]] = []
    begin, started, busy = time.perf_counter(), 0, 0
    while True:
        now = time.perf_counter() - begin
        over = now >= seconds
        due = clients if rate == 0 else int(now * rate) + 1 - started
        while idle and due > 0 and not over:
            connection = idle.pop()
            connection.ask(time.perf_counter())
            connection.send()
            unsent = connection.sent < len(request)
            selector.register(
                connection.socket, selectors.EVENT_READ | (selectors.EVENT_WRITE if unsent else 0), connection
            )
            started, busy, due = started + 1, busy + 1, due - 1
        if over and not busy:
            break
        wait = None if rate == 0 or over else max(0.0, started / rate - (time.perf_counter() - begin))
        for key, events in selector.select(min(1.0, 1.0 if wait is None else wait)):
            connection = key.data
            if events & selectors.EVENT_WRITE and connection.send():
                selector.modify(connection.socket, selectors.EVENT_READ, connection)
            if not events & selectors.EVENT_READ:
                continue
            status = connection.receive()
            if status is None:
                continue
            times.append((status, time.perf_counter() - connection.start))
            selector.unregister(connection.socket)
            if status == 0 or connection.sent < len(request) or CLOSES.search(connection.answer):
                connection.renew()
            idle.append(connection)
            busy -= 1
    took = time.perf_counter() - begin
    good = sorted(t for status, t in times if status == 200)
    refused = sorted(t for status, t in times if status in (429, 503))
    return {
        "ok": len(good), "rps": len(good) / took, "asked": started / took, "refused": len(refused),
        "other": len(times) - len(good) - len(refused),
        "p50_ms": at(good, 0.5), "p99_ms": at(good, 0.99), "refusal_p99_ms": at(refused, 0.99),
        "client_ms": time.process_time() / max(1, len(times)) * 1e3,
    }  # fmt: skip


def at(values: list[float], share: float) -> float:
    return round(values[int(share * (len(values) - 1))] * 1e3, 2) if values else float("nan")


if __name__ == "__main__":
    port, path, clients, seconds, rate, body, kind = sys.argv[1:]
    found = load(int(port), path, int(clients), float(seconds), float(rate), Path(body).read_bytes(), kind)
    print(json.dumps(found))
