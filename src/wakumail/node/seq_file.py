"""The sequence numbers of DNS lists that were seen: no root with a lower one is taken."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from wakumail.base.edited_file import read_edited
from wakumail.base.json_text import parse_json
from wakumail.base.whole_file import replace_file
from wakumail.devp2p.dns_tree import ListUrl
from wakumail.errors import reason

log = logging.getLogger(__name__)

MAX_KEPT_SEQS = 1000
"""Lists in the file."""


class SeqFile:
    """A JSON object of sequence numbers by the URL of their list."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.seqs = self._read()

    def keep(self, seqs: Mapping[ListUrl, int]) -> None:
        """Write what has changed. A disk that refuses is told, and that is all."""
        if all(self.seqs.get(url) == seq for url, seq in seqs.items()):
            return
        self.seqs = dict([*{**self.seqs, **seqs}.items()][-MAX_KEPT_SEQS:])
        content = json.dumps({str(url): seq for url, seq in self.seqs.items()}, indent=0)
        try:
            replace_file(self._path, content.encode())
        except OSError as error:
            log.warning("%s: sequence numbers are not kept: %s", self._path, reason(error))

    def _read(self) -> dict[ListUrl, int]:
        """Those in the file, none if it does not exist or is damaged."""
        try:
            kept = parse_json(read_edited(self._path, pipe=False))
            if not isinstance(kept, dict) or not all(type(seq) is int for seq in kept.values()):
                raise ValueError("it is no object of numbers")
            return {ListUrl.parse(url): seq for url, seq in kept.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            log.warning("%s holds no sequence numbers: %s", self._path, reason(error))
            return {}
