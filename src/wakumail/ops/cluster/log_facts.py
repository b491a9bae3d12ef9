"""The facts of a log, and what has to be true of them before anything is confirmed."""

import calendar
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from wakumail.archive.results import LogPlace
from wakumail.base.text import utc

MIN_REPLICAS = 3
"""With fewer a majority is all of them, or one."""

MIN_PAYLOAD = 1 << 20
"""Bytes that a server has to take as one message."""

MIN_VERSION = (2, 12)
"""The first version of the server that tells the persist mode of a stream."""

FORM = "1"
"""The value of `wakumail` in the metadata of a stream: the form of its messages and subjects."""

KEEP_DAYS = 7
"""Days that a log keeps its messages."""

DUPLICATE_WINDOW = 120.0
"""Seconds for which the log recognises a message that is sent again."""

NANOSECOND = 1e-9


@dataclass(frozen=True, slots=True)
class Facts:
    """The answers of the servers of the log to questions about themselves."""

    stream: Mapping[str, Any]
    """The information on the stream, as the API of JetStream gives it."""
    max_payload: int
    """Bytes of a message that the server takes, with its headers."""
    version: str
    """Of the server that we are connected to."""
    syncs_always: Mapping[str, bool] = field(default_factory=dict)
    """True for each server that syncs before it acknowledges; the others did not tell."""

    @property
    def name(self) -> str:
        """The name of the stream."""
        return str(self.stream["config"]["name"])

    @property
    def subject(self) -> str:
        """The subject of the messages; each stream that we make has one of its own."""
        return str((self.stream["config"].get("subjects") or [""])[0])

    @property
    def made(self) -> int:
        """The time at which the stream was made, in Unix nanoseconds."""
        return nanoseconds(self.stream["created"])

    @property
    def first(self) -> int:
        """The first sequence that the stream still has."""
        return int(self.stream["state"]["first_seq"])

    @property
    def last(self) -> int:
        """The last sequence of the stream."""
        return int(self.stream["state"]["last_seq"])

    @property
    def leader(self) -> str:
        """The name of the server that leads; empty if none does."""
        return str((self.stream.get("cluster") or {}).get("leader") or "")

    @property
    def servers(self) -> list[str]:
        """The names of the servers that have the stream, the leader first."""
        replicas = (self.stream.get("cluster") or {}).get("replicas") or []
        return [name for name in (self.leader, *(str(each["name"]) for each in replicas)) if name]

    @property
    def lagging(self) -> list[str]:
        """The servers that are down, or behind the leader."""
        replicas = (self.stream.get("cluster") or {}).get("replicas") or []
        return [
            str(each["name"]) for each in replicas if each.get("offline") or not each.get("current")
        ]

    @property
    def untold(self) -> list[str]:
        """The servers that do not tell whether they sync before they acknowledge."""
        return [name for name in self.servers if name not in self.syncs_always]


def stream_config(name: str, token: str, *, keep_days: float, replicas: int) -> dict[str, Any]:
    """The configuration of a stream as it has to be. `token` tells it from others of its name."""
    return {
        "name": name,
        "subjects": [f"wakumail.{name}.{token}.batches"],
        "retention": "limits",
        "storage": "file",
        "num_replicas": replicas,
        "discard": "old",
        "max_age": int(keep_days * 86400 / NANOSECOND),
        "duplicate_window": int(DUPLICATE_WINDOW / NANOSECOND),
        "allow_direct": True,
        "deny_delete": True,
        "deny_purge": True,
        "metadata": {"wakumail": FORM},
    }


def refusals(facts: Facts) -> Iterator[str]:
    """A sentence for each reason for which a confirmation could be untrue."""
    config = facts.stream["config"]
    name = facts.name
    numbers = tuple(int(number) for number in re.findall(r"\d+", facts.version)[:2])
    if numbers < MIN_VERSION:
        least = ".".join(map(str, MIN_VERSION))
        yield f"a server of the log has version {facts.version}; it has to be {least} or later"
    form = (config.get("metadata") or {}).get("wakumail")
    if form is None:
        yield f"the stream {name} is not one of wakumail: make it with `wakumail cluster init`"
    elif form != FORM:
        yield f"the stream {name} has form {form} of wakumail's messages, not {FORM}"
    if form == FORM and not re.fullmatch(
        rf"wakumail\.{re.escape(name)}\.\w+\.batches", facts.subject
    ):
        yield f"the stream {name} has the subject {facts.subject or 'none'}, not one of wakumail"
    if len(config.get("subjects") or ()) > 1:
        yield f"the stream {name} takes several subjects"
    if config.get("mirror") or config.get("sources"):
        yield f"the stream {name} is filled from another stream"
    if config.get("sealed"):
        yield f"the stream {name} is sealed: it takes no messages"
    replicas = config.get("num_replicas", 1)
    if replicas < MIN_REPLICAS:
        yield (
            f"the stream {name} has {replicas} {'replica' if replicas == 1 else 'replicas'}; "
            f"it has to have {MIN_REPLICAS}"
        )
    if config.get("storage") != "file":
        yield f"the stream {name} is kept in {config.get('storage')}, not in files"
    if config.get("persist_mode") not in (None, "", "default"):
        yield f"the stream {name} persists {config['persist_mode']}: acknowledged, but not synced"
    if config.get("retention") != "limits":
        yield f"the stream {name} has the retention {config.get('retention')}, not limits"
    if config.get("no_ack"):
        yield f"the stream {name} acknowledges nothing"
    if not config.get("allow_direct"):
        yield f"the stream {name} does not allow direct gets"
    if config.get("allow_msg_ttl") or config.get("allow_rollup_hdrs"):
        yield f"the stream {name} lets senders delete its messages (TTLs or rollups)"
    if 0 < config.get("max_msg_size", -1) < MIN_PAYLOAD:
        yield f"the stream {name} takes messages of {config['max_msg_size']} bytes, not of 1 MiB"
    if facts.max_payload < MIN_PAYLOAD:
        yield f"a server of the log takes messages of {facts.max_payload} bytes, not of 1 MiB"
    for server, always in sorted(facts.syncs_always.items()):
        if not always:
            yield (
                f"the server {server} of the log does not sync what it acknowledges: "
                'set sync_interval: "always" in its jetstream block'
            )


def foreign(facts: Facts, place: LogPlace | None) -> str:
    """The reason for which an archive at `place` cannot go on with this log; empty if it can."""
    if place is None:
        return ""
    if place.name != facts.name:
        return f"the archive follows the log {place.name}, not {facts.name}"
    if place.made != facts.made:
        return (
            f"the stream {facts.name} is another one: it was made {moment(facts.made)}, and the "
            f"archive follows one that was made {moment(place.made)}; see `wakumail cluster adopt`"
        )
    if place.sequence > facts.last:
        return (
            f"the stream {facts.name} has lost messages: it ends with number {facts.last}, and the "
            f"archive has those up to {place.sequence}"
        )
    return ""


def nanoseconds(text: str) -> int:
    """A time as JetStream writes it, in Unix nanoseconds. ValueError."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z", text)
    if found is None:
        raise ValueError(f"{text!r} is not a time in UTC")
    seconds = calendar.timegm(time.strptime(found[1], "%Y-%m-%dT%H:%M:%S"))
    return seconds * 10**9 + int((found[2] or "0").ljust(9, "0"))


def moment(made: int) -> str:
    """Unix nanoseconds in the form of ISO 8601."""
    return f"{utc(made // 10**9).removesuffix('Z')}.{made % 10**9:09d}Z"
