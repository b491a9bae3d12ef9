"""admin_sync*: the peers whose archives are made equal to ours."""

import time
from collections.abc import Callable
from typing import Any

from wakumail.errors import ArchiveError, PeerGone
from wakumail.mail.server import Server
from wakumail.rpc import params
from wakumail.rpc.jsonrpc import INVALID_PARAMS, RpcError, Session
from wakumail.rpc.params import Fields
from wakumail.waku.envelope import MAX_TIME

SYNC_FAILED = -32010
"""The code of the error of a round that failed; the text says why."""


class SyncMethods:
    """The methods of an operator who syncs archives."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def methods(self) -> dict[str, Callable[..., Any]]:
        """The methods by their names on the wire."""
        return {"admin_syncPeers": self.peers, "admin_sync": self.sync}

    def peers(self, _session: Session) -> list[dict[str, Any]]:
        """The peers that we sync with, and how far each is."""
        partners = self._server.partners
        if partners is None:
            return []
        from wakumail.mail.sync.report import tally_as_json  # loaded where it is needed

        now = time.monotonic()
        return [
            {
                "id": partner.enode.node_id.hex(),
                "enode": str(partner.enode),
                "name": partner.name,
                "connected": partner.session is not None,
                **tally_as_json(partner.tally, now),
            }
            for partner in partners.partners.values()
        ]

    async def sync(self, _session: Session, enode: Any, choice: Any = None) -> dict[str, Any]:
        """Make rounds with a peer until both have the same, or only compare (`dryRun`)."""
        target = params.enode(enode, "enode")
        fields = Fields({} if choice is None else choice, "choice", ("from", "to", "dryRun"))
        first = fields.optional("from", params.integer, 0)
        last = fields.optional("to", params.integer, MAX_TIME)
        moves = not fields.optional("dryRun", params.flag, False)
        if first > last:
            raise RpcError(INVALID_PARAMS, f"from must not be after to ({first} > {last})")
        store = self._server.store
        if store is None:
            raise RpcError(SYNC_FAILED, "this node has no archive")
        from wakumail.mail.sync.items import Window
        from wakumail.mail.sync.report import outcome_as_json
        from wakumail.mail.sync.round import RoundFailed

        try:
            outcome = await self._server.sync(store).make_round(
                target, Window(first, last + 1), moves=moves
            )
        except ValueError as error:
            raise RpcError(INVALID_PARAMS, f"enode: {error}") from None
        except (RoundFailed, ArchiveError, PeerGone) as error:
            raise RpcError(SYNC_FAILED, str(error)) from None
        return outcome_as_json(outcome)
