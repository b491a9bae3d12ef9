"""Our side of sync, the same for every peer."""

from collections.abc import Callable
from dataclasses import dataclass

from wakumail.archive.store import Store
from wakumail.mail.sync.desk import Desk
from wakumail.mail.sync.items import Window
from wakumail.mail.sync.packets import Status
from wakumail.mail.sync.remembered import Remembered
from wakumail.waku.envelope import Rules


@dataclass(slots=True)
class Side:
    """Our side, the same for every peer."""

    desk: Desk
    store: Store
    status: Callable[[], Status]
    """Our status at this moment."""
    rules: Callable[[], Rules]
    """The size, PoW and topics of the envelopes that we take."""
    refused: Remembered
    """The envelopes that we refused, whoever had them."""
    on_equal: Callable[[Window], None]
    """Called when a peer has the same as we in a window."""
    sync_interval: float
    """Seconds between two rounds; 0: rounds are made on demand only, and no peer is told of what
    arrives between them."""
    sync_window: int
    """Seconds before now that rounds go back, 0 for all that is kept."""
