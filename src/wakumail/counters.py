"""Counters: every drop, refusal and delivery has a name of its own."""

from collections import Counter
from collections.abc import Mapping

from wakumail.envelope import Verdict

COUNTERS: Mapping[str, str] = {
    # connections
    "connections_accepted": "TCP connections taken",
    "connections_crowded_out": "closed: had the most handshakes in progress, or unfinished frames",
    "connections_refused_self": "refused: the peer has our own node key",
    "connections_refused_duplicate": "refused: a peer of that identity is connected already",
    "connections_refused_full": "refused: as many peers as allowed",
    "connections_lost": "ended by the network without a Disconnect packet",
    "connections_stalled": "ended: the peer did not read in time, or left too much unread",
    "peers_connected": "peers whose hello and status were accepted",
    "peers_disconnected_us": "connections that we ended, without an error of the peer's",
    "peers_disconnected_them": "connections that the peer ended with a Disconnect packet",
    # envelopes
    "envelopes_received": "envelopes in Messages packets, before any judgement",
    "envelopes_archived": "envelopes committed to the archive",
    "envelopes_duplicate": "envelopes that the archive had already",
    "envelopes_shed": "good envelopes dropped, unconfirmed: too many wait for the disk",
    "messages_confirmed": "Messages packets confirmed, after their commit if they had any",
    **{f"envelopes_{v.name.lower()}": f"envelopes dropped: {v.name.lower().replace('_', ' ')}"
       for v in Verdict if v is not Verdict.ACCEPTED},
    "packets_messages_malformed": "Messages packets ignored whole: not a list of envelopes",
    "packets_before_status": "ended: a packet, or the end of its time, came before the status",
    "packets_status_repeated": "status packets after the first, ignored",
    "packets_status_update_malformed": "Status Update packets ignored",
    "packets_unknown": "packets with a code that Waku does not know, ignored",
    "packets_unasked": "ignored: p2p messages, completions, confirmations nobody asked for",
    # requests
    "requests_received": "P2P Request packets",
    "requests_completed": "requests answered in full",
    "requests_failed": "requests answered with an error",
    "requests_rate_limited": "of those: over the rate limit of the peer or its address",
    "requests_too_many_waiting": "of those: too many requests of one peer waiting",
    "requests_archive_failed": "of those: the archive could not be read",
    "requests_abandoned": "requests whose peer went away before the end",
    "envelopes_delivered": "envelopes sent in P2P Messages packets",
    "bytes_delivered": "bytes of P2P Messages packets, before compression",
    # archive
    "envelopes_pruned": "envelopes deleted by the retention",
    "prunes_failed": "slices of the retention that failed and are tried again",
    "commits": "appends committed and synced",
    "commits_failed": "appends that failed and are tried again",
}  # fmt: skip


class Counters(Counter[str]):
    """How often each thing happened; its name stands in COUNTERS or is an error's."""

    def add(self, name: str, count: int = 1) -> None:
        """Count `count` more of `name`."""
        if count:
            self[name] += count
