"""All that anybody can send to `--store`: requests for history over HTTP."""

from collections.abc import Iterator, Mapping

from wakumail.load.workload.archived_traffic import make_topics
from wakumail.waku.waku2_message import content_topic

PATH = "/store/v3/messages"

MAX_REQUEST_LINE = 64 << 10
"""Bytes of a path with its parameters."""

MARGIN = 100
"""Bytes that they have beside a value, at most."""

MAX_TOPICS, MAX_HASHES = 1000, 100

STORE_INPUTS: Mapping[str, str] = {
    "peerAddr": "",
    "pubsubTopic": "/waku/2/default-waku/proto",
    "contentTopics": ",".join(map(content_topic, make_topics(MAX_TOPICS))),
    "startTime": "1",
    "endTime": str((1 << 63) - 1),
    "hashes": ",".join(f"0x{number:064x}" for number in range(MAX_HASHES)),
    "cursor": f"0x{0:064x}",
    "ascending": "false",
    "pageSize": "100",
    "includeData": "true&pageSize=100",
}
"""By parameter, a good value that costs most: every one has its row. Hashes are of no message, so
that all is searched."""


def store_paths(name: str, share: float) -> Iterator[str]:
    """The paths that are asked for with one parameter.

    The last ones have a `share` of MAX_REQUEST_LINE bytes, from 0 to 1.
    """
    yield f"{PATH}?{name}={STORE_INPUTS[name]}"
    size = int((MAX_REQUEST_LINE - MARGIN) * share)
    for piece in ("9", ",", "0x0,", "/a", "%00", "%ff", "%F0%9F%98%80"):
        yield f"{PATH}?{name}={piece * (size // len(piece))}"
    for piece in (f"&{name}", f"&{name}=", "&a", "&"):
        yield f"{PATH}?{name}=1{piece * (size // len(piece))}"
