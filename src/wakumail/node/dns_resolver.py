"""TXT records from the DNS, by dnspython, which is imported when the first is asked for."""

import re
from dataclasses import dataclass
from importlib import import_module
from typing import NamedTuple

from wakumail.devp2p.addresses import read_address, undialable
from wakumail.devp2p.enode import MAX_PORT
from wakumail.errors import WakumailError, reason

QUESTION_TIMEOUT = 10.0
"""Seconds for one name, with all name servers and repetitions."""

DNS_PORT = 53


class DnsUnanswered(WakumailError):
    """A name in the DNS that no name server answers for: SERVFAIL, out of reach, malformed."""

    counter = "dns_unanswered"


class DnsTimedOut(DnsUnanswered):
    """A name in the DNS that was not answered for in time."""

    counter = "dns_timed_out"


class DnsNameMissing(DnsUnanswered):
    """A name that is not in the DNS, or has no TXT record."""

    counter = "dns_name_missing"


class DnsTexts(NamedTuple):
    """The TXT records at a name."""

    texts: list[str]
    """Each as one text, in no order; characters that are not ASCII become `\ufffd`."""
    ttl: float
    """Seconds for which they are good."""


@dataclass(frozen=True, slots=True)
class NameServer:
    """A server of the DNS: `ADDRESS:PORT` as a string, with an IPv6 address in brackets."""

    address: str
    port: int = DNS_PORT

    @classmethod
    def parse(cls, text: str) -> "NameServer":
        """ValueError for anything but an address, or an address and a port."""
        found = re.fullmatch(r"\[(.*)\](?::([0-9]{1,5}))?|([^:]*):([0-9]{1,5})|(.*)", text)
        inner, inner_port, host, host_port, alone = found.groups() if found else [""] * 5
        port = int(inner_port or host_port or DNS_PORT)
        try:
            server = cls(str(read_address(inner or host or alone or "")), port)
        except ValueError:
            raise ValueError(f"{text!r} is no name server: ADDRESS or ADDRESS:PORT") from None
        if why := undialable(server.address):
            raise ValueError(why)
        if not 1 <= port <= MAX_PORT:
            raise ValueError(f"{port} is no port of a name server")
        return server

    def __str__(self) -> str:
        return (
            f"[{self.address}]:{self.port}"
            if ":" in self.address
            else f"{self.address}:{self.port}"
        )


class DnsResolver:
    """Asks name servers for TXT records, over UDP, and over TCP if the answer does not fit."""

    def __init__(self, server: NameServer | None = None) -> None:
        """By default those of the system are asked, as /etc/resolv.conf has them at the moment.

        WakumailError if dnspython is missing.
        """
        self._server = server
        try:
            import_module("dns.asyncresolver")
        except ImportError as error:
            text = f'lists in the DNS need dnspython: pip install "dnspython>=2.7" ({error})'
            raise WakumailError(text) from None

    async def ask(self, name: str) -> DnsTexts:
        """The TXT records at a name without a dot at its end; DnsUnanswered."""
        import dns.asyncresolver
        import dns.exception
        import dns.resolver

        from wakumail.node.dns_socket import asking_backend

        try:
            resolver = dns.asyncresolver.Resolver(configure=self._server is None)
            if self._server is not None:
                resolver.nameservers = [self._server.address]
                resolver.port = self._server.port
            answer = await resolver.resolve(
                f"{name}.",
                "TXT",
                lifetime=QUESTION_TIMEOUT,
                search=False,
                backend=asking_backend(),
            )
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            raise DnsNameMissing("the DNS has no such name") from None
        except dns.exception.Timeout:
            raise DnsTimedOut(f"no name server answered within {QUESTION_TIMEOUT:g} s") from None
        except Exception as error:  # anything that dnspython makes of the bytes of a stranger
            raise DnsUnanswered(f"no name server answered: {reason(error)}") from None
        texts = [b"".join(each.strings).decode("ascii", "replace") for each in answer]
        return DnsTexts(texts, float(answer.rrset.ttl if answer.rrset is not None else 0))
