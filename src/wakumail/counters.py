"""Counters: every drop, refusal and delivery has a name of its own."""

from collections import Counter
from collections.abc import Mapping

from wakumail.errors import WakumailError
from wakumail.waku.envelope import Verdict

COUNTERS: Mapping[str, str] = {
    # connections
    "connections_accepted": "TCP connections taken",
    "connections_crowded_out": "closed: had the most handshakes, unfinished frames or peers",
    "connections_refused_self": "refused: the peer has our own node key",
    "connections_refused_duplicate": "refused: a peer of that identity is connected already",
    "connections_refused_full": "refused: as many peers as allowed",
    "connections_refused_restricted": "refused: the peer is in no network that may connect",
    "connections_lost": "ended by the network without a Disconnect packet",
    "connections_stalled": "ended: the peer did not read in time, or left too much unread",
    "peers_connected": "peers whose hello and status were accepted",
    "peers_disconnected_us": "connections that we ended, without an error of the peer's",
    "peers_disconnected_them": "connections that the peer ended with a Disconnect packet",
    "dials": "connections begun to static and trusted peers",
    "dials_failed": "of those: not connected",
    "packets_limited": "packets held against the rate limits",
    "traffic_excess": "ended: over a rate limit more often than is tolerated",
    **{f"rate_limit_{what}_{whose}": f"times that {what} of one {whose} were over their limit"
       for what in ("packets", "bytes") for whose in ("ip", "peer", "topic")},
    # envelopes
    "envelopes_received": "envelopes in Messages packets, before any judgement",
    "envelopes_archived": "envelopes committed to the archive",
    "envelopes_archived_before": "envelopes that the archive had already",
    "envelopes_followed": "envelopes that another worker has taken, relayed here too",
    "envelopes_untold": "good envelopes not told to other workers: too many wait for the disk",
    "envelopes_published": "envelopes of our own, posted through the RPC API",
    "packets_relayed": "Messages packets sent to peers",
    "bytes_relayed": "bytes of those, before compression",
    "confirmations_received": "Batch Acks and Message Responses for what was relayed",
    "history_received": "envelopes in P2P Messages packets of trusted peers",
    "history_too_large": "of those: over --max-envelope, dropped",
    "history_unasked_excess": "of those: more than may come unasked, dropped",
    "history_answered": "requests to trusted mailservers that were answered",
    "history_refused": "requests to trusted mailservers that were answered with an error",
    "history_unanswered": "requests to trusted mailservers that were not answered in time",
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
    # filters and RPC
    "filters_overloaded": "envelopes not looked at for filters: too many wait to be opened",
    "filters_overflowed": "messages dropped: too many wait for a filter's polls",
    "messages_opened": "messages handed to a filter",
    "rpc_requests": "calls of the RPC API",
    "rpc_errors": "answers of the RPC API that are errors",
    "rpc_sessions_refused": "RPC connections closed at once: too many are open",
    "rpc_sessions_slow": "RPC connections closed: the caller does not read",
    "rpc_notifications_dropped": "notifications dropped: the caller has left too many unread",
    "canaries": "requests of the server to itself, for /health",
    "canaries_failed": "of those: not answered",
    # requests
    "requests_received": "P2P Request packets",
    "requests_completed": "requests answered in full",
    "requests_failed": "requests answered with an error",
    "requests_rate_limited": "of those: over the rate limit of the peer or its address",
    "requests_too_many_waiting": "of those: too many requests of one peer waiting",
    "requests_archive_failed": "of those: the archive could not be read",
    "requests_batched": "requests read whose envelopes may share a packet",
    "queries_topics": "requests by topics, from the newest on",
    "queries_topics_cursor": "requests by topics, from a cursor on",
    "queries_bloom": "requests by a bloom, from the newest on",
    "queries_bloom_cursor": "requests by a bloom, from a cursor on",
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


def error_texts(*roots: type[WakumailError]) -> dict[str, str]:
    """The counters of these errors and of all below them, with the first line of what they say."""
    texts: dict[str, str] = {}
    for root in roots:
        texts |= error_texts(*root.__subclasses__())
        texts[root.counter] = str(root.__doc__).partition("\n")[0]
    return texts
