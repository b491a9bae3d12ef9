"""All methods of the API, as a table."""

from collections.abc import Callable, Collection
from typing import Any

from wakumail.mail.server import Server
from wakumail.rpc.admin import Admin
from wakumail.rpc.namespaces import Namespace
from wakumail.rpc.net import Net, Rpc, Web3
from wakumail.rpc.waku import Waku
from wakumail.rpc.wakuext import WakuExt

NAMESPACES = tuple(Namespace)
"""All that a transport can offer."""


def all_methods(server: Server, namespaces: Collection[str]) -> dict[str, Callable[..., Any]]:
    """Every method by its name; rpc_modules tells of the `namespaces` that a transport offers."""
    apis = (Waku(server), WakuExt(server), Admin(server), Net(server), Web3(), Rpc(namespaces))
    return {name: method for api in apis for name, method in api.methods().items()}
