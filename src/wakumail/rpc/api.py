"""All methods of the API, as a table."""

from collections.abc import Callable, Collection
from typing import Any

from wakumail.mail.server import Server
from wakumail.rpc.methods.admin import AdminMethods
from wakumail.rpc.methods.net import NetMethods, RpcMethods, Web3Methods
from wakumail.rpc.methods.sync import SyncMethods
from wakumail.rpc.methods.waku import WakuMethods
from wakumail.rpc.methods.wakuext import WakuExtMethods
from wakumail.rpc.namespaces import Namespace

NAMESPACES = tuple(Namespace)
"""All namespaces that a transport can offer."""


def all_methods(server: Server, namespaces: Collection[str]) -> dict[str, Callable[..., Any]]:
    """Every method by its name; rpc_modules lists the `namespaces` that a transport offers."""
    groups = (
        WakuMethods(server),
        WakuExtMethods(server),
        AdminMethods(server),
        SyncMethods(server),
        NetMethods(server),
        Web3Methods(),
        RpcMethods(namespaces),
    )
    return {name: method for group in groups for name, method in group.methods().items()}
