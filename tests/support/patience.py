"""Times that tests wait for an event that has to come."""

PATIENCE = 240
"""Seconds after which a wait has failed for certain, on any machine, beside any load. No test that
passes waits for as long, and none asserts that anything happens in less."""
