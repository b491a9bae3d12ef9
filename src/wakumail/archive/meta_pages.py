"""The two meta pages of an archive's file, checked without LMDB, which goes by the newer one.

Commit n writes page n % 2. So the other page has commit n - 1, and only a new file has 0 in both.
A page in the other's place, or with another number, lets LMDB take an older state for the last one,
and each row of that is sound. An older number that fits cannot be told from the right one.
"""

import os
import struct
from pathlib import Path
from typing import NamedTuple

from wakumail.base.regular_file import open_regular
from wakumail.errors import ArchiveError, reason

META_PAGE = struct.Struct("=Q 32x I 100x Q")
"""Of a meta page: its number, the size of pages at byte 40, and its commit at byte 144."""


class MetaPage(NamedTuple):
    """A meta page of LMDB."""

    number: int
    page_size: int
    commit: int


def check_meta_pages(directory: str | os.PathLike[str]) -> list[str]:
    """A sentence if the meta pages of directory/data.mdb do not fit together. ArchiveError."""
    try:
        pages = _read(directory)
        while (again := _read(directory)) != pages:  # a server may commit between the two pages
            pages = again
    except OSError as error:
        raise ArchiveError(reason(error)) from error
    if not pages:
        raise ArchiveError(f"{os.fsdecode(directory)}/data.mdb is empty, or cut in its first page")
    if _fit(pages):
        return []
    found = ", ".join(
        f"page {place} has the number {page.number} and commit {page.commit}"
        for place, page in enumerate(pages)
    )
    return [f"the meta pages do not fit together, the last commits may be missing ({found})"]


def _read(directory: str | os.PathLike[str]) -> list[MetaPage]:
    """The meta pages that the file has."""
    pages: list[MetaPage] = []
    with open(Path(directory) / "data.mdb", "rb", opener=open_regular) as file:
        while len(pages) < 2 and len(read := file.read(META_PAGE.size)) == META_PAGE.size:
            pages.append(MetaPage(*META_PAGE.unpack(read)))
            file.seek(pages[0].page_size)
    return pages


def _fit(pages: list[MetaPage]) -> bool:
    """True for what commits leave behind."""
    if [page.number for page in pages] != [0, 1] or pages[0].page_size != pages[1].page_size:
        return False
    even, odd = (page.commit for page in pages)
    return (even, odd) == (0, 0) or (even % 2 == 0 and abs(even - odd) == 1)
