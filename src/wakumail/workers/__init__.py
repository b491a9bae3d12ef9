"""Several processes that are one server: a supervisor, and workers that share port and archive."""
