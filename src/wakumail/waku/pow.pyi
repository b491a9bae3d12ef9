def mine(
    expiry: int,
    ttl: int,
    topic: bytes,
    data: bytes,
    *,
    target: float,
    max_nonces: int | None = None,
    start: int = 0,
) -> int | None: ...
