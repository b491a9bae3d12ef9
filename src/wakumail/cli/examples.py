"""The examples at the end of each command's help."""

import argparse
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Example: TypeAlias = tuple[str, str]
"""Its purpose, and the words after `wakumail`."""

LOG = "--cluster nats://192.0.2.7:4222,nats://192.0.2.8:4222,nats://192.0.2.9:4222"
"""The servers of the log in the examples of `cluster`."""

EXAMPLES: Mapping[str, Sequence[Example]] = {
    "serve": (
        ("an archive in ./data, with metrics on port 9305", "serve --metrics"),
        ("a week of history, at most 20 GB", "serve --retention 7 --max-size 20000000000"),
        (
            "a public host with four processes",
            "serve --datadir /var/lib/wakumail --nat extip:192.0.2.7 --workers 4",
        ),
    ),
    "attach": (
        ("the enode, the node id and the ports", "attach admin_nodeInfo"),
        ("a node elsewhere", "attach --url http://127.0.0.1:8545 waku_info"),
    ),
    "config show": (
        ("all settings, and their sources", "config show --config wakumail.toml"),
        ("one setting", "config show --json | jq .retention"),
    ),
    "config check": (
        ("before a start or a reload", "config check wakumail.toml"),
        ("what becomes of the keys of status-go", "config check config.json"),
    ),
    "config import": (
        ("take over the settings of status-go", "config import config.json --out wakumail.toml"),
    ),
    "request": (
        ("the last 24 hours of a public chat", "request $ENODE --chat tea-room"),
        ("all envelopes of a day, as a dump", "request $ENODE --bloom full --all --out day.dump"),
        (
            "two mailservers, and the differences between them",
            "request $ENODE $ENODE2 --merge --topic 3df0594a --from 7d",
        ),
    ),
    "post": (
        ("a message in a public chat", 'post $ENODE --chat tea-room --payload "good morning"'),
        ("the envelopes of a dump", "post $ENODE --dump day.dump"),
    ),
    "canary": (("hello, status and one request", "canary $ENODE --timeout 10"),),
    "archive stat": (("the size, the days and the limits", "archive stat --datadir data"),),
    "archive import": (
        ("a dump", "archive import --datadir data day.dump"),
        ("the LevelDB of status-go", "archive import --datadir data --leveldb /data/waku"),
        (
            "the PostgreSQL of status-go",
            "archive import --datadir data --postgres postgresql://user@host/database",
        ),
    ),
    "archive export": (
        ("everything, in order of arrival", "archive export --datadir data all.dump"),
        ("a day of one topic", "archive export --datadir data --topic 3df0594a --from 24h -"),
    ),
    "archive merge": (
        ("the histories of two hosts in one", "archive merge --datadir data other-host/data"),
    ),
    "archive prune": (
        ("keep 30 days", "archive prune --datadir data --before 30d"),
        ("keep 100 GB", "archive prune --datadir data --max-size 100000000000"),
    ),
    "archive verify": (("every envelope and every index", "archive verify --datadir data"),),
    "archive backup": (
        ("a copy that another host can take over", "archive backup --identity --datadir data copy"),
    ),
    "archive restore": (("a backup on a new host", "archive restore copy --datadir data"),),
    "archive compact": (("after a prune", "archive compact --datadir data"),),
    "browse": (("the archive of a server that runs", "browse --datadir data --port 8080"),),
    "sync": (
        ("tell the differences", "sync $ENODE --datadir data --dry-run"),
        ("make the last week equal", "sync $ENODE --datadir data --from 7d"),
    ),
    "cluster init": (("make the log, on three servers", f"cluster init {LOG}"),),
    "cluster status": (("the log, and how far each server is", f"cluster status {LOG}"),),
    "cluster adopt": (("after the loss of the former log", f"cluster adopt {LOG} --datadir data"),),
    "cluster demo": (("a cluster on this machine, and kills", "cluster demo --rounds 5"),),
    "key new": (("a new node key", "key new data/nodekey"),),
    "key show": (("its node id", "key show data/nodekey"),),
    "key enr": (
        ("a node record of an address", "key enr data/nodekey --ip 192.0.2.7 --tcp 30303"),
    ),
    "dns sign": (
        (
            "a list of all nodes in a file",
            "dns sign --nodes nodes.json --key list.key --domain nodes.example.org --out list.json",
        ),
    ),
    "dns verify": (
        ("a list in the DNS", "dns verify $ENRTREE"),
        ("a list in a file", "dns verify list.json"),
    ),
    "dns zone": (("a zone file to publish", "dns zone list.json"),),
    "bench": (
        ("all goals, as a page", "bench --targets --html report.html"),
        ("one scenario on a running server", "bench request --enode $ENODE"),
    ),
}
"""The examples of each command that runs."""


def add_examples(parser: argparse.ArgumentParser) -> None:
    """Give the parser of a command, and those of its actions, their examples."""
    shown = EXAMPLES.get(parser.prog.partition(" ")[2], ())
    if shown:
        parts = (f"  # {purpose}\n  wakumail {words}\n" for purpose, words in shown)
        parser.epilog = "examples:\n" + "\n".join(parts)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                add_examples(each)
