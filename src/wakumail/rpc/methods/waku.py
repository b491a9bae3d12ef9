"""waku_*: keeps keys, posts messages and receives them (9/WAKU-RPC)."""

import asyncio
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from wakumail.mail.server import Server
from wakumail.node.filters import FilterUnknown
from wakumail.node.messages import DEFAULT_TTL, ReceivedMessage, compose
from wakumail.rpc import params
from wakumail.rpc.jsonrpc import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    SERVER,
    RpcError,
    Session,
    SharedResult,
)
from wakumail.rpc.objects import (
    WAKU_VERSION,
    read_filter,
    read_key,
    trust,
    write_bytes,
    write_message,
    write_public_key,
)
from wakumail.rpc.params import Fields
from wakumail.waku.envelope import LARGE_ENVELOPE, TOPIC_SIZE
from wakumail.waku.message import symmetric_key
from wakumail.waku.packets import MIN_ENVELOPE

MAX_ENVELOPE_SIZE = 10 << 20
"""Most bytes that an envelope may be allowed (9/WAKU-RPC, `waku_setMaxEnvelopeSize`)."""

MAX_TTL = 1 << 30
"""Most seconds that a message may live; its expiry fits into 32 bits until 2072."""

DEFAULT_POW_TIME = 5.0
"""Seconds of mining by default (those of status-go for its own messages)."""

MAX_POW_TIME = 600.0
"""Most seconds of mining that a poster may ask for."""

MESSAGE_FIELDS = (
    "symKeyID",
    "pubKey",
    "sig",
    "topic",
    "payload",
    "padding",
    "ttl",
    "powTarget",
    "powTime",
    "targetPeer",
)

MAY_BE_BLANK = ("symKeyID", "pubKey", "sig", "padding", "targetPeer")
"""Fields of a message that are absent if they are empty."""

NOTIFICATION = "waku_subscription"


class WakuMethods:
    """The methods of 9/WAKU-RPC; a subscription belongs to the session that began it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._subscriptions: dict[Session, set[str]] = {}
        self._told = lru_cache(maxsize=1)(told)
        """The result for all subscriptions that are told a message, one after the other."""

    def methods(self) -> dict[str, Callable[..., Any]]:
        """The methods by their names on the wire."""
        return {
            "waku_version": self.version,
            "waku_info": self.info,
            "waku_setMaxEnvelopeSize": self.set_max_envelope_size,
            "waku_setMinPoW": self.set_min_pow,
            "waku_markTrustedPeer": self.mark_trusted_peer,
            "waku_newKeyPair": self.new_key_pair,
            "waku_addPrivateKey": self.add_private_key,
            "waku_deleteKeyPair": self.delete_key_pair,
            "waku_hasKeyPair": self.has_key_pair,
            "waku_getPublicKey": self.get_public_key,
            "waku_getPrivateKey": self.get_private_key,
            "waku_newSymKey": self.new_sym_key,
            "waku_addSymKey": self.add_sym_key,
            "waku_generateSymKeyFromPassword": self.generate_sym_key_from_password,
            "waku_hasSymKey": self.has_sym_key,
            "waku_getSymKey": self.get_sym_key,
            "waku_deleteSymKey": self.delete_sym_key,
            "waku_subscribe": self.subscribe,
            "waku_unsubscribe": self.unsubscribe,
            "waku_newMessageFilter": self.new_message_filter,
            "waku_deleteMessageFilter": self.delete_message_filter,
            "waku_getFilterMessages": self.get_filter_messages,
            "waku_post": self.post,
        }

    # -- the node -----------------------------------------------------------------------------

    def version(self, _session: Session) -> str:
        """The version of the protocol."""
        return WAKU_VERSION

    def info(self, _session: Session) -> dict[str, Any]:
        """The node's rules for envelopes, and the envelopes that it relays."""
        rules, pool = self._server.rules, self._server.relay.pool
        return {
            "minPow": rules.min_pow,
            "maxEnvelopeSize": rules.max_envelope,
            "memory": pool.size,
            "envelopes": pool.envelopes,
        }

    def set_max_envelope_size(self, _session: Session, size: Any) -> bool:
        """Take and send no larger envelopes than `size` bytes."""
        most = min(self._server.config.largest_envelope or MAX_ENVELOPE_SIZE, MAX_ENVELOPE_SIZE)
        self._server.set_max_envelope(params.integer(size, "size", MIN_ENVELOPE, most))
        return True

    def set_min_pow(self, _session: Session, min_pow: Any) -> bool:
        """Take no envelopes of less PoW, after the peers had time to learn of it."""
        self._server.set_min_pow(params.least_pow(min_pow, "min_pow"))
        return True

    def mark_trusted_peer(self, _session: Session, enode: Any) -> bool:
        """Let a peer send expired envelopes, as mailservers do."""
        trust(self._server.node, enode)
        return True

    # -- key pairs ----------------------------------------------------------------------------

    def new_key_pair(self, _session: Session) -> str:
        """Make a key pair; its id."""
        return self._server.keys.new_key_pair()

    def add_private_key(self, _session: Session, key: Any) -> str:
        """Keep a private key; its id."""
        return self._server.keys.add_private_key(params.private_key(key, "key"))

    def delete_key_pair(self, _session: Session, key_id: Any) -> bool:
        """Forget a key pair, which must be there."""
        if not self._server.keys.delete_key_pair(params.identifier(key_id, "id")):
            raise RpcError(SERVER, f"key pair {key_id} not found")
        return True

    def has_key_pair(self, _session: Session, key_id: Any) -> bool:
        """True if a key pair has this id."""
        return self._server.keys.has_key_pair(params.identifier(key_id, "id"))

    def get_public_key(self, _session: Session, key_id: Any) -> str:
        """The public key of a key pair."""
        return write_public_key(
            self._server.keys.private_key(params.identifier(key_id, "id")).public_key
        )

    def get_private_key(self, _session: Session, key_id: Any) -> str:
        """The private key of a key pair."""
        return write_bytes(self._server.keys.private_key(params.identifier(key_id, "id")).secret)

    # -- symmetric keys -----------------------------------------------------------------------

    def new_sym_key(self, _session: Session) -> str:
        """Make a symmetric key; its id."""
        return self._server.keys.new_symmetric_key()

    def add_sym_key(self, _session: Session, key: Any) -> str:
        """Keep a symmetric key; its id."""
        return self._server.keys.add_symmetric_key(params.symmetric_key(key, "key"))

    async def generate_sym_key_from_password(self, _session: Session, password: Any) -> str:
        """Keep the key of a password; its id."""
        key = await asyncio.to_thread(symmetric_key, params.text(password, "password"))
        return self._server.keys.add_symmetric_key(key)

    def has_sym_key(self, _session: Session, key_id: Any) -> bool:
        """True if a symmetric key has this id."""
        return self._server.keys.has_symmetric_key(params.identifier(key_id, "id"))

    def get_sym_key(self, _session: Session, key_id: Any) -> str:
        """A symmetric key."""
        return write_bytes(self._server.keys.symmetric_key(params.identifier(key_id, "id")))

    def delete_sym_key(self, _session: Session, key_id: Any) -> bool:
        """Forget a symmetric key; true if there was one."""
        return self._server.keys.delete_symmetric_key(params.identifier(key_id, "id"))

    # -- receiving ----------------------------------------------------------------------------

    def subscribe(self, session: Session, kind: Any, criteria: Any) -> str:
        """Send each message that passes a filter to the session until it ends; an id."""
        if not session.can_notify:
            raise RpcError(METHOD_NOT_FOUND, "notifications not supported")
        if params.identifier(kind, "subscription") != "messages":
            raise RpcError(METHOD_NOT_FOUND, f'no "{kind}" subscription in waku namespace')

        def notify(message: ReceivedMessage) -> None:
            session.notify(NOTIFICATION, subscription, self._told(message))

        subscription = self._server.filters.install(
            read_filter(criteria, self._server.keys), notify
        )
        if session not in self._subscriptions:
            self._subscriptions[session] = set()
            session.on_close.append(partial(self._end_all, session))
        self._subscriptions[session].add(subscription)
        return subscription

    def unsubscribe(self, session: Session, subscription: Any) -> bool:
        """End a subscription of this session; true if there was one."""
        own = self._subscriptions.get(session, set())
        if params.identifier(subscription, "subscription") not in own:
            return False
        own.remove(subscription)
        return self._server.filters.uninstall(subscription)

    def _end_all(self, session: Session) -> None:
        for subscription in self._subscriptions.pop(session):
            self._server.filters.uninstall(subscription)

    def new_message_filter(self, session: Session, criteria: Any) -> str:
        """Keep the messages that pass a filter until they are asked for; its id.

        It belongs to the session while that lasts. Over HTTP, where a session is one request, it
        belongs to all who know its id.
        """
        owner = session if session.can_notify else None
        return self._server.filters.install(read_filter(criteria, self._server.keys), owner=owner)

    def delete_message_filter(self, session: Session, filter_id: Any) -> bool:
        """Forget a filter, which must be there and not belong to another session."""
        filters = self._server.filters
        try:
            owner = filters.owner_of(params.identifier(filter_id, "id"))
        except FilterUnknown:
            raise RpcError(SERVER, "filter not found") from None
        if isinstance(owner, Session) and owner is not session and not owner.ended:
            raise RpcError(SERVER, "the filter belongs to another connection")
        return filters.uninstall(filter_id)

    def get_filter_messages(self, _session: Session, filter_id: Any) -> list[dict[str, Any]]:
        """The messages since the last call."""
        messages = self._server.filters.poll(params.identifier(filter_id, "id"))
        return [write_message(message) for message in messages]

    # -- posting ------------------------------------------------------------------------------

    async def post(self, _session: Session, message: Any) -> bool:
        """Seal, mine and send a message, to all peers or to one only."""
        fields = Fields(message, "message", MESSAGE_FIELDS, blank=MAY_BE_BLANK)
        keys = self._server.keys
        key = read_key(fields, keys, "pubKey", params.public_key)
        topic = fields.optional("topic", params.topic, None)
        if isinstance(key, bytes) and topic is None:
            raise RpcError(INVALID_PARAMS, "missing topic")
        signer = fields.optional("sig", params.identifier, None)
        payload = fields.required("payload", params.data)
        padding = fields.optional("padding", params.data, None)
        self._check_size(len(payload) + len(padding or b""))
        peer = fields.optional("targetPeer", params.peer_id, None)
        least = 0.0 if peer else self._least_pow(len(payload))
        target = fields.optional("powTarget", params.least_pow, least)
        if target < least:
            raise RpcError(SERVER, f"message rejected, too little PoW: this node asks for {least}")
        envelope = await compose(
            payload,
            key=key,
            topic=topic or bytes(TOPIC_SIZE),
            sign_with=None if signer is None else keys.private_key(signer),
            padding=padding,
            ttl=fields.optional("ttl", _ttl, 0) or DEFAULT_TTL,
            pow_target=target,
            pow_time=fields.optional("powTime", _pow_time, DEFAULT_POW_TIME),
        )
        if peer:
            await self._server.send_direct(peer, envelope.rlp)
        else:
            await self._server.publish(envelope.rlp)
        return True

    def _check_size(self, size: int) -> None:
        """Refuse a message that cannot fit into an envelope, before any work on it."""
        limit = self._server.rules.max_envelope
        if size > limit:
            raise RpcError(SERVER, f"message too large: {size} bytes, of {limit} in an envelope")

    def _least_pow(self, size: int) -> float:
        """The PoW that the node asks of a message of `size` bytes."""
        rules = self._server.rules
        return rules.min_pow_large if size >= LARGE_ENVELOPE else rules.min_pow


def told(message: ReceivedMessage) -> SharedResult:
    """A message as the result of notifications."""
    size = 2 * (len(message.payload) + len(message.padding))
    return SharedResult(size, partial(write_message, message))


def _ttl(value: Any, name: str) -> int:
    return params.integer(value, name, 0, MAX_TTL)


def _pow_time(value: Any, name: str) -> float:
    seconds = params.number(value, name)
    if seconds > MAX_POW_TIME:
        raise RpcError(INVALID_PARAMS, f"{name} must be at most {MAX_POW_TIME:.0f} seconds")
    return seconds
