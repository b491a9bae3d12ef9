"""A restored identity is not taken while another node has it."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.patience import asynchronous
from tests.support.puppet import mailserver
from wakumail.archive.datadir import Datadir
from wakumail.devp2p.keys import generate, node_id
from wakumail.ops.restored import TwinRuns, refuse_twin

KEY = generate(os.urandom)


@asynchronous
async def test_an_identity_is_not_taken_while_its_node_answers(tmp_path: Path) -> None:
    datadir = Datadir(tmp_path / "restored")
    datadir.make()
    await refuse_twin(datadir, KEY)  # it was made here
    async with mailserver(tmp_path / "server") as (server, enode):
        key = server.config.node.connection.node_key
        stranger = replace(enode, node_id=node_id(KEY.public_key))
        nobody = replace(enode, port=1)
        places = json.dumps([str(place) for place in (nobody, stranger, enode)])
        datadir.restored.write_text(places)
        with pytest.raises(TwinRuns, match=f"still answers at {enode.address}: stop that"):
            await refuse_twin(datadir, key)
        assert datadir.restored.exists()
        await refuse_twin(datadir, KEY)  # it has another key by now
        assert not datadir.restored.exists()
        datadir.restored.write_text(places)
    await refuse_twin(datadir, key)
    assert not datadir.restored.exists()
    datadir.restored.write_text("{}")
    with pytest.raises(ValueError, match="is no JSON list"):
        await refuse_twin(datadir, key)
