"""Programs that a user may lack; CI has them."""

import os
import shutil

import pytest


def tool(name: str, where: str | None = None) -> str:
    """The path of a program, in the directories of `where` or of PATH.

    Without it the test is skipped, and in CI it fails.
    """
    if path := shutil.which(name, path=where):
        return path
    if os.environ.get("CI"):
        pytest.fail(f"{name} is not installed")
    pytest.skip(f"{name} is not installed")
