"""The wait of messages of a log: of one that is there long, and not of a log that goes on."""

from wakumail.ops.cluster.unread import Unread


def test_a_host_that_keeps_up_is_not_late_though_there_is_always_something() -> None:
    unread = Unread()
    for now in range(100):
        unread.look(10 * now, 10 * now + 5, now)
        assert unread.seconds <= 1


def test_a_message_that_waits_is_told() -> None:
    unread = Unread()
    unread.look(3, 3, 0.0)
    assert unread.seconds == 0
    for now in range(1, 20):
        unread.look(3, 3 + now, now)
    assert unread.seconds == 18
    unread.look(4, 40, 20.0)
    assert unread.seconds == 0
    unread.look(40, 40, 30.0)
    assert unread.seconds == 0
