"""Counters: every drop, refusal and delivery is counted under a name of its own."""

from collections import Counter
from collections.abc import Mapping

from wakumail.errors import WakumailError
from wakumail.waku.envelope import REFUSALS

COUNTERS: Mapping[str, str] = {
    # connections
    "connections_accepted": "TCP connections taken",
    "connections_crowded_out": "closed: had the most handshakes, unfinished frames or peers",
    "connections_refused_self": "refused: the peer has our own node key",
    "connections_refused_duplicate": "refused: a peer with that node id is connected already",
    "connections_refused_full": "refused: the maximum number of peers is connected",
    "connections_refused_restricted": "refused: the peer is in no network that may connect",
    "connections_lost": "ended by the network without a Disconnect packet",
    "connections_stalled": "ended: the peer did not read in time, or left too much unread",
    "peers_connected": "peers whose hello and status were accepted",
    "peers_disconnected_us": "connections that we ended, for no fault of the peer",
    "peers_disconnected_them": "connections that the peer ended with a Disconnect packet",
    "dials": "calls to static and trusted peers",
    "dials_failed": "of those: failed",
    "packets_limited": "packets checked against the rate limits",
    "traffic_excess": "ended: over a rate limit more often than is tolerated",
    **{f"rate_limit_{what}_{whose}": f"times that the {what} of one {whose} were over the limit"
       for what in ("packets", "bytes") for whose in ("ip", "peer", "topic")},
    # envelopes
    "envelopes_received": "envelopes in Messages packets, before any judgement",
    "envelopes_archived": "envelopes committed to the archive",
    "envelopes_archived_before": "envelopes that the archive had already",
    "envelopes_followed": "envelopes that another worker or host took, relayed here too",
    "envelopes_untold": "good envelopes not told to other workers: too many wait for the disk",
    "cluster_messages_published": "messages of our own that the log has",
    "cluster_publishes_failed": "times that the log did not take a message; it is sent again",
    "cluster_messages_read": "messages of other hosts, read from the log",
    "cluster_messages_mended": "messages that one server left out and another had",
    "cluster_messages_missing": "messages that no server had: holes",
    "cluster_holes_synced": "times that holes were filled by sync with another host",
    "envelopes_synced": "envelopes of the archives of sync peers, given to our archive",
    "envelopes_published": "envelopes posted through our RPC API",
    "packets_relayed": "Messages packets sent to peers",
    "bytes_relayed": "bytes of those, before compression",
    "confirmations_received": "Batch Acks and Message Responses for relayed packets",
    "history_received": "envelopes in P2P Messages packets of trusted peers",
    "history_too_large": "of those: over --max-envelope, dropped",
    "history_unasked_excess": "packets over the limits for history that nobody asked for, dropped",
    "history_answered": "requests to trusted mailservers that were answered",
    "history_refused": "requests to trusted mailservers that were answered with an error",
    "history_unanswered": "requests to trusted mailservers that were not answered in time",
    "envelopes_shed": "good envelopes dropped, unconfirmed: too many wait for the disk",
    "messages_confirmed": "Messages packets confirmed, after the commit of their new envelopes",
    **{f"envelopes_{verdict.name.lower()}": f"dropped: {text}"
       for verdict, (_, text) in REFUSALS.items()},
    "envelopes_duplicate": "dropped: envelopes received before and still live",
    "packets_messages_malformed": "Messages packets ignored as a whole: not a list of envelopes",
    "packets_messages_unconfirmable": "Messages packets not confirmed: more errors than 1 MiB",
    "packets_before_status": "ended: a packet came before the status, or no status in time",
    "packets_status_repeated": "status packets after the first, ignored",
    "packets_status_update_malformed": "Status Update packets ignored",
    "packets_unknown": "packets with a code that Waku does not have, ignored",
    "packets_unasked": "ignored: p2p messages, completions, confirmations that nobody asked for",
    # filters and RPC
    "filters_overloaded": "envelopes that no filter has seen: too many wait to be opened",
    "filters_overflowed": "messages dropped: too many wait for a poll of their filter",
    "messages_opened": "messages that matched a filter",
    "rpc_requests": "calls of the RPC API",
    "rpc_errors": "errors that the RPC API answered",
    "rpc_sessions_refused": "RPC connections closed at once: all others have calls in progress",
    "rpc_sessions_evicted": "idle RPC connections closed, for too many were open",
    "connections_refused_files": "closed: the files that are left are for the operator",
    "rpc_sessions_slow": "RPC connections closed: the caller does not read",
    "rpc_notifications_dropped": "notifications dropped: the caller has too many unread",
    "rest_requests": "requests for history over HTTP",
    "rest_requests_failed": "of those: answered with an error",
    "rest_rate_limited": "of those: over the rate limit of the address",
    "rest_archive_failed": "of those: the archive could not be read",
    "rest_messages": "messages told in answers to them",
    "log_lines_dropped": "lines of the log that could not be written, or waited too long",
    "canaries": "requests of the server to itself, for /health",
    "canaries_failed": "of those: not answered",
    # discovery
    "discovery_pings_received": "pings of discovery that came",
    "discovery_pings_sent": "pings of discovery sent",
    "discovery_pongs_received": "pongs of discovery that came",
    "discovery_pongs_sent": "pongs of discovery sent",
    "discovery_findnodes_received": "requests for nodes close to an id that came",
    "discovery_findnodes_sent": "requests for nodes close to an id sent",
    "discovery_neighbors_received": "datagrams with nodes that came",
    "discovery_neighbors_sent": "datagrams with nodes sent",
    "discovery_enr_requests_received": "requests for our record that came",
    "discovery_enr_requests_sent": "requests for a record sent",
    "discovery_enr_responses_received": "records that came",
    "discovery_enr_responses_sent": "our record, sent",
    "discovery_reads_paused": "pauses of discovery: datagrams come faster than they are read",
    "discovery_unsent": "datagrams of discovery that the system did not take",
    "dials_of_candidates": "calls to nodes that discovery or a list has found",
    "dials_of_candidates_failed": "of those: failed",
    "dials_of_candidates_useless": "of those: speak no protocol of ours; left alone for a day",
    "discovery_lookups": "lookups begun: searches for the nodes closest to an id",
    "discovery_restricted": "datagrams dropped: the address is in no network that may connect",
    "discovery_over_address_budget": "datagrams dropped: too many came from the address unasked",
    "discovery_over_total_budget": "datagrams dropped: too many came from all addresses unasked",
    "discovery_expired": "datagrams dropped: too old, or the sender's clock or ours is wrong",
    "discovery_unsolicited": "answers dropped: nobody has asked for them",
    "discovery_unproven": "requests dropped: the sender has not proven its address",
    "discovery_self": "datagrams dropped: they are our own",
    "discovery_pings_crowded_out": "nodes not pinged: too many pings wait for an answer",
    "discovery_neighbors_excess": "answers cut: more than 16 nodes",
    "discovery_neighbors_unfit": "nodes dropped: a private address, or a reserved port",
    # requests
    "requests_received": "P2P Request packets",
    "requests_completed": "requests answered in full",
    "requests_failed": "requests answered with an error",
    "requests_rate_limited": "of those: over the rate limit of the peer or its address",
    "requests_too_many_waiting": "of those: too many requests of one peer waiting",
    "requests_archive_failed": "of those: the archive could not be read",
    "requests_no_archive": "of those: this node keeps no archive",
    "requests_batched": "requests that let envelopes share a packet (`Batch`)",
    "queries_topics": "requests by topics, from the newest envelope on",
    "queries_topics_cursor": "requests by topics, from a cursor on",
    "queries_bloom": "requests by a bloom, from the newest envelope on",
    "queries_bloom_cursor": "requests by a bloom, from a cursor on",
    "requests_abandoned": "requests whose peer left before the end",
    "envelopes_delivered": "envelopes sent in P2P Messages packets",
    "bytes_delivered": "bytes of P2P Messages packets, before compression",
    # archive
    "envelopes_pruned": "envelopes deleted by the retention",
    "confirmations_unsent": "confirmations that waited too long for the rate limits of a peer",
    "prunes_failed": "steps of the retention that failed and are tried again",
    "envelopes_sorted": "envelopes of days that are over, moved beside those of their topic",
    "sorts_failed": "steps of that which failed and are tried again; the log says why",
    "reloads_failed": "SIGHUPs that changed nothing: the settings could not be taken",
    "clock_doubted": "looks of the retention that kept days: the clock ran ahead of the archive",
    "commits": "appends committed and synced",
    "commits_failed": "appends that failed and are tried again",
}  # fmt: skip


class Counters(Counter[str]):
    """The number of times that each thing happened, by a name of COUNTERS or of an error class."""

    def add(self, name: str, count: int = 1) -> None:
        """Count `count` more of `name`."""
        if count:
            self[name] += count


def error_texts(*roots: type[WakumailError]) -> dict[str, str]:
    """The counters of these errors and their subclasses, each with the first docstring line."""
    texts: dict[str, str] = {}
    for root in roots:
        texts |= error_texts(*root.__subclasses__())
        texts[root.counter] = str(root.__doc__).partition("\n")[0]
    return texts
