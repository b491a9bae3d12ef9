"""The topics that Status clients derive from names and keys (WAKU-USAGE, "Keys management").

A topic is the first 4 bytes of the Keccak-256 of a text.
"""

from wakumail.base.keccak import keccak256
from wakumail.devp2p.keys import NODE_ID_SIZE, PrivateKey, PublicKey, node_id, shared_x
from wakumail.waku.envelope import TOPIC_SIZE

PARTITIONS = 5000
"""Number of partitioned topics, over which the private messages of all users are spread."""

X_SIZE = NODE_ID_SIZE // 2
"""Bytes of the X coordinate, which is the first half of a node id."""


def public_chat_topic(name: str) -> bytes:
    """The topic of a public chat ("Public chats"). The password of its key is the name, too."""
    return keccak256(name.encode())[:TOPIC_SIZE]


def contact_code_topic(public: PublicKey) -> bytes:
    """The topic on which `public` publishes the keys of its devices ("Contact code topic")."""
    return public_chat_topic(f"0x{public.format(compressed=False).hex()}-contact-code")


def partitioned_topic(public: PublicKey) -> bytes:
    """The topic on which strangers can reach `public` ("Partitioned topic")."""
    x = int.from_bytes(node_id(public)[:X_SIZE])
    return public_chat_topic(f"contact-discovery-{x % PARTITIONS}")


def negotiated_topic(private: PrivateKey, public: PublicKey) -> bytes:
    """The topic of two contacts; the same from both sides ("Negotiated topic")."""
    return public_chat_topic(shared_x(private, public).hex())
