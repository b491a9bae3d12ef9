"""All methods of the API, as a table."""

from collections.abc import Callable, Collection
from typing import Any

from wakumail.mail.server import Server
from wakumail.rpc.methods.admin import Admin
from wakumail.rpc.methods.net import Net, Rpc, Web3
from wakumail.rpc.methods.waku import Waku
from wakumail.rpc.methods.wakuext import WakuExt
from wakumail.rpc.namespaces import Namespace

NAMESPACES = tuple(Namespace)
"""All that a transport can offer."""


def all_methods(server: Server, namespaces: Collection[str]) -> dict[str, Callable[..., Any]]:
    """Every method by its name; rpc_modules tells of the `namespaces` that a transport offers."""
    apis = (Waku(server), WakuExt(server), Admin(server), Net(server), Web3(), Rpc(namespaces))
    return {name: method for api in apis for name, method in api.methods().items()}
