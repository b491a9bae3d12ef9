"""Fixtures that tests of this room share."""

import importlib
import sys
from typing import Any

import pytest


@pytest.fixture(scope="session")
def plyvel() -> Any:
    """The package plyvel, or that which stands for it on newer Pythons."""
    return importlib.import_module("plyvel" if sys.version_info < (3, 13) else "plyvel_next")
