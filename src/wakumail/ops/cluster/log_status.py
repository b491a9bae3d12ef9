"""The state of a log and of the hosts that follow it, for an operator."""

from typing import TYPE_CHECKING, Any

from wakumail.ops.cluster.log_errors import ClusterFailed
from wakumail.ops.cluster.log_facts import moment, refusals

if TYPE_CHECKING:
    from wakumail.ops.cluster.log import Log

HOSTS_TIMEOUT = 1.0
"""Seconds in which the hosts have to tell how they are."""


async def look(log: "Log", seconds: float = HOSTS_TIMEOUT) -> dict[str, Any]:
    """The state of a log, and of the hosts that answer within some seconds. ClusterFailed."""
    facts = await log.facts()
    if facts is None:
        raise ClusterFailed(f"there is no stream {log.name}: make it with `wakumail cluster init`")
    log.subject = facts.subject
    hosts = await log.hosts(seconds)
    problems = [*refusals(facts)]
    replicas = (facts.stream.get("cluster") or {}).get("replicas") or []
    for each in replicas:
        if each.get("offline"):
            problems.append(f"the server {each['name']} of the log is down")
        elif not each.get("current"):
            problems.append(f"the server {each['name']} of the log lags")
    problems += [f"{host.get('host')}: {host['problem']}" for host in hosts if host.get("problem")]
    if not hosts:
        problems.append("no host answers")
    return {
        "ok": not problems,
        "name": facts.name,
        "made": moment(facts.made),
        "leader": facts.leader,
        "servers": facts.servers,
        "untold": facts.untold,
        "first": facts.first,
        "last": facts.last,
        "bytes": facts.stream["state"].get("bytes"),
        "hosts": sorted(hosts, key=lambda host: str(host.get("node_id"))),
        "problems": problems,
    }


def describe(status: dict[str, Any]) -> list[str]:
    """The state as lines."""
    lines = [
        f"log {status['name']}, made {status['made']}: "
        f"messages {status['first']} to {status['last']}, leader {status['leader'] or 'none'}",
        *(
            f"host {host.get('host')}: up to message {host.get('place')}, lag {host.get('lag')}, "
            f"missing {host.get('missing')}, envelopes {host.get('envelopes')}"
            for host in status["hosts"]
        ),
        *(f"problem: {problem}" for problem in status["problems"]),
    ]
    if status["untold"]:
        lines.append(f"do not tell whether they sync: {', '.join(status['untold'])}")
    return lines
