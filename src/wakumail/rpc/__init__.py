"""JSON-RPC 2.0 (9/WAKU-RPC): the protocol, the methods, and the transports that carry them."""
