"""The scenario of attacks: what a server does for others while somebody attacks it."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from wakumail.base import rlp
from wakumail.devp2p import ecies, keys
from wakumail.devp2p.handshake import PREFIX_SIZE, Initiator
from wakumail.devp2p.packets import WAKU
from wakumail.load.clients.blocking_connection import WANTS_NOTHING, BlockingConnection
from wakumail.load.clients.processes import ClientPool
from wakumail.load.clients.role import LoadFailed
from wakumail.load.measured_server import MeasuredServer
from wakumail.load.measures import Measures, percentile
from wakumail.load.metered_server import MeteredServer
from wakumail.load.scenarios.step_inputs import await_reading
from wakumail.load.workload.archived_traffic import ArchivedTraffic
from wakumail.load.workload.packet_inputs import MAX_PACKET, requests
from wakumail.mail.request import Form
from wakumail.waku.packets import Code

MIN_ATTEMPTS = 5
"""Attempts of the client that is not to be kept out, however short the time is."""

ATTACKERS = 2
"""Threads that attack. They take turns with the client in one process."""

POLL_INTERVAL = 0.01

IDLE = 200
"""Connections that are open to each door and say nothing: more than one takes."""

OTHER_HOST = "127.0.0.2"
"""The address of clients while another host attacks."""

MANY_HOSTS = [f"127.0.1.{number}" for number in range(1, 101)]
"""The addresses of attackers that have many."""

Attempt = Callable[[MeteredServer, keys.PrivateKey], None]
"""One attempt of a client, with its node key, or one blow of an attacker who knows its node id.

OSError or LoadFailed if it fails.
"""


@dataclass(frozen=True, slots=True)
class Attack:
    """An attack, and the client that has to be served meanwhile."""

    title: str
    blow: Attempt
    """Repeated by the attackers as fast as they can."""
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class AttackCase:
    """One attack on a new server, for some seconds; each attempt of the client has to succeed."""

    attack: Attack
    traffic: ArchivedTraffic
    seconds: float
    scenario: str = "attacks"

    @property
    def title(self) -> str:
        """The attack."""
        return self.attack.title

    def measure(self, server: MeasuredServer, pool: ClientPool) -> Measures:
        """Attack, and count the attempts that succeed and the blows."""
        with server.metered_start(self.traffic, lambda path: None) as attacked:
            owner = keys.generate(os.urandom)
            stop, blows = threading.Event(), [0] * ATTACKERS
            attackers = [
                threading.Thread(target=self._attack, args=(attacked, owner, stop, blows, number))
                for number in range(ATTACKERS)
            ]
            for each in attackers:
                each.start()
            try:
                while not any(blows):  # the attack begins first
                    time.sleep(POLL_INTERVAL)
                taken = list(self._attempts(attacked, owner))
            finally:
                stop.set()
                for each in attackers:
                    each.join()
            served = [seconds for seconds in taken if seconds is not None]
            return {
                "attempts": len(taken),
                "served": len(served),
                "blows": sum(blows),
                "p50": percentile(served, 50) * 1e3,
                "p99": percentile(served, 99) * 1e3,
            }

    def _attack(
        self,
        server: MeteredServer,
        owner: keys.PrivateKey,
        stop: threading.Event,
        blows: list[int],
        number: int,
    ) -> None:
        """Repeat the blow. The server may hang up on an attacker."""
        while not stop.is_set():
            with contextlib.suppress(OSError, LoadFailed):
                self.attack.blow(server, owner)
            blows[number] += 1

    def _attempts(self, server: MeteredServer, owner: keys.PrivateKey) -> Iterator[float | None]:
        """The seconds of each attempt; None for one that failed."""
        ends = time.monotonic() + self.seconds
        number = 0
        while number < MIN_ATTEMPTS or time.monotonic() < ends:
            number += 1
            began = time.monotonic()
            try:
                self.attack.attempt(server, owner)
            except (OSError, LoadFailed):
                yield None
            else:
                yield time.monotonic() - began


# -- the attackers --------------------------------------------------------------------------------


def claim_by_forgery(server: MeteredServer, owner: keys.PrivateKey) -> None:
    """Call with an auth packet that names the owner, and a signature of anybody's."""
    signature = keys.sign(keys.generate(os.urandom), os.urandom(32))
    claimed = keys.node_id(owner.public_key)
    message = rlp.encode([signature, claimed, os.urandom(32), 4]) + os.urandom(120)
    prefix = (len(message) + ecies.OVERHEAD).to_bytes(PREFIX_SIZE, "big")
    remote = keys.public_key(server.enode.node_id)
    call(server, prefix + ecies.encrypt(remote, message, os.urandom, auth_data=prefix))


def claim_by_replay(server: MeteredServer, owner: keys.PrivateKey) -> None:
    """Call with an auth packet that the owner has once sent."""
    call(server, Initiator(owner, keys.public_key(server.enode.node_id), os.urandom).auth)


def call(server: MeteredServer, auth: bytes) -> None:
    """Say `auth`, and hear the answer. The server has to hang up: nothing more is said."""
    address = server.enode.host, server.enode.port
    with socket.create_connection(address, CALL_TIMEOUT) as caller:
        caller.sendall(auth)
        caller.recv(1 << 10, socket.MSG_WAITALL)


CALL_TIMEOUT = 0.5
"""Seconds after which an impostor calls again."""


def call_often(server: MeteredServer, owner: keys.PrivateKey) -> None:
    """Fifty callers, whose handshakes the server has to compute, and who say no more."""
    with ExitStack() as stack:
        for _ in range(50):
            caller = stack.enter_context(contextlib.closing(BlockingConnection(server.enode)))
            caller.dial()


def call_from_many_hosts(server: MeteredServer, owner: keys.PrivateKey) -> None:
    """A caller of each of many hosts, whose handshakes the server has to compute."""
    remote = keys.public_key(server.enode.node_id)
    auth = Initiator(keys.generate(os.urandom), remote, os.urandom).auth
    with ExitStack() as stack:
        callers = []
        for host in MANY_HOSTS:
            caller = stack.enter_context(socket.socket())
            caller.settimeout(CALL_TIMEOUT)
            caller.bind((host, 0))
            caller.connect((server.enode.host, server.enode.port))
            caller.sendall(auth)
            callers.append(caller)
        for caller in callers:
            caller.recv(1)


def ask_for_much(server: MeteredServer, owner: keys.PrivateKey) -> None:
    """The requests that cost most, as many as wait."""
    with contextlib.closing(server.connect()) as peer:
        for form in (Form.R3, Form.R4):
            for by_bloom in (False, True):
                for packet in requests(form, by_bloom=by_bloom, batch=False)(WAKU[-1], 0.25):
                    peer.send(Code.P2P_REQUEST, packet)
        await_reading(peer, 16)


def inflate(server: MeteredServer, owner: keys.PrivateKey) -> None:
    """Requests of ten mebibytes of zeros."""
    with contextlib.closing(server.connect()) as peer:
        peer.send(Code.P2P_REQUEST, bytes(MAX_PACKET))
        await_reading(peer)


def be_idle(server: MeteredServer, owner: keys.PrivateKey) -> None:
    """Connections to all doors that say nothing, kept for a while."""
    with ExitStack() as stack:
        for door in server.doors:
            for _ in range(IDLE):
                family = socket.AF_UNIX if isinstance(door, str) else socket.AF_INET
                idle = stack.enter_context(socket.socket(family))
                idle.settimeout(CALL_TIMEOUT)
                idle.connect(door)
        time.sleep(CALL_TIMEOUT)


# -- those who have to be served ------------------------------------------------------------------


def get_in(server: MeteredServer, owner: keys.PrivateKey) -> None:
    """Connect, past the status, from another host."""
    peer = BlockingConnection(server.enode, owner)
    with contextlib.closing(peer):
        peer.dial(OTHER_HOST)
        peer.greet(WANTS_NOTHING)
        await_reading(peer)


def get_history(server: MeteredServer, owner: keys.PrivateKey) -> None:
    """Connect, and ask for the history of a topic."""
    with contextlib.closing(server.connect()) as peer:
        peer.send(Code.P2P_REQUEST, requests(Form.R3)(WAKU[-1], 0.001)[0])
        await_reading(peer, 1)


def operate(server: MeteredServer, owner: keys.PrivateKey) -> None:
    """Call the API over the Unix socket, and read the metrics."""
    server.ask("admin_nodeInfo")
    with server.pages() as pages:
        if not pages.get("/metrics"):
            raise LoadFailed("no metrics")


ATTACKS = (
    Attack("forged claims to the id of a node", claim_by_forgery, get_in),
    Attack("replayed claims to the id of a node", claim_by_replay, get_in),
    Attack("callers without end", call_often, get_in),
    Attack("callers of a hundred hosts", call_from_many_hosts, get_in),
    Attack("requests that cost most", ask_for_much, get_history),
    Attack("requests that inflate", inflate, get_history),
    Attack("idle connections to all doors", be_idle, operate),
)


def attack_cases(traffic: ArchivedTraffic, seconds: float) -> list[AttackCase]:
    """A case for each attack, each of this length."""
    return [AttackCase(attack, traffic, seconds) for attack in ATTACKS]
