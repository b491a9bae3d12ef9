"""The nodes of discovery that have proven their address, by their distance (discv4, "Kademlia").

    distance(a, b) = keccak256(node id of a) XOR keccak256(node id of b)

The nodes whose distance has the same number of bits share a bucket of 16.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import nsmallest

from wakumail.base.keccak import keccak256
from wakumail.devp2p.discovery.udp_endpoint import UdpEndpoint, subnet_of
from wakumail.devp2p.enr import Enr

BUCKET_SIZE = 16
"""Nodes in a bucket, and nodes that a lookup looks for (k)."""

MAX_SPARES = 10
"""Nodes that wait for a place in a full bucket."""

MAX_IN_BUCKET = 2
"""Nodes of one subnet in a bucket."""

MAX_IN_TABLE = 10
"""Nodes of one subnet in the table."""

MAX_SILENCES = 3
"""Questions in a row that a node leaves unanswered before it is removed."""


@dataclass(slots=True, eq=False)
class Contact:
    """A node that discovery knows, by its id (64 bytes) and its address."""

    node_id: bytes
    endpoint: UdpEndpoint
    record: Enr | None = None
    """Its record, if it gave us one."""
    told_seq: int = 0
    """Highest sequence number of its record that it told of; 0 if it has none."""
    silences: int = 0
    """Pings in a row that it has not answered."""
    is_record_due: bool = False
    """True if it will be asked for its record in a moment."""
    key: int = 0
    """keccak256 of the node id, as a number."""

    def __post_init__(self) -> None:
        self.key = key_of(self.node_id)

    @property
    def wants_record(self) -> bool:
        """True if it has a newer record than we know."""
        return self.told_seq > (0 if self.record is None else self.record.seq)


def key_of(node_id: bytes) -> int:
    """The place of a node id, whose differences are the distances."""
    return int.from_bytes(keccak256(node_id), "big")


def closest(contacts: Iterator[Contact], key: int, count: int) -> list[Contact]:
    """The `count` contacts closest to a place, the closest first."""
    return nsmallest(count, contacts, key=lambda contact: contact.key ^ key)


class Bucket:
    """Contacts of like distance, by node id; the one that was heard of last is the last."""

    def __init__(self) -> None:
        self.contacts: OrderedDict[bytes, Contact] = OrderedDict()
        self.spares: OrderedDict[bytes, Contact] = OrderedDict()


class Table:
    """The contacts that have proven their address.

    The number of nodes of one subnet is limited: whoever rents a thousand addresses side by side
    must not fill it.
    """

    def __init__(self, own_id: bytes) -> None:
        self.own_id = own_id
        """Our node id, which the table never has."""
        self._own_key = key_of(own_id)
        self._buckets: dict[int, Bucket] = {}
        self._subnets: Counter[str] = Counter()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Contact]:
        for bucket in self._buckets.values():
            yield from bucket.contacts.values()

    def get(self, node_id: bytes) -> Contact | None:
        """The contact of a node id."""
        bucket = self._buckets.get(self._distance(node_id))
        return None if bucket is None else bucket.contacts.get(node_id)

    def closest(self, key: int, count: int = BUCKET_SIZE) -> list[Contact]:
        """The contacts closest to a place, the closest first."""
        return closest(iter(self), key, count)

    def oldest(self, number: int) -> Contact | None:
        """A contact to ping: in the bucket that `number` chooses, the one not heard of longest."""
        filled = [bucket for bucket in self._buckets.values() if bucket.contacts]
        if not filled:
            return None
        return next(iter(filled[number % len(filled)].contacts.values()))

    def hear_from(self, contact: Contact) -> bool:
        """Note that a node has proven that it is at the endpoint of `contact`.

        True if the table has it now. It has not if it is our own, if its bucket is full, where it
        waits as a spare, or if its subnet has enough contacts already.
        """
        if contact.node_id == self.own_id:
            return False
        bucket = self._buckets.setdefault(self._distance(contact.node_id), Bucket())
        known = bucket.contacts.get(contact.node_id)
        if known is not None and known.endpoint.ip == contact.endpoint.ip:
            self._update(known, contact)
            bucket.contacts.move_to_end(contact.node_id)
            return True
        if known is not None:
            self.remove(contact.node_id)
        if not self._has_room(bucket, contact):
            return False
        if len(bucket.contacts) >= BUCKET_SIZE:
            bucket.spares[contact.node_id] = contact
            bucket.spares.move_to_end(contact.node_id)
            if len(bucket.spares) > MAX_SPARES:
                bucket.spares.popitem(last=False)
            return False
        self._add(bucket, contact)
        return True

    def silent(self, contact: Contact) -> None:
        """Note that a node has not answered; after MAX_SILENCES a spare takes its place."""
        known = self.get(contact.node_id)
        if known is None or known.endpoint.address != contact.endpoint.address:
            return
        known.silences += 1
        if known.silences < MAX_SILENCES:
            return
        self.remove(known.node_id)
        bucket = self._buckets[self._distance(known.node_id)]
        while bucket.spares:
            _, spare = bucket.spares.popitem()
            if self._has_room(bucket, spare):
                self._add(bucket, spare)
                break

    def remove(self, node_id: bytes) -> None:
        """Forget a node."""
        bucket = self._buckets.get(self._distance(node_id))
        if bucket is None:
            return
        bucket.spares.pop(node_id, None)
        if (contact := bucket.contacts.pop(node_id, None)) is not None:
            self._size -= 1
            self._subnets[subnet_of(contact.endpoint.ip)] -= 1
            self._subnets += Counter()  # drops what is 0

    def _distance(self, node_id: bytes) -> int:
        return (key_of(node_id) ^ self._own_key).bit_length()

    def _add(self, bucket: Bucket, contact: Contact) -> None:
        bucket.spares.pop(contact.node_id, None)
        bucket.contacts[contact.node_id] = contact
        self._size += 1
        self._subnets[subnet_of(contact.endpoint.ip)] += 1

    def _has_room(self, bucket: Bucket, contact: Contact) -> bool:
        """True unless the subnet of a contact has enough others."""
        subnet = subnet_of(contact.endpoint.ip)
        if not subnet:
            return True
        beside = sum(subnet_of(c.endpoint.ip) == subnet for c in bucket.contacts.values())
        return beside < MAX_IN_BUCKET and self._subnets[subnet] < MAX_IN_TABLE

    @staticmethod
    def _update(known: Contact, heard: Contact) -> None:
        known.endpoint = heard.endpoint
        known.silences = 0
        known.told_seq = max(known.told_seq, heard.told_seq)
