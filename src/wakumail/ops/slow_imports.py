"""Imports what takes long to import, before there are peers who would wait for it."""

from importlib import import_module

from wakumail.ops.config.settings import Settings


def import_what_is_on(settings: Settings) -> None:
    """Import the parts that these settings turn on: 0.1 s. They are imported by name later."""
    if settings.listens_http:
        import_module("wakumail.ops.endpoints")
    if settings.searches_peers:
        import_module("wakumail.ops.peer_search")
