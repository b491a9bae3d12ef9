"""The reasons for which a reconciliation message is refused. Each ends the session.

The rules are those of negentropy, protocol v1; the limits are ours (docs/limits.md).
"""

from wakumail.errors import ProtocolError


class NegentropyError(ProtocolError):
    """A reconciliation message breaks a rule of negentropy v1."""

    counter = "negentropy_malformed"


class MessageEmpty(NegentropyError):
    """A reconciliation message has no version byte."""

    counter = "negentropy_empty"


class MessageTooLarge(NegentropyError):
    """A reconciliation message has more than 1 MiB."""

    counter = "negentropy_too_large"


class VersionInvalid(NegentropyError):
    """The first byte of a reconciliation message is no version."""

    counter = "negentropy_version_invalid"


class VersionUnknown(NegentropyError):
    """A reconciliation message is of a version that we do not speak."""

    counter = "negentropy_version_unknown"


class MessageTruncated(NegentropyError):
    """A reconciliation message ends in the middle of a range."""

    counter = "negentropy_truncated"


class BytesTrailing(NegentropyError):
    """A reconciliation message goes on after the range that ends at infinity."""

    counter = "negentropy_trailing"


class VarintNotMinimal(NegentropyError):
    """A number in a reconciliation message has a leading zero."""

    counter = "negentropy_varint_not_minimal"


class VarintTooLarge(NegentropyError):
    """A number in a reconciliation message has more than 64 bits."""

    counter = "negentropy_varint_too_large"


class BoundInvalid(NegentropyError):
    """A bound in a reconciliation message has a prefix over 32 bytes, or lies behind infinity."""

    counter = "negentropy_bound_invalid"


class BoundDescending(NegentropyError):
    """A bound in a reconciliation message lies before the one before it."""

    counter = "negentropy_bound_descending"


class ModeUnknown(NegentropyError):
    """A range of a reconciliation message has an unknown mode."""

    counter = "negentropy_mode_unknown"


class TooManyRanges(NegentropyError):
    """A reconciliation message has more than 65,536 ranges."""

    counter = "negentropy_too_many_ranges"


class IdOutside(NegentropyError):
    """A reconciliation message names an id where the agreed window has no place for it."""

    counter = "negentropy_id_outside"


class TripsEndless(NegentropyError):
    """A reconciliation is not at its end after 1,000 messages."""

    counter = "negentropy_endless"
