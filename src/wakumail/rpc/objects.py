"""The JSON objects of 9/WAKU-RPC: filter and message."""

import math
from typing import Any, TypeVar

from wakumail.devp2p.keys import PublicKey
from wakumail.devp2p.packets import WAKU
from wakumail.node.filters import Filter
from wakumail.node.keystore import KeyStore
from wakumail.node.messages import ReceivedMessage
from wakumail.node.node import Node
from wakumail.rpc import params
from wakumail.rpc.jsonrpc import INVALID_PARAMS, RpcError
from wakumail.rpc.params import Fields, Reader

K = TypeVar("K")

FILTER_FIELDS = ("symKeyID", "privateKeyID", "topics", "sig", "minPow", "allowP2P")

WAKU_VERSION = str(max(WAKU).version)
"""The version of the protocol, in the form of status-go and nim-waku."""


def read_filter(value: Any, keys: KeyStore) -> Filter:
    """The filter in an object; KeyUnknown if it names a key that we do not have."""
    fields = Fields(value, "filter", FILTER_FIELDS, blank=("symKeyID", "privateKeyID"))
    key = read_key(
        fields, keys, "privateKeyID", lambda v, n: keys.private_key(params.identifier(v, n))
    )
    topics = fields.optional("topics", params.partial_topics, ())
    if isinstance(key, bytes) and not topics:
        raise RpcError(INVALID_PARAMS, "missing topics")
    return Filter(
        topics=topics,
        key=key,
        signer=fields.optional("sig", params.public_key, None),
        min_pow=fields.optional("minPow", params.least_pow, 0.0),
        allow_p2p=fields.optional("allowP2P", params.flag, False),
    )


def read_key(fields: Fields, keys: KeyStore, asymmetric: str, read: Reader[K]) -> bytes | K:
    """The key in the field symKeyID or `asymmetric`, of which exactly one must be there."""
    symmetric = fields.optional("symKeyID", params.identifier, None)
    other = fields.optional(asymmetric, read, None)
    if symmetric is not None and other is None:
        return keys.symmetric_key(symmetric)
    if symmetric is None and other is not None:
        return other
    raise RpcError(INVALID_PARAMS, f"specify either symKeyID or {asymmetric}")


def trust(node: Node, enode: Any) -> None:
    """Trust the peer of an enode URL; only its node id counts. RpcError for the node itself."""
    try:
        node.admission.trust(params.enode(enode, "enode").node_id)
    except ValueError as error:
        raise RpcError(INVALID_PARAMS, f"enode cannot be trusted: {error}") from None


def write_message(message: ReceivedMessage) -> dict[str, Any]:
    """A message as an object; missing values are null."""
    envelope = message.envelope
    return {
        "sig": _write_key(message.signer),
        "recipientPublicKey": _write_key(message.recipient),
        "ttl": envelope.ttl,
        "timestamp": envelope.created,
        "topic": write_bytes(envelope.topic),
        "payload": write_bytes(message.payload),
        "padding": write_bytes(message.padding),
        # The PoW of an envelope without a ttl is a division by zero, not a number.
        "pow": message.pow if math.isfinite(message.pow) else 0.0,
        "hash": write_bytes(envelope.hash),
    }


def write_bytes(value: bytes) -> str:
    """Bytes as 0x and hexadecimal digits."""
    return f"0x{value.hex()}"


def write_public_key(key: PublicKey) -> str:
    """A public key as geth writes it: 04, X and Y."""
    return write_bytes(key.format(compressed=False))


def _write_key(key: PublicKey | None) -> str | None:
    return None if key is None else write_public_key(key)
