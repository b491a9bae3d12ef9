"""docs/threats.md: every threat has its bound, and tests that exist."""

import pytest

from tests.support.pages import DOCS, holders, names_in

ROWS = [
    [cell.strip() for cell in line.split("|")[1:-1]]
    for line in (DOCS / "threats.md").read_text().splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| threat |"))
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_threat_is_held_by_tests_that_exist(row: list[str]) -> None:
    threat, bound, shown_by = row
    assert threat
    assert bound
    tests = holders(shown_by)
    assert tests, "no test shows it"
    for file, name in tests:
        assert name in names_in(file), f"{file} has no {name} that has to pass"
