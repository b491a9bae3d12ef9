"""The namespaces of the API."""

from enum import StrEnum


class Namespace(StrEnum):
    """Groups of RPC methods, by the first part of their names."""

    WAKU = "waku"
    WAKUEXT = "wakuext"
    ADMIN = "admin"
    NET = "net"
    WEB3 = "web3"
    RPC = "rpc"
