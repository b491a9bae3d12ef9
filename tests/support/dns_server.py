"""A real DNS server on loopback: its UDP and TCP, its threads, and what it does wrong on demand."""

import socket
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from dnslib import QTYPE, RCODE, RR, TXT, DNSRecord
from dnslib.server import BaseResolver, DNSHandler, DNSServer

from wakumail.node.dns_resolver import NameServer

UDP_SIZE = 512
"""Bytes of an answer over UDP without EDNS (RFC 1035, 4.2.1)."""


class _Handler(DNSHandler):  # type: ignore[misc]
    def handle(self) -> None:
        """One datagram, or one question over TCP."""
        if self.server.socket_type != socket.SOCK_DGRAM or not self._is_silent():
            super().handle()

    def _is_silent(self) -> bool:
        return name_of(DNSRecord.parse(self.request[0])) in self.server.resolver.silent

    def get_reply(self, data: bytes) -> bytes:
        """The reply to a question; over UDP it is cut as servers do it, which dnslib does not."""
        server: TxtServer = self.server.resolver
        request = DNSRecord.parse(data)
        server.asked[name_of(request), self.protocol] += 1
        if name_of(request) in server.garbled:
            return data[:12] + b"\x3fgarbage"
        reply = server.resolve(request, self)
        if self.protocol == "udp" and len(reply.pack()) > UDP_SIZE:
            reply.header.tc = 1
            reply.rr = []
        return bytes(reply.pack())


def name_of(request: Any) -> str:
    """The name that is asked for."""
    return str(request.q.qname).rstrip(".")


class TxtServer(BaseResolver):  # type: ignore[misc]
    """Serves TXT records at 127.0.0.1, on a port of its own over UDP and TCP."""

    def __init__(self, texts: Mapping[str, str | Iterable[str]], ttl: int = 60) -> None:
        self.texts = dict(texts)
        """The TXT record at each name, or several."""
        self.ttl = ttl
        self.silent: set[str] = set()
        """Names that are not answered for."""
        self.failing: set[str] = set()
        """Names that are answered for with SERVFAIL."""
        self.garbled: set[str] = set()
        """Names that are answered for with what is no DNS message."""
        self.asked: Counter[tuple[str, str]] = Counter()
        """The questions, by name and `udp` or `tcp`."""

    def resolve(self, request: Any, _handler: Any) -> Any:
        """The reply to a question."""
        reply = request.reply()
        name = name_of(request)
        if name in self.failing:
            reply.header.rcode = RCODE.SERVFAIL
        elif name not in self.texts:
            reply.header.rcode = RCODE.NXDOMAIN
        else:
            held = self.texts[name]
            for text in [held] if isinstance(held, str) else held:
                raw = text.encode("latin-1")
                data = TXT([raw[at : at + 255] for at in range(0, len(raw), 255)] or [b""])
                reply.add_answer(RR(request.q.qname, QTYPE.TXT, rdata=data, ttl=self.ttl))
        return reply

    def __enter__(self) -> Self:
        for _ in range(100):  # a port that is free for both
            udp = DNSServer(self, address="127.0.0.1", port=0, handler=_Handler, logger=_SILENT)
            port = udp.server.server_address[1]
            try:
                tcp = DNSServer(
                    self, address="127.0.0.1", port=port, tcp=True, handler=_Handler, logger=_SILENT
                )
                break
            except OSError:
                udp.server.server_close()
        self.at = NameServer("127.0.0.1", port)
        self._servers = [udp, tcp]
        self._threads = [
            threading.Thread(target=each.server.serve_forever, args=(0.05,), daemon=True)
            for each in self._servers
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for each, thread in zip(self._servers, self._threads, strict=True):
            each.server.shutdown()
            each.server.server_close()
            thread.join()


class _Silent:
    """A logger of dnslib that says nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


_SILENT = _Silent()
