"""A list in the DNS between real servers: one signs its record into it, another finds it there."""

import asyncio
import json
import os
from pathlib import Path

from tests.support.dns_lists import record
from tests.support.dns_server import TxtServer
from tests.support.networks import Node
from tests.support.patience import PATIENCE, asynchronous
from tests.support.processes import run_json
from wakumail.devp2p.enode import Enode
from wakumail.node.node_key import load_or_create_node_key


@asynchronous
async def test_a_server_calls_the_mailserver_of_a_list(tmp_path: Path) -> None:
    load_or_create_node_key(tmp_path / "key", os.urandom)
    signing = ["dns", "sign", "--key", tmp_path / "key", "--domain", "list.example"]
    with Node(tmp_path / "listed", "--discovery.v4") as listed:
        # One that is not there stands beside it.
        tree = run_json(*signing, "--datadir", listed.datadir, record(1))
        assert run_json(*signing, listed.enode, record(1)) == tree, "its record is asked for"
        with TxtServer(tree["txt"]) as dns:
            [read] = run_json("dns", "verify", tree["url"], "--dns-server", dns.at)["lists"]
            assert (len(read["nodes"]), read["mailservers"]) == (2, 1)
            flags = ["--discovery.dns", tree["url"], "--discovery.dns-server", dns.at]
            with Node(tmp_path / "finding", *flags, "--mindial", 1) as finding:
                await finding.attach()

                async with asyncio.timeout(PATIENCE):
                    while not (peers := await finding.caller.call("admin_peers")):
                        pass
                [called] = [Enode.parse(each["enode"]).node_id for each in peers]
                assert called == Enode.parse(listed.enode).node_id
                finding.detach()
                assert finding.stop() == 0
            seqs = json.loads((finding.datadir / "dns-lists.json").read_text())
            assert seqs == {tree["url"]: 1}
