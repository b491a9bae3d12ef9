"""The content of a history, counted and listed."""

from collections.abc import Sequence
from typing import Any

from wakumail.base.text import counted
from wakumail.cli.printing import entry, message_entry
from wakumail.node.messages import ReceivedMessage
from wakumail.waku.envelope import Envelope


class HistoryListing:
    """Counts envelopes and opened messages; if `detailed`, it also lists them."""

    def __init__(self, *, detailed: bool) -> None:
        self.envelopes = 0
        self._opened = 0
        self._detailed = detailed
        self._messages: list[dict[str, Any]] = []
        self._unopened: list[dict[str, Any]] = []

    def add(
        self, envelopes: Sequence[Envelope], messages: Sequence[ReceivedMessage | None]
    ) -> None:
        """Take envelopes, and the message of each."""
        self.envelopes += len(envelopes)
        self._opened += sum(message is not None for message in messages)
        if not self._detailed:
            return
        for envelope, message in zip(envelopes, messages, strict=True):
            if message is None:
                self._unopened.append(entry(envelope))
            else:
                self._messages.append(message_entry(message))

    def result(self) -> dict[str, Any]:
        """The totals, and the list, for a program."""
        result: dict[str, Any] = {"envelopes": self.envelopes}
        if self._detailed:
            result |= {"messages": self._messages, "unopened": self._unopened}
        return result

    def summary(self, where: str) -> str:
        """The totals for a person; `where` follows the number of envelopes."""
        opened = f", {self._opened} opened" if self._opened else ""
        return f"{counted(self.envelopes, 'envelope')}{where}{opened}"
