"""Our own status: what we are to our peers, changeable while they are connected."""

from dataclasses import fields

from wakumail.waku.bloom import FULL_BLOOM
from wakumail.waku.envelope import KnownHashes, Rules
from wakumail.waku.packets import PeerSettings, StatusOptions

TOLERANCE = 10.0
"""Seconds in which envelopes are taken by the rules of before a change too: what peers sent until
they heard of it is not their fault (status-go: 10 s)."""


class OwnStatus:
    """Our status options, and the rules by which envelopes are judged now.

    One object is shared by all peers of a node. `known` are envelopes that we have: they come in
    as duplicates.
    """

    def __init__(
        self, options: StatusOptions, rules: Rules, known: KnownHashes | None = None
    ) -> None:
        self.options = options
        self.rules = rules
        self.known = known
        self._settled = rules

    def change(self, options: StatusOptions, rules: Rules) -> StatusOptions | None:
        """Be another node; answers what Status Updates have to say, None when nothing.

        The old rules hold beside the new ones until `settle`, TOLERANCE seconds after the last
        change.
        """
        changed = _changes(self.options, options)
        self.options = options
        self.rules = _either(self.rules, rules)
        self._settled = rules
        return changed

    def settle(self) -> None:
        """Judge by the rules of the last change alone."""
        self.rules = self._settled


def _either(old: Rules, new: Rules) -> Rules:
    """Rules that accept whatever one of both accepts."""
    return Rules(
        min_pow=min(old.min_pow, new.min_pow),
        min_pow_large=min(old.min_pow_large, new.min_pow_large),
        max_envelope=max(old.max_envelope, new.max_envelope),
        interest=old.interest.union(new.interest),
    )


def _changes(before: StatusOptions, after: StatusOptions) -> StatusOptions | None:
    """The options that make a peer that heard of `before` think of us as after `after`."""
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
