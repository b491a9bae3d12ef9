"""The status that we send to peers; it can change while they are connected."""

from dataclasses import fields

from wakumail.waku.bloom import FULL_BLOOM
from wakumail.waku.envelope import KnownHashes, Rules
from wakumail.waku.packets import PeerSettings, StatusOptions

TOLERANCE = 10.0
"""Seconds after a change in which the old rules hold too: peers have not heard of it yet
(status-go: 10 s)."""


class OwnStatus:
    """Our status options, and the rules by which envelopes are judged now.

    All peers of a node share one object. An envelope that is in `known` is judged a duplicate.
    """

    def __init__(
        self, options: StatusOptions, rules: Rules, known: KnownHashes | None = None
    ) -> None:
        self.options = options
        self.rules = rules
        self.known = known
        self._settled = rules
        self._last_changes: tuple[StatusOptions, StatusOptions, StatusOptions | None] | None = None
        """The answer of `changes_since`, the same for most peers, and what it was computed from."""

    def change(self, options: StatusOptions, rules: Rules) -> None:
        """Set new options and rules.

        The old rules hold beside the new ones until `settle` is called, TOLERANCE seconds after
        the last change.
        """
        self.options = options
        self.rules = _either(self.rules, rules)
        self._settled = rules

    def changes_since(self, told: StatusOptions) -> StatusOptions | None:
        """The options for a Status Update to a peer that was told `told`; None if none changed."""
        last = self._last_changes
        if last is None or last[0] is not told or last[1] is not self.options:
            last = told, self.options, _changes(told, self.options)
            self._last_changes = last
        return last[2]

    def settle(self) -> None:
        """From now on judge by the rules of the last change alone."""
        self.rules = self._settled


def _either(old: Rules, new: Rules) -> Rules:
    """Rules that accept every envelope that `old` or `new` accepts."""
    return Rules(
        min_pow=min(old.min_pow, new.min_pow),
        min_pow_large=min(old.min_pow_large, new.min_pow_large),
        max_envelope=max(old.max_envelope, new.max_envelope),
        interest=old.interest.union(new.interest),
    )


def _changes(before: StatusOptions, after: StatusOptions) -> StatusOptions | None:
    """The options that changed, for a peer that knows `before`; None if there are none."""
    old, new = PeerSettings().updated(before), PeerSettings().updated(after)
    names = [field.name for field in fields(new)]
    changed = {n: getattr(new, n) for n in names if getattr(old, n) != getattr(new, n)}
    if not changed:
        return None
    if changed.pop("interest", None) is not None:
        if after.topic_interest is not None:
            changed["topic_interest"] = after.topic_interest
        else:
            changed["bloom"] = after.bloom or FULL_BLOOM
    return StatusOptions(**changed)
