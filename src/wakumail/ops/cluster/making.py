"""Makes the stream of a log as it has to be."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from wakumail.ops.cluster.log_errors import ClusterFailed, LogUnavailable
from wakumail.ops.cluster.log_facts import MIN_REPLICAS, refusals, stream_config

if TYPE_CHECKING:
    from wakumail.ops.cluster.log import Log

T = TypeVar("T")

INIT_TIMEOUT = 60.0
"""Seconds that the servers have to find each other, and a leader for a new stream."""

INIT_INTERVAL = 0.2
"""Seconds between two tries."""

NOT_YET = (500, 503)
"""Codes of JetStream's errors while servers are missing or have no leader."""


async def make_stream(log: "Log", keep_days: float) -> str:
    """Make the stream of a log, unless there is one that is as it has to be. Tells what was done.

    Waits until the servers have found each other. ClusterFailed.
    """
    deadline = time.monotonic() + INIT_TIMEOUT
    facts = await _patiently(log.facts, deadline)
    told = f"the stream {log.name} is there"
    if facts is None:
        config = stream_config(
            log.name, secrets.token_hex(8), keep_days=keep_days, replicas=MIN_REPLICAS
        )
        await _patiently(partial(_create, log, config), deadline)
        facts = await _patiently(log.facts, deadline)
        told = f"made the stream {log.name}"
    if facts is None:
        raise ClusterFailed(f"the stream {log.name} has gone")
    if reasons := [*refusals(facts)]:
        raise ClusterFailed("; ".join(reasons))
    if facts.untold:
        told += f"; these do not tell whether they sync: {', '.join(facts.untold)}"
    return told


async def _create(log: "Log", config: dict[str, Any]) -> None:
    answer = await log.ask(f"STREAM.CREATE.{log.name}", **config)
    if (error := answer.get("error")) is None:
        return
    text = f"the stream was not made: {error.get('description')}"
    raise (LogUnavailable if error.get("code") in NOT_YET else ClusterFailed)(text)


async def _patiently(work: Callable[[], Awaitable[T]], deadline: float) -> T:
    """The result of `work`, as soon as the log gives one. ClusterFailed."""
    while True:
        try:
            return await work()
        except LogUnavailable as error:
            if time.monotonic() > deadline:
                raise ClusterFailed(str(error)) from error
        await asyncio.sleep(INIT_INTERVAL)
