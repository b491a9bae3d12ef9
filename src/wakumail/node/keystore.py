"""The keys that a node holds for those who use it, in memory only (9/WAKU-RPC, "Methods")."""

from wakumail.devp2p.keys import PrivateKey, Random, generate
from wakumail.errors import WakumailError
from wakumail.waku.message import SYMMETRIC_KEY_SIZE, checked_key

KEY_ID_SIZE = 32
"""Bytes of a key's id, which is written in hexadecimal digits."""

MAX_KEYS = 10_000
"""Keys of both kinds together."""


class KeyUnknown(WakumailError):
    """No key of that kind has this id."""

    counter = "key_unknown"


class KeysFull(WakumailError):
    """10,000 keys are held. Delete one first."""

    counter = "keys_full"


class KeyStore:
    """Private and symmetric keys by their ids, which are random and tell nothing of the key.

    A key that is added twice has two ids. Deleting one leaves the other.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._private: dict[str, PrivateKey] = {}
        self._symmetric: dict[str, bytes] = {}

    # -- key pairs ----------------------------------------------------------------------------

    def new_key_pair(self) -> str:
        """Make a key pair; its id. KeysFull."""
        return self.add_private_key(generate(self._random))

    def add_private_key(self, key: PrivateKey) -> str:
        """Keep a key pair; its id. KeysFull."""
        key_id = self._new_id()
        self._private[key_id] = key
        return key_id

    def has_key_pair(self, key_id: str) -> bool:
        """True if a key pair has this id."""
        return key_id in self._private

    def private_key(self, key_id: str) -> PrivateKey:
        """The private key of a pair, which knows its public key. KeyUnknown."""
        try:
            return self._private[key_id]
        except KeyError:
            raise KeyUnknown(f"no key pair has the id {key_id}") from None

    def delete_key_pair(self, key_id: str) -> bool:
        """Forget a key pair. False if there is none with this id."""
        return self._private.pop(key_id, None) is not None

    # -- symmetric keys -----------------------------------------------------------------------

    def new_symmetric_key(self) -> str:
        """Make a symmetric key; its id. KeysFull."""
        return self.add_symmetric_key(self._random(SYMMETRIC_KEY_SIZE))

    def add_symmetric_key(self, key: bytes) -> str:
        """Keep a symmetric key of 32 bytes; its id. ValueError for another size, KeysFull."""
        checked_key(key)
        key_id = self._new_id()
        self._symmetric[key_id] = key
        return key_id

    def has_symmetric_key(self, key_id: str) -> bool:
        """True if a symmetric key has this id."""
        return key_id in self._symmetric

    def symmetric_key(self, key_id: str) -> bytes:
        """The 32 bytes of a symmetric key. KeyUnknown."""
        try:
            return self._symmetric[key_id]
        except KeyError:
            raise KeyUnknown(f"no symmetric key has the id {key_id}") from None

    def delete_symmetric_key(self, key_id: str) -> bool:
        """Forget a symmetric key. False if there is none with this id."""
        return self._symmetric.pop(key_id, None) is not None

    # -- ids ----------------------------------------------------------------------------------

    def _new_id(self) -> str:
        if len(self._private) + len(self._symmetric) >= MAX_KEYS:
            raise KeysFull(f"{MAX_KEYS} keys are held")
        return self._random(KEY_ID_SIZE).hex()
