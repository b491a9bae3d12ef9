"""Answers of a name server, made cheap before dnspython parses them on the event loop.

    answer = id 2, flags 2, questions 2, answers 2, authorities 2, others 2, then the records
    record = name, type 2, class 2, TTL 4, size 2, data                     (RFC 1035, 4.1)
    name   = labels and 0, or labels and a pointer to an earlier name       (RFC 1035, 4.1.4)

The authorities and others are cut off, and records of types that we do not ask for refused.
"""

import struct

MAX_ANSWER = 4096
"""Bytes of an answer: several times what a list and other texts at its name take."""

MAX_LABELS = 1000
"""Labels and pointers of all names in an answer together: each costs dnspython some microseconds,
and two bytes may point to 127 of them."""

CNAME, TXT, DNAME = 5, 16, 39
NAMED = CNAME, DNAME
"""Types of records whose data is a name."""

COUNTS = struct.Struct(">HH")
COUNTS_AT, AUTHORITIES_AT, HEADER_SIZE = 4, 8, 12
QUESTION_END = 4
"""Bytes behind the name in a question: type and class."""

RECORD = struct.Struct(">HHIH")
POINTER = 0xC0


class DnsAnswerRefused(OSError):
    """An answer that takes long to parse, or has no form. dnspython gives up its server then."""


def reduced(answer: bytes) -> bytes:
    """The answer without authorities and other records, which nobody reads; DnsAnswerRefused."""
    check_size(len(answer))
    try:
        end = _Names(answer).end_of_answers()
    except (struct.error, IndexError):
        raise DnsAnswerRefused("an answer that is cut short") from None
    return answer[:AUTHORITIES_AT] + bytes(HEADER_SIZE - AUTHORITIES_AT) + answer[HEADER_SIZE:end]


def check_size(size: int) -> None:
    """DnsAnswerRefused for too many bytes."""
    if size > MAX_ANSWER:
        raise DnsAnswerRefused(f"an answer of {size} bytes, where {MAX_ANSWER} are allowed")


class _Names:
    """The names in an answer. They have MAX_LABELS together."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._labels = 0

    def end_of_answers(self) -> int:
        """The place behind the last answer. struct.error or IndexError if the bytes end before."""
        questions, answers = COUNTS.unpack_from(self._answer, COUNTS_AT)
        place = HEADER_SIZE
        for _ in range(questions):
            place = self._end_of_name(place) + QUESTION_END
        for _ in range(answers):
            place = self._end_of_name(place)
            kind, _, _, size = RECORD.unpack_from(self._answer, place)
            place += RECORD.size
            if kind in NAMED:
                self._end_of_name(place)
            elif kind != TXT:
                raise DnsAnswerRefused("an answer with records that nobody asked for")
            place += size
        return place

    def _end_of_name(self, place: int) -> int:
        """The place behind the name that begins at one."""
        end = 0
        while length := self._answer[place]:
            self._labels += 1
            if self._labels > MAX_LABELS:
                raise DnsAnswerRefused(f"an answer with more than {MAX_LABELS} labels of names")
            if length < POINTER:
                place += 1 + length
            else:
                end = end or place + 2
                place = (length - POINTER) << 8 | self._answer[place + 1]
        return end or place + 1
