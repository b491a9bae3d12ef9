"""Blocking callers of the RPC API, one for each transport."""

import base64
import os
import socket
import struct
from abc import ABC, abstractmethod
from http.client import HTTPConnection
from pathlib import Path
from typing import Self

from wakumail.load.clients.blocking_connection import LOAD_TIMEOUT
from wakumail.load.clients.role import LoadFailed

TEXT_FRAME = 0x81
"""The first byte of a WebSocket frame that is a whole text (RFC 6455, 5.2)."""

PING_FRAME, PONG_FRAME = 0x89, 0x8A

NO_MASK = bytes(4)
"""A client has to mask what it sends; a mask of zeros changes nothing."""


class RpcCaller(ABC):
    """A caller. OSError if the connection ends."""

    @abstractmethod
    def call(self, message: bytes) -> bytes:
        """Send a message, and wait for the answer."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""


class UnixCaller(RpcCaller):
    """Calls over the Unix socket. Each answer is a line."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(LOAD_TIMEOUT)
        self._socket.connect(os.fspath(path))
        self._file = self._socket.makefile("rb")

    def call(self, message: bytes) -> bytes:
        """Send a message, and wait for the answer."""
        self._socket.sendall(message + b"\n")
        return self._file.readline()

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self._socket.close()


class HttpCaller(RpcCaller):
    """Calls over HTTP."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=LOAD_TIMEOUT)

    def call(self, message: bytes) -> bytes:
        """Send a message, and wait for the answer."""
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", "/", message, headers)
        return self._connection.getresponse().read()

    def call_in_chunks(self, message: bytes, size: int) -> bytes:
        """Send a message in chunks of `size` bytes, and wait for the answer."""
        starts = range(0, len(message), size)
        pieces = (message[start : start + size] for start in starts)
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        headers = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
        self._connection.request("POST", "/", body, headers)
        return self._connection.getresponse().read()

    def get(self, path: str) -> bytes:
        """Ask for a page."""
        self._connection.request("GET", path)
        return self._connection.getresponse().read()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class WebSocketCaller(RpcCaller):
    """Calls over a WebSocket (RFC 6455)."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), LOAD_TIMEOUT)
        self._file = self._socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        answer = self._file.readline()
        if b" 101 " not in answer:
            raise LoadFailed(f"no WebSocket: {answer!r}")
        while self._file.readline().strip():
            pass

    def call(self, message: bytes) -> bytes:
        """Send a message, and wait for the answer."""
        head = struct.pack(">BBQ", TEXT_FRAME, 0x80 | 127, len(message))
        self.send(head + NO_MASK + message)
        while True:
            try:
                first, size = self._file.read(2)
            except ValueError:
                raise ConnectionError("the server closed the WebSocket") from None
            if size >= 126:
                size = int.from_bytes(self._file.read(2 if size == 126 else 8), "big")
            data = self._file.read(size)
            if first == TEXT_FRAME:
                return data
            if first == PING_FRAME:
                self.send(bytes([PONG_FRAME, 0x80 | size]) + NO_MASK + data)

    def send(self, frames: bytes) -> None:
        """Send frames as they are."""
        self._socket.sendall(frames)

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self._socket.close()
