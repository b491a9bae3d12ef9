"""The side of a reconciliation that answers. It learns nothing, and remembers nothing."""

from wakumail.mail.sync.items import ALL_TIMES, START, Items, Window
from wakumail.mail.sync.message_errors import VersionUnknown
from wakumail.mail.sync.message_reader import (
    FINGERPRINT,
    IDS,
    MAX_MESSAGE,
    VERSION,
    MessageReader,
)
from wakumail.mail.sync.reply import Reply


def answer(
    message: bytes, items: Items, window: Window = ALL_TIMES, *, frame_limit: int = MAX_MESSAGE
) -> bytes:
    """The answer to a message of an initiator (negentropy v1).

    A version that we do not speak is answered with the one that we do. NegentropyError for a
    message that breaks a rule.
    """
    reply = Reply(items, window, frame_limit)
    try:
        ranges = MessageReader(message)
    except VersionUnknown:
        return bytes([VERSION])
    lower = START
    for upper, mode, payload in ranges:
        if reply.end_early(lower):
            break
        if mode == FINGERPRINT:
            reply.compare(lower, upper, payload)
        elif mode == IDS:
            reply.tell_ids(lower, upper)
        else:
            reply.skip(upper)
        if reply.is_cut:
            break
        lower = upper
    return reply.message
