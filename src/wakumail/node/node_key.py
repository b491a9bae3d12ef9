"""The file of a private key: that of a node, or another one that signs or opens messages."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from wakumail.base.edited_file import read_edited
from wakumail.base.whole_file import create_file, sweep_unfinished
from wakumail.devp2p.keys import PrivateKey, Random, generate, parse_node_key


def load_node_key(path: str | os.PathLike[str]) -> PrivateKey:
    """The node key in the file at `path`: 64 hexadecimal digits.

    ValueError for any other content. OSError when the file cannot be read.
    """
    path = Path(path)
    try:
        return parse_node_key(read_edited(path))
    except ValueError as error:
        raise ValueError(f"{path} holds no node key: {error}") from None


def load_or_create_node_key(
    path: str | os.PathLike[str], random: Random = os.urandom
) -> PrivateKey:
    """The node key in the file at `path`; the file is created, with mode 0600, if there is none.

    ValueError as load_node_key; OSError when the file cannot be read or made.
    """
    path = Path(path)
    if not path.parent.is_dir():  # told of the folder, for that a new file is missing is no news
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))
    if path.exists():
        sweep_unfinished(path)
    else:
        with suppress(FileExistsError):  # another process was faster: its key is used
            create_file(path, f"{generate(random).secret.hex()}\n".encode())
    return load_node_key(path)
