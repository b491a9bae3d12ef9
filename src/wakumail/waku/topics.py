"""The topics that Status clients derive from names and keys (WAKU-USAGE, "Keys management").

Each is the first bytes of the Keccak-256 of a text.
"""

from wakumail.base.keccak import keccak256
from wakumail.devp2p.keys import NODE_ID_SIZE, PrivateKey, PublicKey, node_id, shared_x
from wakumail.waku.envelope import TOPIC_SIZE

PARTITIONS = 5000
"""Topics that the private messages of all are spread over."""

X_SIZE = NODE_ID_SIZE // 2
"""Bytes of the X coordinate, which is the first half of a node id."""


def public_chat_topic(name: str) -> bytes:
    """The topic of a public chat ("Public chats"). Its symmetric key has the name as password."""
    return keccak256(name.encode())[:TOPIC_SIZE]


def contact_code_topic(public: PublicKey) -> bytes:
    """Where `public` publishes how to reach its devices ("Contact code topic")."""
    return public_chat_topic(f"0x{public.format(compressed=False).hex()}-contact-code")


def partitioned_topic(public: PublicKey) -> bytes:
    """Where `public` listens for those it does not know yet ("Partitioned topic")."""
    x = int.from_bytes(node_id(public)[:X_SIZE])
    return public_chat_topic(f"contact-discovery-{x % PARTITIONS}")


def negotiated_topic(private: PrivateKey, public: PublicKey) -> bytes:
    """What two who know each other use; the same from both sides ("Negotiated topic")."""
    return public_chat_topic(shared_x(private, public).hex())
