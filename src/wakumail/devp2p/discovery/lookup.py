"""A lookup: the nodes of the network that are closest to a place (discv4, "Recursive Lookup")."""

from collections.abc import Iterable

from wakumail.devp2p.discovery.table import BUCKET_SIZE, Contact, closest

MAX_AT_ONCE = 3
"""Nodes that are asked at the same time (alpha)."""

MAX_HEARD_OF = 256
"""Nodes that one lookup remembers, the closest."""

MAX_ASKED = 128
"""Nodes that one lookup asks: somebody may make up ever closer ones."""


class Lookup:
    """Which node to ask next, and the end.

    The closest nodes that have not failed are asked, MAX_AT_ONCE at a time, until the BUCKET_SIZE
    closest of all that were heard of have answered.
    """

    def __init__(self, target: bytes, key: int, known: Iterable[Contact], own_id: bytes) -> None:
        self.target = target
        self.answered: dict[bytes, Contact] = {}
        """The nodes that have answered."""
        self._key = key
        self._own_id = own_id
        self._heard_of: dict[bytes, Contact] = {}
        self._asked: set[bytes] = set()
        self._asking: set[bytes] = set()
        self.hear_of(known)

    @property
    def done(self) -> bool:
        """True if nobody is left to ask."""
        return not self._asking and self._next() is None

    @property
    def found(self) -> list[Contact]:
        """The closest nodes that have answered, the closest first."""
        return closest(iter(self.answered.values()), self._key, BUCKET_SIZE)

    def hear_of(self, contacts: Iterable[Contact]) -> None:
        """Take nodes that may be asked."""
        for contact in contacts:
            if contact.node_id != self._own_id and contact.node_id not in self._asked:
                self._heard_of.setdefault(contact.node_id, contact)
        if len(self._heard_of) > MAX_HEARD_OF:
            kept = closest(iter(self._heard_of.values()), self._key, MAX_HEARD_OF)
            self._heard_of = {contact.node_id: contact for contact in kept}

    def ask(self) -> Contact | None:
        """The next node to ask; None if there is none, or enough are being asked."""
        if len(self._asking) >= MAX_AT_ONCE:
            return None
        contact = self._next()
        if contact is not None:
            self._asked.add(contact.node_id)
            self._asking.add(contact.node_id)
        return contact

    def end(self, contact: Contact, *, answered: bool) -> None:
        """Note that a node that was asked has answered, or that it has failed."""
        self._asking.discard(contact.node_id)
        if answered:
            self.answered[contact.node_id] = contact
        else:
            self._heard_of.pop(contact.node_id, None)

    def _next(self) -> Contact | None:
        """The closest node that was not asked, among the BUCKET_SIZE closest."""
        if len(self._asked) >= MAX_ASKED:
            return None
        nearest = closest(iter(self._heard_of.values()), self._key, BUCKET_SIZE)
        return next((each for each in nearest if each.node_id not in self._asked), None)
