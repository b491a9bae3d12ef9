"""Which nodes have shown that they get our datagrams at an address (discv4, "Endpoint Proof")."""

from collections import Counter, OrderedDict

PROOF_TIME = 12 * 3600.0
"""Seconds that a proof holds."""

MAX_PROOFS = 10_000
"""Proofs that are remembered, at about 300 bytes each; the oldest is forgotten first."""


class EndpointProofs:
    """The node ids that answered a ping of ours, by the address that they answered from.

    A proof is for an IP address, not for a port: nodes behind one router share the address.
    """

    def __init__(self) -> None:
        self._proven: OrderedDict[tuple[bytes, str], float] = OrderedDict()
        self._ips: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._proven)

    def add(self, node_id: bytes, ip: str, now: float) -> None:
        """Note that a node has answered."""
        proof = node_id, ip
        if proof not in self._proven:
            self._ips[ip] += 1
        self._proven[proof] = now
        self._proven.move_to_end(proof)
        while len(self._proven) > MAX_PROOFS or self._is_old(now):
            self.remove(*next(iter(self._proven)))

    def remove(self, node_id: bytes, ip: str) -> None:
        """Forget the proof of a node."""
        if self._proven.pop((node_id, ip), None) is None:
            return
        self._ips[ip] -= 1
        if not self._ips[ip]:
            del self._ips[ip]

    def holds(self, node_id: bytes, ip: str, now: float) -> bool:
        """True if the node has answered from this address within PROOF_TIME."""
        since = self._proven.get((node_id, ip))
        return since is not None and now - since < PROOF_TIME

    def knows(self, ip: str) -> bool:
        """True if any node has answered from this address: it costs no signature to see that."""
        return ip in self._ips

    def _is_old(self, now: float) -> bool:
        oldest = next(iter(self._proven.values()))
        return now - oldest >= PROOF_TIME
