"""All that anybody can send to a server, each kind at its worst, for the scenario `steps`."""

import contextlib
import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from wakumail.base import rlp
from wakumail.devp2p.packets import MAX_CAPABILITIES, SYNC, WAKU, Capability, MessageId
from wakumail.load.clients.blocking_connection import WANTS_NOTHING, BlockingConnection
from wakumail.load.clients.rpc_caller import NO_MASK, PING_FRAME, PONG_FRAME
from wakumail.load.metered_server import MeteredServer
from wakumail.load.workload.packet_inputs import (
    MAX_PACKET,
    PACKET_INPUTS,
    Make,
    PacketInput,
    empty_lists,
    noise,
    share_of,
    smallest,
    zeros,
)
from wakumail.load.workload.rpc_inputs import KEY, KEY_ID, PAIR_ID, RPC_INPUTS, rpc_messages
from wakumail.load.workload.store_inputs import STORE_INPUTS, store_paths
from wakumail.mail.sync.packets import Code as SyncCode
from wakumail.node.filters import MAX_FILTERS, SLICE_ENVELOPES
from wakumail.waku.envelope import make_envelope
from wakumail.waku.message import seal
from wakumail.waku.packets import Code, StatusOptions

PONG = rlp.encode(MessageId.PONG)
DISCONNECT = rlp.encode(MessageId.DISCONNECT)

CONFIRMS = StatusOptions(pow=0.0, light=False, confirmations=True)
"""The status of a peer that wants every envelope and confirms it."""

PAGES = ("/metrics", "/health", "/ready", "/live", "/")
TALKATIVE = (
    *WAKU[-1:],
    *(Capability(f"c{number:07}", number) for number in range(MAX_CAPABILITIES - 1)),
)
"""The capabilities of peers that name as many as they may."""

CROWD = 1000
"""Peers that are connected when all are described, or leave at once."""

OPENED = re.compile(rb"^wakumail_messages_opened_total (\S+)", re.MULTILINE)

SMALL_PIECES = 45_000
"""Frames of WebSockets, and chunks of HTTP: 256 KiB, which is most that a server reads at once."""

CALL = b'{"jsonrpc":"2.0","id":1,"method":"net_version"}'

CONTINUATION_FRAME = 0x00
"""The first byte of a frame within a message (RFC 6455, 5.2)."""

BINARY_START, MESSAGE_END = 0x02, 0x80
"""The first bytes of the frames at both ends of such a message."""

FIRST_UNUSED_ID, FIRST_WAKU_ID = 4, 16
UNKNOWN_CODE = 99
FILTER_TOPIC = b"kept"
FILTER_BYTES = 9 << 20
"""Bytes of messages for one filter: more than it keeps."""

SYNC_PAYLOADS: dict[str, Make] = {
    "zeros": zeros(MAX_PACKET),
    "noise": noise(MAX_PACKET),
    "empty lists": empty_lists(MAX_PACKET - 8),
}
"""Payloads at the bound of a packet's size."""

Send = Callable[[MeteredServer, float], None]
"""Sends all of an input, and returns when the server has read it. Of sizes and numbers only a
share, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class StepInput:
    """One kind of input.

    covers: the packet code with its capability, that of wakusync, the message id of p2p, the RPC
    method, or the parameter of history over HTTP.
    """

    title: str
    covers: tuple[Capability, Code] | SyncCode | MessageId | str | None
    send: Send


def step_inputs() -> Iterator[StepInput]:
    """All inputs."""
    for code, packets in PACKET_INPUTS.items():
        for each in packets:
            for capability in each.capabilities:
                name = f"{capability.name}/{capability.version} {code.name}: {each.title}"
                send = partial(send_packets, code, capability, each)
                yield StepInput(name, (capability, code), send)
    for sync_code in SyncCode:
        for what, make in SYNC_PAYLOADS.items():
            send = partial(send_to_sync, sync_code, make)
            yield StepInput(f"wakusync {sync_code.name}: {what}", sync_code, send)
    for message_id, title, send_p2p in P2P_INPUTS:
        yield StepInput(f"p2p: {title}", message_id, send_p2p)
    # Before those of filters without end.
    yield StepInput("waku_subscribe: a large message for many", None, tell_large)
    yield StepInput("waku_subscribe: small messages for many", None, tell_small)
    yield StepInput("waku_getFilterMessages: large messages", None, poll_large)
    yield StepInput("waku_getFilterMessages: small messages", None, poll_small)
    for method in RPC_INPUTS:
        yield StepInput(method, method, partial(send_calls, method))
    for name in STORE_INPUTS:
        yield StepInput(f"history over HTTP: {name}", name, partial(ask_for_history, name))
    for title, first_byte in (("pings", PING_FRAME), ("pongs", PONG_FRAME)):
        yield StepInput(f"WebSocket: {title}", None, partial(send_frames, first_byte))
    yield StepInput("WebSocket: a message in empty frames", None, send_fragments)
    yield StepInput("HTTP: a body in chunks of one byte", None, send_chunks)
    yield StepInput("envelopes of peers that leave", None, flood_and_leave)
    yield StepInput("pages of metrics and health", None, ask_for_pages)
    yield StepInput(f"{CROWD} peers: described, counted, and gone at once", None, crowd)
    yield StepInput("SIGHUP", None, hang_up)


# -- packets --------------------------------------------------------------------------------------


def send_packets(
    code: Code, capability: Capability, packets: PacketInput, server: MeteredServer, share: float
) -> None:
    """Send packets of one code over a connection of their own."""
    made = packets.make(capability, share)
    if packets.first:
        peer = server.connect(capability, made.pop())
    elif packets.asked:
        peer = server.connect(capability, CONFIRMS)
        await_envelope(server, peer)
    else:
        peer = server.connect(capability, trusted=packets.trusted)
    with contextlib.closing(peer), contextlib.suppress(OSError):
        for payload in made:
            peer.send(code, payload)
        await_reading(peer, len(made) if code == Code.P2P_REQUEST else 0)


def send_to_sync(code: SyncCode, make: Make, server: MeteredServer, share: float) -> None:
    """Send a packet of wakusync, as the peer that the server syncs with."""
    peer = server.connect_to_sync()
    with contextlib.closing(peer), contextlib.suppress(OSError):
        (payload,) = make(SYNC, share)
        peer.socket.sendall(peer.encode_any(peer.offsets[SYNC] + code, payload))
        await_reading(peer)


def await_envelope(server: MeteredServer, peer: BlockingConnection) -> None:
    """Let the server send the peer an envelope."""
    with contextlib.closing(server.connect()) as poster:
        poster.send(Code.MESSAGES, rlp.join_list(smallest(1)))
        wanted = peer.message_id(Code.MESSAGES)
        while True:
            starts = [bytes(frame[:8]) for frame in peer.frames()]  # all that have come
            if any(start.startswith(wanted) for start in starts):
                return


def await_reading(peer: BlockingConnection, completions: int = 0) -> None:
    """Wait until the server has read all that was sent and completed requests, or hangs up."""
    peer.send_p2p(MessageId.PING)
    completion = peer.message_id(Code.P2P_REQUEST_COMPLETE)
    ponged = False
    while completions > 0 or not ponged:
        for frame in peer.frames():
            start = bytes(frame[:8])
            ponged |= start.startswith(PONG)
            completions -= start.startswith(completion)
            if start.startswith(DISCONNECT):
                return


def flood_and_leave(server: MeteredServer, share: float) -> None:
    """Small packets of many peers, each of which hangs up after its last one."""
    packets = [rlp.join_list([each]) for each in smallest(share_of(3000, share))]
    peers = connected(server, 8)
    for peer in peers:
        peer.socket.sendall(b"".join(peer.encode(Code.MESSAGES, packet) for packet in packets))
        peer.close()


def empty_list(_capability: Capability, _share: float) -> list[bytes]:
    """The smallest payload."""
    return [b"\xc0"]


def p2p(message_id: int, make: Make, number: int) -> Send:
    """Packets of one message id, which are the same."""

    def send(server: MeteredServer, share: float) -> None:
        with contextlib.closing(server.connect()) as peer, contextlib.suppress(OSError):
            (payload,) = make(WAKU[-1], share)
            frames = (peer.encode_any(message_id, payload) for _ in range(share_of(number, share)))
            peer.socket.sendall(b"".join(frames))
            await_reading(peer)

    return send


def hello(server: MeteredServer, share: float) -> None:
    """A hello with as many capabilities as one may have."""
    strange = [Capability(f"{number:020}", 1) for number in range(MAX_CAPABILITIES - 1)]
    peer = BlockingConnection(server.enode, None, (*WAKU[-1:], *strange))
    with contextlib.closing(peer):
        peer.dial()
        peer.greet(WANTS_NOTHING)
        await_reading(peer)


def handshakes(server: MeteredServer, share: float) -> None:
    """Many connections at once."""
    for peer in connected(server, share_of(200, share)):
        peer.close()


def connected(server: MeteredServer, number: int, at_once: int = 100) -> list[BlockingConnection]:
    """Peers whose handshakes are done `at_once`."""
    peers: list[BlockingConnection] = []
    while len(peers) < number:
        missing = min(at_once, number - len(peers))
        some = [BlockingConnection(server.enode, None, TALKATIVE) for _ in range(missing)]
        for peer in some:
            peer.dial()
        for peer in some:
            peer.greet(WANTS_NOTHING)
        peers += some
    return peers


def no_handshakes(server: MeteredServer, share: float) -> None:
    """Noise in place of a handshake, on many connections."""
    noise = os.urandom(share_of(1 << 16, share))
    with ExitStack() as stack:
        address = server.enode.host, server.enode.port
        sockets = [socket.create_connection(address) for _ in range(share_of(100, share))]
        for each in map(stack.enter_context, sockets):
            with contextlib.suppress(OSError):
                each.sendall(noise)


def no_frames(server: MeteredServer, share: float) -> None:
    """Noise in place of a frame."""
    with contextlib.closing(server.connect()) as peer, contextlib.suppress(OSError):
        peer.socket.sendall(os.urandom(share_of(MAX_PACKET, share)))
        await_reading(peer)


P2P_INPUTS: tuple[tuple[MessageId | None, str, Send], ...] = (
    (MessageId.HELLO, "a hello of most capabilities", hello),
    (MessageId.HELLO, "a second hello", p2p(MessageId.HELLO, zeros(MAX_PACKET), 1)),
    (MessageId.HELLO, "many handshakes at once", handshakes),
    (MessageId.DISCONNECT, "a large disconnect", p2p(MessageId.DISCONNECT, zeros(MAX_PACKET), 1)),
    (MessageId.PING, "pings", p2p(MessageId.PING, empty_list, 30_000)),
    (MessageId.PING, "a large ping", p2p(MessageId.PING, noise(MAX_PACKET), 1)),
    (MessageId.PONG, "pongs", p2p(MessageId.PONG, empty_list, 30_000)),
    (None, "unused message ids", p2p(FIRST_UNUSED_ID, empty_list, 30_000)),
    (None, "unknown codes", p2p(FIRST_WAKU_ID + UNKNOWN_CODE, empty_list, 30_000)),
    (None, "a large unknown code", p2p(FIRST_WAKU_ID + UNKNOWN_CODE, noise(MAX_PACKET), 3)),
    (None, "a message id of nobody", p2p(1 << 31, zeros(MAX_PACKET), 1)),
    (None, "no handshake", no_handshakes),
    (None, "no frame", no_frames),
)
"""The message id that each covers, if it has a name."""


# -- calls ----------------------------------------------------------------------------------------


def send_calls(method: str, server: MeteredServer, share: float) -> None:
    """Send all messages to a method over each transport."""
    ids = {KEY_ID: server.key_id, PAIR_ID: server.pair_id}
    for each in server.callers():
        with each as caller:
            for message in rpc_messages(method, ids, share):
                caller.call(message)


def send_frames(first_byte: int, server: MeteredServer, share: float) -> None:
    """Send empty frames of a WebSocket, and a call."""
    with server.websocket() as caller:
        caller.send(empty_frame(first_byte) * share_of(SMALL_PIECES, share))
        caller.call(CALL)


def send_fragments(server: MeteredServer, share: float) -> None:
    """Send one message in many empty frames, and a call."""
    between = empty_frame(CONTINUATION_FRAME) * share_of(SMALL_PIECES, share)
    with server.websocket() as caller:
        caller.send(empty_frame(BINARY_START) + between + empty_frame(MESSAGE_END))
        caller.call(CALL)


def empty_frame(first_byte: int) -> bytes:
    """A frame without payload, masked."""
    return bytes([first_byte, 0x80]) + NO_MASK


def send_chunks(server: MeteredServer, share: float) -> None:
    """Send a call in chunks of one byte."""
    with server.http() as caller:
        caller.call_in_chunks(CALL + b" " * share_of(SMALL_PIECES, share), 1)


def poll_large(server: MeteredServer, share: float) -> None:
    """A filter that has as many large messages as it keeps."""
    poll(server, share, 900_000)


def poll_small(server: MeteredServer, share: float) -> None:
    """A filter that has as many small messages as it keeps."""
    poll(server, share, 700)


def poll(server: MeteredServer, share: float, size: int) -> None:
    """Fill a filter with messages, and poll it."""
    criteria = {"symKeyID": server.key_id, "topics": [f"0x{FILTER_TOPIC.hex()}"]}
    filter_id = server.ask("waku_newMessageFilter", criteria)
    with contextlib.closing(server.connect()) as peer:
        envelopes = list(sealed(size, share_of(FILTER_BYTES // size, share)))
        step = max(1, MAX_PACKET // 10 // size)
        for start in range(0, len(envelopes), step):
            peer.send(Code.MESSAGES, rlp.join_list(envelopes[start : start + step]))
        await_reading(peer)
        await_opening(server)
    server.ask("waku_getFilterMessages", filter_id)
    server.ask("waku_deleteMessageFilter", filter_id)


def tell_large(server: MeteredServer, share: float) -> None:
    """One message of the largest size."""
    tell(server, share, 900_000, 1)


def tell_small(server: MeteredServer, share: float) -> None:
    """As many messages as are opened at a time."""
    tell(server, share, 20, SLICE_ENVELOPES)


def tell(server: MeteredServer, share: float, size: int, number: int) -> None:
    """Send messages that as many subscriptions of one caller as there may be are told."""
    criteria = {"symKeyID": server.key_id, "topics": [f"0x{FILTER_TOPIC.hex()}"]}
    call = {"jsonrpc": "2.0", "id": 1, "method": "waku_subscribe", "params": ["messages", criteria]}
    batch = json.dumps([call] * share_of(MAX_FILTERS, share)).encode()
    with next(server.callers()) as caller, contextlib.closing(server.connect()) as peer:
        caller.call(batch)
        peer.send(Code.MESSAGES, rlp.join_list(list(sealed(size, number))))
        await_reading(peer)
        await_opening(server)


def await_opening(server: MeteredServer) -> None:
    """Wait until no more messages are opened."""
    opened, before = 0.0, -1.0
    with server.pages() as pages:
        while opened != before:
            server.settle()
            (found,) = OPENED.findall(pages.get("/metrics"))
            opened, before = float(found), opened


def sealed(size: int, number: int) -> Iterator[bytes]:
    """Envelopes with random payloads for the filter."""
    key = bytes.fromhex(KEY[2:])
    for nonce in range(number):
        data = seal(os.urandom(size), key=key, random=os.urandom)
        yield make_envelope(int(time.time()) + 50, 50, FILTER_TOPIC, data, nonce).rlp


# -- other inputs ---------------------------------------------------------------------------------


def ask_for_pages(server: MeteredServer, share: float) -> None:
    """All pages, some times."""
    with server.pages() as pages:
        for _ in range(share_of(10, share)):
            for path in PAGES:
                pages.get(path)


def ask_for_history(name: str, server: MeteredServer, share: float) -> None:
    """Requests for history over HTTP with one parameter."""
    with server.history() as history:
        for path in store_paths(name, share):
            history.get(path)


def crowd(server: MeteredServer, share: float) -> None:
    """Many peers at once."""
    peers = connected(server, share_of(CROWD, share))
    server.ask("admin_peers")
    ask_for_pages(server, 0.0)
    for peer in peers:
        peer.close()


def hang_up(server: MeteredServer, share: float) -> None:
    """SIGHUP, again and again."""
    for _ in range(share_of(100, share)):
        os.kill(server.pid, signal.SIGHUP)
