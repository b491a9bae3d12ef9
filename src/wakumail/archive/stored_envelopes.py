"""Envelopes as they lie in an archive, parsed: one that does not parse is damage."""

from wakumail.errors import ArchiveDamaged, RlpError
from wakumail.waku.envelope import Batch, parse_stream


def parse_stored(joined: bytes) -> Batch:
    """Envelopes that `Archive.follow` gives, which does not look into them. ArchiveDamaged."""
    try:
        return parse_stream(joined, final=True)[0]
    except RlpError as error:
        raise ArchiveDamaged(
            f"the archive has what is no envelope: {error}; wakumail archive verify tells more"
        ) from None
