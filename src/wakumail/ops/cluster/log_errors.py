"""The errors of the log."""

from wakumail.errors import WakumailError


class LogUnavailable(WakumailError):
    """The log did not answer, or has no majority; it may the next time."""

    counter = "cluster_log_unavailable"


class LogRefused(WakumailError):
    """The log is not one on which a confirmation would be true; the text says why."""

    counter = "cluster_log_refused"


class ClusterFailed(WakumailError):
    """A cluster is not as it should be; the text says why."""

    counter = "cluster_failed"
