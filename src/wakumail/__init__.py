"""wakumail: a Waku v1 mailserver, and the client that asks mailservers and posts to them.

The names below are the public API (docs/client.md). Each is imported from its room when it is first
used, so that `import wakumail` by itself loads nothing.
"""

TYPE_CHECKING = False  # as typing's, which takes longer to import than all of this
if TYPE_CHECKING:
    from wakumail.devp2p.enode import Enode
    from wakumail.devp2p.keys import PrivateKey, PublicKey
    from wakumail.errors import AnswerTimeout, PeerGone, WakumailError
    from wakumail.mail.answer import HistoryPage, RequestRefused, Wanted
    from wakumail.mail.client import MailPeer, PostRefused, connect, post
    from wakumail.mail.history_progress import HistoryDisordered
    from wakumail.mail.mailservers import Mailservers, NoMailserver, mailservers
    from wakumail.mail.merged_history import MergedPage
    from wakumail.mail.posting import Posted, Withheld
    from wakumail.mail.request import Form
    from wakumail.node.messages import (
        Key,
        PowNotReached,
        ReceivedMessage,
        compose,
        open_envelope,
    )
    from wakumail.node.node_key import load_node_key, load_or_create_node_key
    from wakumail.waku.bloom import FULL_BLOOM, bloom_of
    from wakumail.waku.confirmations import EnvelopeError
    from wakumail.waku.envelope import Envelope, Verdict
    from wakumail.waku.message import symmetric_key
    from wakumail.waku.topics import (
        contact_code_topic,
        negotiated_topic,
        partitioned_topic,
        public_chat_topic,
    )

_ROOMS = {
    "devp2p.enode": ("Enode",),
    "devp2p.keys": ("PrivateKey", "PublicKey"),
    "errors": ("AnswerTimeout", "PeerGone", "WakumailError"),
    "mail.answer": ("HistoryPage", "RequestRefused", "Wanted"),
    "mail.client": ("MailPeer", "PostRefused", "connect", "post"),
    "mail.history_progress": ("HistoryDisordered",),
    "mail.mailservers": ("Mailservers", "NoMailserver", "mailservers"),
    "mail.merged_history": ("MergedPage",),
    "mail.posting": ("Posted", "Withheld"),
    "mail.request": ("Form",),
    "node.messages": ("Key", "PowNotReached", "ReceivedMessage", "compose", "open_envelope"),
    "node.node_key": ("load_node_key", "load_or_create_node_key"),
    "waku.bloom": ("FULL_BLOOM", "bloom_of"),
    "waku.envelope": ("Envelope", "Verdict"),
    "waku.message": ("symmetric_key",),
    "waku.confirmations": ("EnvelopeError",),
    "waku.topics": (
        "contact_code_topic",
        "negotiated_topic",
        "partitioned_topic",
        "public_chat_topic",
    ),
}

__all__ = [
    "FULL_BLOOM",
    "AnswerTimeout",
    "Enode",
    "Envelope",
    "EnvelopeError",
    "Form",
    "HistoryDisordered",
    "HistoryPage",
    "Key",
    "MailPeer",
    "Mailservers",
    "MergedPage",
    "NoMailserver",
    "PeerGone",
    "PostRefused",
    "Posted",
    "PowNotReached",
    "PrivateKey",
    "PublicKey",
    "ReceivedMessage",
    "RequestRefused",
    "Verdict",
    "WakumailError",
    "Wanted",
    "Withheld",
    "bloom_of",
    "compose",
    "connect",
    "contact_code_topic",
    "load_node_key",
    "load_or_create_node_key",
    "mailservers",
    "negotiated_topic",
    "open_envelope",
    "partitioned_topic",
    "post",
    "public_chat_topic",
    "symmetric_key",
]

if not TYPE_CHECKING:  # a type checker shall find the names above, and no others

    def __getattr__(name: str) -> object:
        """Import a public name from its room (PEP 562)."""
        for room, names in _ROOMS.items():
            if name in names:
                from importlib import import_module

                globals()[name] = value = getattr(import_module(f"{__name__}.{room}"), name)
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        """The public names, and what is loaded already."""
        return sorted({*globals(), *__all__})
