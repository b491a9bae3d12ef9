"""limits.md, durability.md and architecture.md tell the numbers that are in the code."""

import re
from pathlib import Path

import pytest

from wakumail.archive import (
    archive,
    branch_pages,
    commit_queue,
    day_sorting,
    gaps,
    outlook,
    page_reader,
    retention,
    store,
    writer_thread,
)
from wakumail.base import json_text, turns
from wakumail.devp2p import dns_list, dns_tree, enr
from wakumail.devp2p import packets as hello_packets
from wakumail.devp2p.connection import SMALL_PACKET, ConnectionConfig
from wakumail.devp2p.discovery import (
    datagram_budget,
    discv4_packets,
    endpoint_proofs,
    lookup,
    questions,
    table,
)
from wakumail.devp2p.frame_reader import MAX_RUN_LENGTH, MAX_RUN_SIZE
from wakumail.mail import (
    answer,
    confirmation_queue,
    history,
    history_progress,
    listed_mailservers,
    mailservers,
    posting,
    request,
    requester,
)
from wakumail.mail.sync import (
    debts,
    desk,
    driver,
    follower,
    giver,
    initiator,
    message_reader,
    mover,
    offers,
    partners,
    remembered,
    reply,
    taker,
)
from wakumail.mail.sync import packets as sync_packets
from wakumail.mail.sync import round as rounds
from wakumail.node import (
    acceptor,
    admission,
    contacts_file,
    discovery,
    dns_answer,
    dns_resolver,
    encryption_thread,
    filters,
    handshake_thread,
    keystore,
    link,
    listed_nodes,
    memory,
    messages,
    outbox,
    peer_finder,
    relay,
    router_requester,
    ssdp,
    upnp,
)
from wakumail.ops import external_address, log_writer
from wakumail.ops.browse import archive_pages, archive_reading
from wakumail.ops.cluster import log_message, log_order, log_reader, publisher
from wakumail.ops.config.settings import MAX_WORKERS, SETTINGS
from wakumail.ops.monitoring import health, overview, pages
from wakumail.ops.workers import worker_slot
from wakumail.rpc import jsonrpc, paced_connection, params, stream
from wakumail.rpc.rest import rest_endpoint, store_query, store_reader
from wakumail.waku import allowance, confirmations, envelope, packets, peer, topic_limiter

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "limits.md").read_text()
ROWS = dict(re.findall(r"^\| (.+?) \| (.+)$", PAGE, re.MULTILINE))
"""Each limit with the rest of its row."""
DEFAULTS = {setting.flag: setting.default for setting in SETTINGS}


def connection(name: str) -> str:
    """A default of the connections, in seconds."""
    return f"{ConnectionConfig.__dataclass_fields__[name].default:g} s"


def size(number: int) -> str:
    """Bytes as the page writes them."""
    return f"{number >> 20} MiB" if number >= 1 << 20 else f"{number >> 10} KiB"


LIMITS: dict[str, list[str]] = {
    "packet received, inflated": [f"{size(DEFAULTS['--max-packet'])} (`--max-packet`)"],
    "envelopes in a Messages packet": [f"{envelope.MAX_ENVELOPES:,}"],
    "envelope": [f"{size(DEFAULTS['--max-envelope'])} (`--max-envelope`)"],
    "packet of history sent": [f"{size(DEFAULTS['--max-reply'])} (`--max-reply`)"],
    "history in packets of one envelope each": [f"{size(history.MAX_EACH)} together"],
    "packet of relayed envelopes sent": [
        size(relay.MAX_RELAY_PACKET),
        f"{confirmations.MAX_CONFIRMABLE:,}",
    ],
    "creation time ahead of the clock": [f"{envelope.FUTURE_TOLERANCE} s"],
    "expired": [f"{envelope.EXPIRY_GRACE} s ago"],
    "envelopes per request": [f"{DEFAULTS['--max-limit']} (`--max-limit`)"],
    "topics per request, also over HTTP": [f"{request.MAX_REQUEST_TOPICS}"],
    "request packet": [size(packets.MAX_REQUEST_SIZE), size(packets.MAX_REFUSED_REQUEST)],
    "errors in one confirmation sent": [size(envelope.MAX_ERRORS_SIZE + 64)],
    "confirmation with errors, received": [size(confirmations.MAX_RESPONSE_SIZE)],
    "packet that is ignored: of an unknown code, or not asked for": [size(SMALL_PACKET)],
    "confirmations that wait for the rate limits of a peer": [
        f"{confirmation_queue.MAX_UNSENT:,}",
        size(confirmation_queue.MAX_UNSENT_BYTES),
    ],
    "requests of one peer that wait": [
        f"{DEFAULTS['--max-waiting']} (`--max-waiting`)",
        size(history.MAX_WAITING_BYTES),
    ],
    "reconciliation message": [
        size(message_reader.MAX_MESSAGE),
        f"{message_reader.MAX_RANGES:,} ranges",
    ],
    "message of the log": [f"{log_message.MAX_MESSAGE:,} bytes"],
    "envelope in a cluster": [f"{log_message.MAX_STREAM:,} bytes"],
    "messages that the log has not acknowledged": [f"{publisher.MAX_IN_FLIGHT}"],
    "one read of the log": [
        f"{log_reader.READ_MESSAGES} messages, {size(log_reader.READ_BYTES)} or one message"
    ],
    "envelopes that wait for the log": [size(store.MAX_UNCOMMITTED_BYTES)],
    "messages of our own behind one that is not read yet": [
        f"{log_order.MAX_AHEAD:,} are remembered"
    ],
    "holes": [f"{log_reader.MAX_HOLES:,}"],
    "messages of one reconciliation": [f"{initiator.MAX_TRIPS:,} each way"],
    "wants of one side that are unanswered": [
        f"{giver.MAX_WANTS}, of {sync_packets.MAX_ITEMS:,} envelopes each"
    ],
    "offers of one side that are unanswered": [
        f"{offers.MAX_OFFERS}, of {sync_packets.MAX_ITEMS:,} envelopes each"
    ],
    "envelopes in one packet": [size(giver.GIVEN_BYTES)],
    "envelopes of a peer that wait for their commit": [size(taker.MAX_UNSTORED)],
    "new envelopes that a peer is not told of yet": [f"{follower.MAX_BEHIND:,}"],
    "differences that a dry run counts": [f"{initiator.MAX_DIFFERENCES:,} on either side"],
    "silence of a peer that owes an answer": [f"{debts.ANSWER_TIMEOUT:.0f} s"],
    "time for one step of what a peer owes": [f"{debts.STEP_TIMEOUT / 60:.0f} min"],
    "rounds in a row that move less than half of what they find": [f"{driver.ROUNDS_AT_ONCE + 1}"],
    "ids remembered, of refused envelopes and of those that a peer has": [
        f"{remembered.MAX_REMEMBERED:,} to {2 * remembered.MAX_REMEMBERED:,}"
    ],
    "time without sync after a breach": [
        f"{partners.MIN_REST:.0f} s",
        f"{partners.MAX_REST / 3600:.0f} h",
    ],
    "messages after which a round with differences ends early": [
        f"{initiator.ENOUGH_TRIPS} each way"
    ],
    "envelopes that a round moves": [f"{rounds.MAX_MOVED:,} of either side"],
    "envelopes that a round has found and not yet moved": [f"{mover.MAX_FOUND:,}"],
    "envelopes hashed for one reconciliation message": [size(reply.MAX_HASHED)],
    "envelopes that are looked at to find hashes of one range of times": [
        f"{archive.MAX_FINDING_ROWS:,}"
    ],
    "envelopes that are looked at for all ranges of one packet": [f"{desk.MAX_SEEK_ROWS:,}"],
    "answer to one request": [size(answer.MAX_PAGE_BYTES), size(answer.MAX_ENVELOPE)],
    "envelopes in one packet of a post": [
        f"{confirmations.MAX_CONFIRMABLE:,}",
        size(posting.MAX_POST_PACKET),
    ],
    "pages in a row with hardly a new envelope": [
        f"{history_progress.MAX_SHORT_PAGES},",
        f"fewer than {history_progress.SHORT_PAGE} ",
        size(history_progress.SHORT_BYTES),
    ],
    "time that pages take beyond what they bring": [
        f"{answer.MAX_TIMEOUTS} timeouts",
        f"{history_progress.PAGE_SHARE:g} timeouts",
        size(history_progress.SHORT_BYTES),
    ],
    "days in a row in which a mailserver of `--merge` fails": [f"{mailservers.MAX_FAILED_WINDOWS}"],
    "envelopes of one second in a history": [size(answer.MAX_PAGE_BYTES)],
    "pages in a row with nothing but envelopes that came before": [
        f"{history_progress.MAX_REPEATED_PAGES}"
    ],
    "envelopes of trusted mailservers for users of the RPC API": ["the requests asked for"],
    "peers": [f"{DEFAULTS['--maxpeers']} (`--maxpeers`)"],
    "handshakes in progress": [f"{DEFAULTS['--max-handshakes']} (`--max-handshakes`)"],
    "handshakes in progress of one host": [
        f"{admission.MAX_HANDSHAKES_OF_HOST}",
        f"{acceptor.MAX_PARKED:,}",
    ],
    "handshakes of one host that wait to be computed": [
        f"{handshake_thread.MAX_STEPS_OF_HOST}",
        f"while {handshake_thread.MAX_HOSTS_WAITING} hosts wait",
    ],
    "hosts whose handshakes wait to be computed": [f"{handshake_thread.MAX_HOSTS_WAITING}"],
    "time for keys and hello": [connection("handshake_timeout")],
    "capabilities in a hello": [f"{hello_packets.MAX_CAPABILITIES}"],
    "name of a capability": [f"{hello_packets.MAX_CAPABILITY_NAME} characters"],
    "time for the status after the hello": [f"{peer.STATUS_TIMEOUT:g} s"],
    "size of a status": [
        size(packets.MAX_STATUS_SIZE),
        f"{packets.MAX_STATUS_OPTIONS} options",
    ],
    "topic interest of a peer": [f"{packets.MAX_TOPIC_INTEREST:,} topics"],
    "topics of peers whose rates are known": [f"{topic_limiter.MAX_TOPICS:,}"],
    "status updates of a peer": [
        f"{allowance.UPDATE_RATE:,} bytes per second",
        f"{size(allowance.UPDATE_BURST)} at once",
        f"{allowance.UPDATE_OVERHEAD} bytes more",
    ],
    "silence of a peer": [connection("ping_interval"), connection("idle_timeout")],
    "history from a trusted peer that nobody asked for": [
        f"{allowance.UNASKED_ENVELOPES:,} envelopes",
        size(allowance.UNASKED_BYTES),
    ],
    "node records and links": [f"{dns_list.MAX_LEAVES:,}"],
    "branches": [f"{dns_list.MAX_BRANCHES:,}"],
    "labels in a branch": [f"{dns_tree.MAX_CHILDREN}"],
    "text at a name": [f"{dns_tree.MAX_ENTRY} characters"],
    "answer of a name server": [
        f"{dns_answer.MAX_ANSWER} bytes",
        f"{dns_answer.MAX_LABELS:,} labels",
    ],
    "lists": [f"{dns_list.MAX_LISTS}"],
    "links from the list to another": [f"{dns_list.MAX_DEPTH}"],
    "nodes of lists that are remembered for `--mindial`": [f"{listed_nodes.MAX_LISTED:,}"],
    "mailservers of lists for one `wakumail request`": [f"{listed_mailservers.ENOUGH}, at"],
    "time for one name, with all name servers and repetitions": [
        f"{dns_resolver.QUESTION_TIMEOUT:g} s"
    ],
    "time until the root is asked for again": [
        f"at least {dns_list.MIN_ROOT_TTL:g} s",
        f"at most {dns_list.MAX_ROOT_TTL:g} s",
    ],
    "datagram": [f"{discv4_packets.MAX_DATAGRAM:,} bytes"],
    "datagrams read": [f"{discovery.MAX_READ:,.0f} per second"],
    "time to read datagrams in one round of the loop": [f"{1000 * discovery.READ_TIME:g} ms"],
    "datagrams of one address that nobody asked for": [
        f"{datagram_budget.MAX_FROM_ADDRESS:g} per second",
        f"{datagram_budget.BURST_FROM_ADDRESS:g} at once",
    ],
    "signatures of strangers": [
        f"{datagram_budget.MAX_FROM_STRANGERS:g} per second",
        f"{datagram_budget.BURST_FROM_STRANGERS:g} at once",
    ],
    "signatures of addresses that have answered us, of datagrams that nobody asked for": [
        f"{datagram_budget.MAX_FROM_KNOWN:g} per second",
        f"{datagram_budget.BURST_FROM_KNOWN:g} at once",
    ],
    "signatures of the answers to one question": [f"{questions.MAX_TRIES}"],
    "time for an answer": [f"{questions.ANSWER_TIME:g} s"],
    "proof of an address": [
        f"{endpoint_proofs.PROOF_TIME / 3600:g} h",
        f"{endpoint_proofs.MAX_PROOFS:,}",
    ],
    "nodes in a bucket": [f"{table.BUCKET_SIZE}", f"{table.MAX_SPARES} that wait"],
    "nodes of a network of 24 bits (IPv4) or 48 bits (IPv6)": [
        f"{table.MAX_IN_BUCKET} in a bucket",
        f"{table.MAX_IN_TABLE} in the table",
    ],
    "questions in a row without an answer": [f"{table.MAX_SILENCES}"],
    "nodes in an answer": [f"{table.BUCKET_SIZE}"],
    "nodes that one lookup asks": [f"{lookup.MAX_ASKED}"],
    "nodes kept for the next start": [f"{contacts_file.MAX_KEPT:,}"],
    "node record": [f"{enr.MAX_RECORD} bytes"],
    "rest of a node that was found, and could not be reached": [
        f"{peer_finder.MIN_REST:g} s",
        f"{peer_finder.MAX_REST / 3600:g} h",
    ],
    "rest of a node that speaks nothing that we do": [f"{peer_finder.MAX_REST / 3600:g} h"],
    "answer of a router by UPnP": [
        size(router_requester.MAX_ANSWER),
        f"{router_requester.MAX_ELEMENTS:,} XML elements",
        f"{router_requester.MAX_SERVICES} services",
        f"{router_requester.MAX_DEPTH} levels",
        f"{router_requester.ANSWER_TIME:g} s",
        f"after {external_address.RETRY:g} s",
    ],
    "answer to the search for a router": [
        f"{ssdp.MAX_ANSWER:,} bytes",
        f"{ssdp.MAX_ANSWERS} to one search",
        f"{ssdp.SEARCH_TIME} s",
    ],
    "time in which a router describes itself by UPnP": [f"{upnp.DESCRIPTION_TIME:g} s"],
    "envelopes that wait for their commit": [
        size(store.MAX_UNCOMMITTED_BYTES),
        f"above {size(2 * store.MAX_UNCOMMITTED_BYTES)}",
    ],
    "unfinished frames of all peers": [size(memory.MAX_UNFINISHED_FRAMES)],
    "unread by one peer": [size(outbox.UNREAD_TOO_MUCH)],
    "unread by one peer, hard limit": [size(outbox.MAX_UNREAD)],
    f"time in which a peer must read {size(outbox.MIN_PROGRESS)} of a full buffer": [
        f"{outbox.WRITE_TIMEOUT:g} s"
    ],
    "unread by all peers": [size(memory.MAX_UNREAD_OF_ALL)],
    "live envelopes for the relay, with the list of peers that have them": [
        f"{size(DEFAULTS['--relay-memory'])} (`--relay-memory`)"
    ],
    "branch pages of the indexes that are read at a start": [size(branch_pages.MAX_BRANCH_BYTES)],
    "mapped pages of the archive while writing": [size(archive.MAX_RESIDENT_WRITING)],
    "lines of the log that wait to be written": [
        size(log_writer.MAX_UNWRITTEN),
        f"at the end of the process {log_writer.FLUSH_TIMEOUT:g} s without room for them, and "
        f"{log_writer.FLUSH_LIMIT:g} s in all",
    ],
    "filters": [f"{filters.MAX_FILTERS:,}"],
    "topics of all filters": [f"{filters.MAX_FILTER_TOPICS:,}"],
    "messages that wait for the polls of one filter": [size(filters.MAX_UNPOLLED_BYTES)],
    "messages that wait for the polls of all filters": [size(filters.MAX_UNPOLLED_BYTES_OF_ALL)],
    "time without a poll of a filter": [f"{filters.POLL_TIMEOUT:g} s"],
    "keys": [f"{keystore.MAX_KEYS:,}"],
    "commas, colons and opening brackets in a message": [f"{jsonrpc.MAX_SEPARATORS:,}"],
    f"characters of an integer in a message of more than {size(jsonrpc.SMALL_MESSAGE)}": [
        f"{json_text.MAX_DIGITS}"
    ],
    "message": [size(jsonrpc.MAX_MESSAGE)],
    "id of a call": [f"{jsonrpc.MAX_ID:,} characters"],
    "id of a key, a filter or a subscription": [f"{params.MAX_IDENTIFIER} characters"],
    "nesting of JSON": [f"{json_text.MAX_NESTING}"],
    "pages that are made for all who look": [f"{1 / pages.OVERVIEW_AGE:.0f} a second"],
    "days in the histogram": [f"{overview.MAX_DAYS_SHOWN}"],
    "gaps on the page": [f"{overview.MAX_GAPS_SHOWN}"],
    "topics on the page of a day": [f"{archive_reading.MAX_TOPICS}"],
    "envelopes on a page of a list": [
        f"{archive_reading.PAGE_SIZE}",
        size(archive_reading.PAGE_BYTES),
    ],
    "data of an envelope in a list, for the browser to open": [
        size(archive_pages.MAX_OPENED_IN_LISTS)
    ],
    "data of an envelope that is shown as digits": [size(archive_pages.MAX_SHOWN)],
    "messages on a page": [f"{store_query.MAX_PAGE_SIZE}", f"{store_query.DEFAULT_PAGE_SIZE}"],
    "envelopes of a page over HTTP": [size(store_reader.PAGE_BYTES)],
    "index entries looked at for one page, or for one search by hash": [
        f"{store_reader.MAX_SLICES}",
        f"{archive.BUDGET:,}",
    ],
    "hashes in one request over HTTP": [f"{store_query.MAX_HASHES}"],
    "envelopes that are hashed to find those": [
        f"{store_reader.MAX_SLICES * store_reader.SEARCH_PAGE:,}",
        size(store_reader.MAX_SLICES * store_reader.PAGE_BYTES),
    ],
    "messages told whose places are remembered": [f"{store_reader.MAX_REMEMBERED:,}"],
    "requests over HTTP that are answered at a time": [f"{rest_endpoint.MAX_ANSWERING}"],
    "first line of a request over HTTP": [size(rest_endpoint.MAX_REQUEST_LINE)],
    "bytes of a connection over TCP that are parsed at once": [size(paced_connection.PIECE)],
    "calls in a batch": [f"{jsonrpc.MAX_BATCH:,}"],
    "answers of a batch": [size(jsonrpc.MAX_BATCH_ANSWER)],
    "connections of a listener": [f"{stream.MAX_SESSIONS}"],
    "calls of a connection in progress": [f"{stream.MAX_CALLS}"],
    "notifications unread by a caller": [size(stream.MAX_UNREAD_NOTIFICATIONS)],
    "requests to one mailserver without an answer": [f"{requester.MAX_OPEN}"],
    "direct messages and requests that wait for the rate limits of a peer": [
        f"{outbox.MAX_IN_LINE}",
        f"{outbox.MAX_WAIT:g} s",
    ],
    "workers": [f"{MAX_WORKERS}"],
    "deaths of a worker in a row, each within 10 s of its start": [
        f"{worker_slot.MAX_DEATHS}, then"
    ],
}
ELSEWHERE = {
    "peers that may sync",
    "limit",
    "years",
    "requests per second",
    "requests over HTTP per second",
    "changes of a peer's interest",
    "mapped pages of the archive while reading",
    "sieves of days, which tell most topics that a day does not have",
}
"""Rows without a number that Python code has."""


@pytest.mark.parametrize("limit", LIMITS)
def test_a_limit_is_what_the_code_has(limit: str) -> None:
    for text in LIMITS[limit]:
        assert re.search(rf"(?<![\w.,]){re.escape(text)}(?!\w|[.,]\d)", ROWS[limit]), text


def test_every_limit_is_looked_at() -> None:
    assert ROWS.keys() - LIMITS.keys() == ELSEWHERE
    assert worker_slot.STABLE_UPTIME == 10


def test_the_rhythm_of_commits() -> None:
    text = " ".join((DOCS / "durability.md").read_text().split())
    rhythm = [
        f"more than {size(writer_thread.BUSY_COMMIT_BYTES)}",
        f"at most {1000 * writer_thread.MAX_REST:g} ms",
        f"every {writer_thread.COMMIT_INTERVAL:g} s, or when {size(commit_queue.MAX_COMMIT_BYTES)}",
        f"up to {size(store.MAX_UNCOMMITTED_BYTES)}",
        f"above {size(2 * store.MAX_UNCOMMITTED_BYTES)}",
    ]
    assert [told for told in rhythm if told not in text] == []
    assert writer_thread.COMMIT_RETRY_INTERVAL == 1  # "every second"


def test_the_two_walks_and_the_threads() -> None:
    text = " ".join((DOCS / "architecture.md").read_text().split())
    numbers = [
        f"less than {size(link.SMALL_READ)} never waits",
        f"at most {size(MAX_RUN_SIZE)} and {MAX_RUN_LENGTH} packets",
        f"When {size(store.MAX_UNCOMMITTED_BYTES)} wait",
        f"at most {size(commit_queue.MAX_COMMIT_BYTES)},",
        f"reports {store.REPORT_PACKETS} packets",
        f"{archive.BUDGET:,} index entries",
        f"A page of up to {archive.AT_ONCE_HITS} envelopes",
        f"up to {page_reader.AT_ONCE_IN_A_TURN} of them in one turn",
        f"| {page_reader.READER_THREADS} readers, compiled |",
        f"while those of {handshake_thread.MAX_HOSTS_WAITING} hosts wait",
        f"more than {size(outbox.MAX_ENCRYPTED_ON_LOOP)}, those of up to four links",
        f"| {messages.MINERS} for mining |",
    ]
    assert [number for number in numbers if number not in text] == []
    assert encryption_thread.MAX_WRITERS == 4
    assert turns.TURN_TIME == 0.001  # "their millisecond"


def test_the_sorting_of_days() -> None:
    text = " ".join((DOCS / "archive.md").read_text().split())
    numbers = [
        f"slices of {size(day_sorting.SORT_SLICE)}",
        f"Fewer than {day_sorting.MIN_UNSORTED:,} envelopes",
        f"needs {retention.SHOWING} envelopes that show a time",
        f"has to run for {retention.STEADY / 3600:.0f} hours",
    ]
    assert [number for number in numbers if number not in text] == []
    assert day_sorting.PAUSE == 9  # "a tenth of the time at most"
    assert day_sorting.REST == 3600  # "an hour after"
    assert day_sorting.MIN_SHARE == 1 / 8  # "an eighth of the day"
    assert day_sorting.ROOM == 2  # "room for two"
    assert retention.MAX_AHEAD == 3600  # "an hour to spare"


def test_the_times_of_the_health_checks() -> None:
    text = " ".join((DOCS / "metrics.md").read_text().split())
    numbers = [
        f"Every {health.CANARY_INTERVAL:g} s the server",
        f"gives up after {health.CANARY_TIMEOUT:g} s",
        f"answered in the last {health.CANARY_MEMORY:g} s",
        f"absence of up to {gaps.MIN_ABSENCE} s",
        f"less than {size(outlook.LOW_ROOM)} with no end",
    ]
    assert [number for number in numbers if number not in text] == []
    assert outlook.SOON == 3 * retention.DAY  # "less than three days left"
    assert (health.MAX_LAG, health.LAG_MEMORY) == (1, 60)  # "more than a second in the last minute"
