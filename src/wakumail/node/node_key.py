"""The file of a private key: that of a node, or another one that signs or opens messages."""

import errno
import os
import tempfile
from pathlib import Path

from wakumail.base.edited_file import read_edited
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
    if not path.parent.is_dir():  # told of the folder, for the file that fails has a made-up name
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))
    if not path.exists():
        _create_node_key(path, generate(random))
    return load_node_key(path)


def _create_node_key(path: Path, key: PrivateKey) -> None:
    """Write `key` to `path` at once as a whole; a file that exists is not replaced."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as file:
        file.write(key.secret.hex().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
        try:
            os.link(file.name, path)
        except FileExistsError:
            return  # another process was faster: its key is used
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
