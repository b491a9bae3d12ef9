"""Mailservers from lists in the DNS: the nodes whose record says that they are one."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing, suppress

from wakumail.devp2p.dns_list import DnsLinkSkipped
from wakumail.devp2p.dns_tree import ListUrl
from wakumail.devp2p.enode import Enode, enode_of
from wakumail.errors import WakumailError
from wakumail.node.dns_lists import DnsLists
from wakumail.node.dns_resolver import DnsResolver, NameServer

ENOUGH = 16
"""Mailservers that are taken out of the lists."""

AT_ONCE = 16
"""Names that are asked for at once."""


class NoMailserverListed(WakumailError):
    """Lists in the DNS that have no mailserver, or cannot be read; the text says why."""

    counter = "mailservers_unlisted"


async def listed_mailservers(
    urls: Sequence[ListUrl], read_timeout: float, name_server: NameServer | None = None
) -> list[Enode]:
    """Up to ENOUGH mailservers, chosen at random, those that are found within a time (seconds).

    `name_server` is asked instead of those of the system. NoMailserverListed if there are none.
    """
    faults: dict[str, None] = {}

    def note(name: str, error: WakumailError) -> None:
        if not isinstance(error, DnsLinkSkipped):
            faults[f"{name}: {error}"] = None

    found: dict[bytes, Enode] = {}
    lists = DnsLists(urls, DnsResolver(name_server).ask, note)
    try:
        async with asyncio.timeout(read_timeout), aclosing(lists.round(AT_ONCE)) as records:
            async for record in records:
                if record.is_mailserver:
                    with suppress(ValueError):  # it has no address
                        found.setdefault(record.node_id, enode_of(record))
                if len(found) == ENOUGH:
                    break
    except TimeoutError:
        faults[f"not read to its end within {read_timeout:g} s"] = None
    if not found:
        *first, last = map(str, urls)
        whose = f"{', '.join(first)} and {last}" if first else last
        why = f": {'; '.join([*faults][:3])}" if faults else ""
        raise NoMailserverListed(f"no mailserver is found by {whose}{why}")
    return list(found.values())
