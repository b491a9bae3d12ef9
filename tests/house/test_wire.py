"""docs/wire.md: every example is what the server reads and writes, and every refusal is listed."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import rlp as oracle

from tests.support.confirmations import listed
from tests.support.envelopes import rules_with
from tests.support.puppet import request_policy
from tests.vectors import VECTORS
from wakumail.base.keccak import keccak256
from wakumail.mail import request as requests
from wakumail.mail.request import (
    FIELDS,
    MAX_LIMIT,
    MAX_REQUEST_TOPICS,
    Form,
    Request,
    RequestError,
    RequestKeys,
    read_request,
)
from wakumail.waku.bloom import bloom_of
from wakumail.waku.completion import Completion, CompletionForm, pack_cursor
from wakumail.waku.confirmations import (
    NO_ERRORS,
    EnvelopeError,
    encode_batch_ack,
    encode_message_response,
)
from wakumail.waku.envelope import REFUSALS, Envelope, Verdict, judge, make_envelope
from wakumail.waku.message import seal, symmetric_key
from wakumail.waku.packets import MAX_REQUEST_SIZE, RateLimits, StatusOptions, WakuDialect

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "wire.md").read_text()
HEX = {
    name: bytes.fromhex(digits)
    for name, digits in re.findall(r"^```hex (\S+)\n([0-9a-f\s]+)^```", PAGE, re.MULTILINE)
}
ORDERS = dict(re.findall(r"^(R\d): `\[(.+?)\]`", PAGE, re.MULTILINE))
"""The fields of each form, as the page has them."""

LOWER, UPPER, LIMIT = 1_700_000_000, 1_700_086_400, 100
TOPIC = bytes.fromhex("cafebabe")
ID = b"0123456789abcdef0123456789abcdef"
KEY = symmetric_key("status-offline-inbox")
KEYS = RequestKeys(KEY)
ENVELOPE = Envelope.decode(HEX["envelope"])
CURSOR = pack_cursor(ENVELOPE.created, ENVELOPE.hash)
STATUS = StatusOptions(
    pow=0.002,
    light=False,
    confirmations=True,
    packet_rate_limits=RateLimits(0, 10, 0),
    topic_interest=(TOPIC,),
    bytes_rate_limits=RateLimits(0, 1 << 20, 0),
)

NAMES = {"id": "id", "from": "lower", "to": "upper"}
"""Names of the page for fields that the code calls otherwise."""


def packet_of(form: Form) -> bytes:
    """The example of a form as a whole packet, in the empty envelope of nim if it is sealed."""
    example = HEX[form.name]
    if form in (Form.R1, Form.R2):
        return example
    data = seal(example, key=KEY, random=bytes)
    return make_envelope(0, 0, bytes(4), data, 0).rlp


def expected(form: Form, request_id: bytes) -> Request:
    """The request that all examples are."""
    by_topics = "topics" in FIELDS[form]
    return Request(
        form=form,
        request_id=request_id,
        lower=LOWER,
        upper=UPPER,
        bloom=b"" if by_topics else bloom_of([TOPIC]),
        topics=(TOPIC,) if by_topics else (),
        limit=LIMIT,
        cursor=b"",
        batch=True,
    )


@pytest.mark.parametrize("form", Form, ids=lambda form: form.name)
def test_each_form_is_read_as_the_page_says(form: Form) -> None:
    packet = packet_of(form)
    request_id = ID if form in (Form.R1, Form.R2) else keccak256(packet)
    assert read_request(packet, KEYS, request_policy(), LOWER) == expected(form, request_id)


@pytest.mark.parametrize("name", ORDERS)
def test_each_list_has_the_fields_in_the_order_of_the_page(name: str) -> None:
    """By another decoder than ours."""
    order = [NAMES.get(field.lower(), field.lower()) for field in ORDERS[name].split(", ")]
    assert tuple(order) == FIELDS[Form[name]]
    items: dict[str, Any] = dict(zip(order, oracle.decode(HEX[name]), strict=True))
    numbers = {field: int.from_bytes(items[field], "big") for field in ("lower", "upper", "limit")}
    assert numbers == {"lower": LOWER, "upper": UPPER, "limit": LIMIT}
    assert items["cursor"] == b""
    assert items.get("id", ID) == ID
    assert items.get("batch", b"\x01") == b"\x01"
    if "topics" in items:
        assert items["topics"] == [TOPIC]
    else:
        assert items["bloom"] == bloom_of([TOPIC])


def test_every_form_has_an_example() -> None:
    assert {form.name for form in Form} <= HEX.keys()
    assert ORDERS.keys() == {form.name for form in Form} - {"R7"}


def test_the_whole_request_opens_with_the_key_on_the_page() -> None:
    assert HEX["key"] == KEY
    packet = HEX["R3-packet"]
    told = re.search(r"request id is\n`(\w{64})`", PAGE)
    assert told is not None
    request_id = bytes.fromhex(told[1])
    assert request_id == keccak256(packet)
    policy = request_policy(request_min_pow=0.002)
    assert read_request(packet, KEYS, policy, LOWER) == expected(Form.R3, request_id)
    assert len(oracle.decode(packet)) == 5


def test_limit_of_zero_is_the_largest() -> None:
    fields = [b"", ID, LOWER, UPPER, 0, b"", b"", [TOPIC]][1:]
    packet = oracle.encode(fields)
    assert read_request(packet, KEYS, request_policy(), LOWER).limit == MAX_LIMIT
    assert f"largest limit**, {MAX_LIMIT:,} by default" in PAGE
    assert f"up to {MAX_REQUEST_TOPICS:,} topics" in PAGE
    assert f"over {MAX_REQUEST_SIZE >> 10} KiB" in PAGE


def test_the_envelope() -> None:
    assert ENVELOPE.hash.hex() in PAGE
    assert f"its PoW {ENVELOPE.pow:.7f}" in PAGE
    assert (ENVELOPE.created, ENVELOPE.ttl, ENVELOPE.nonce) == (LOWER, 50, 2)
    assert oracle.decode(HEX["envelope"])[2:4] == [TOPIC, bytes(range(1, 9))]
    assert judge(HEX["messages"], rules_with(), LOWER).accepted == 1


def test_the_bloom_of_a_topic() -> None:
    """The steps of the page give the bloom that the vectors have for the specification."""
    for case in VECTORS["bloom"]:
        topic = bytes.fromhex(case["topic"])
        bits = [topic[i] + (256 if topic[3] >> i & 1 else 0) for i in range(3)]
        bloom = bytearray(64)
        for bit in bits:
            bloom[bit // 8] |= 1 << bit % 8
        assert bloom.hex() == case["spec_bloom"]


@pytest.mark.parametrize("version", [0, 1])
def test_statuses(version: int) -> None:
    known = STATUS if version else StatusOptions(**{**as_dict(STATUS), "bytes_rate_limits": None})
    dialect = WakuDialect(version)
    assert dialect.encode_status(known) == HEX[f"status-{version}"]
    assert dialect.decode_status(HEX[f"status-{version}"]) == known
    assert dialect.decode_update(22, HEX["update"]) == StatusOptions(pow=0.005)
    pairs = oracle.decode(HEX[f"status-{version}"])
    assert len(pairs if version else pairs[1]) == 5 + version


def as_dict(options: StatusOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in StatusOptions.__slots__}


def test_every_refusal_of_an_envelope_stands_in_the_page() -> None:
    for code in (1, 2):
        (row,) = re.findall(rf"^\| {code} \| (`very.*?|`envelope.*?) \|", PAGE, re.MULTILINE)
        texts = {text for of, text in REFUSALS.values() if of == code}
        assert set(re.findall("`(.*?)`", row)) == texts


def test_confirmations() -> None:
    batch_hash = keccak256(HEX["messages"])
    assert batch_hash.hex() in PAGE
    error = EnvelopeError(ENVELOPE.hash, *REFUSALS[Verdict.VERY_OLD])
    assert encode_message_response(batch_hash, NO_ERRORS) == HEX["message-response"]
    assert encode_message_response(batch_hash, listed([error])) == HEX["message-response-error"]
    assert encode_batch_ack(batch_hash) == HEX["batch-ack"] == oracle.encode(batch_hash)
    report = [error.hash, error.code, error.text.encode()]
    assert oracle.encode([1, [batch_hash, [report]]]) == HEX["message-response-error"]


COMPLETIONS = {
    "more": Completion(ID, ENVELOPE.hash, CURSOR),
    "end": Completion(ID, ENVELOPE.hash),
    "error": Completion(ID, error="request rate limit exceeded"),
}


@pytest.mark.parametrize("kind", COMPLETIONS)
def test_completions(kind: str) -> None:
    completion = COMPLETIONS[kind]
    assert completion.encode(CompletionForm.BYTES) == HEX[f"completion-{kind}"]
    assert Completion.decode(HEX[f"completion-{kind}"]) == completion
    assert completion.encode(CompletionForm.LIST) == HEX[f"list-{kind}"]
    plain = oracle.decode(HEX[f"completion-{kind}"])
    items = oracle.decode(HEX[f"list-{kind}"])
    if kind == "error":
        assert plain == b"ERROR=" + ID + str(completion.error).encode()
        assert items == [ID, bytes(32), b""]
    else:
        assert plain == ID + ENVELOPE.hash + completion.cursor
        assert items == [ID, ENVELOPE.hash, completion.cursor]


def refusals() -> set[str]:
    """The texts of all RequestErrors that are made in the room, with … for what is put in."""
    found = set()
    for path in Path(requests.__file__).parent.glob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                found |= refusals_of(function)
    return found


def refusals_of(function: ast.AST) -> set[str]:
    texts = {
        node.targets[0].id: node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    calls = (node for node in ast.walk(function) if isinstance(node, ast.Call))
    made = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id in KINDS]
    arguments = [call.args[0] for call in made]
    return {template(texts[each.id] if isinstance(each, ast.Name) else each) for each in arguments}


def template(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        parts = (p.value if isinstance(p, ast.Constant) else "…" for p in node.values)
        return "".join(map(str, parts))
    assert isinstance(node, ast.Constant), ast.unparse(node)
    return str(node.value)


def kinds(of: type[RequestError] = RequestError) -> set[str]:
    from wakumail.mail import history  # noqa: F401  it has kinds of its own

    return {of.__name__}.union(*(kinds(each) for each in of.__subclasses__()))


KINDS = kinds()


def test_every_refusal_is_listed() -> None:
    section = PAGE.partition("### ERROR texts")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(.+?)` \|", section, re.MULTILINE)) == refusals()


def test_every_part_of_the_vectors_is_listed() -> None:
    section = PAGE.partition("## Test vectors")[2]
    rows = "".join(re.findall(r"^\| (`.+?`) \|", section, re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", rows)) == VECTORS.keys() - {"meta"}
