"""Settings that are read again: those that can change act at once, the others are named."""

import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.chosen_settings import CHOSEN, environ
from tests.support.envelopes import make
from tests.support.patience import asynchronous
from wakumail.archive.datadir import Datadir
from wakumail.base.rlp import join_list
from wakumail.base.token_bucket import RateLimiter
from wakumail.counters import Counters
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import generate, node_id, parse_node_key
from wakumail.mail.server import Server
from wakumail.ops import assembly, logs
from wakumail.ops.config.layers import Loaded, load
from wakumail.ops.config.setting import Reload as Takes
from wakumail.ops.config.settings import SETTINGS, Settings
from wakumail.ops.named_nodes import NamedNodes
from wakumail.ops.reload import Reload
from wakumail.ops.workers.worker import may_renew
from wakumail.waku.envelope import parse
from wakumail.waku.rate_limits import IncomingLimits, Whitelist
from wakumail.waku.topic_limiter import TopicLimiter

KEY = "77" * 32
RELOADED = [s.field for s in SETTINGS if s.reloads(workers=False)]
SECRETS = {"password_file": "secret", "asymkey_file": "22" * 32}


LOG: dict[str, object] = {}


@pytest.fixture(autouse=True)
def _logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Note the level and the form of the log: a change would take it from the test."""

    def start(verbosity: str, *, log_json: bool) -> None:
        LOG.update(verbosity=verbosity, log_json=log_json)

    monkeypatch.setattr(logs, "start_in_thread", start)


def chosen(tmp_path: Path, *names: str) -> Settings:
    """Settings of which only these have other values than the defaults."""
    texts = {name: CHOSEN[name] for name in names}
    tmp_path.mkdir(exist_ok=True)
    for name in SECRETS.keys() & texts.keys():
        (tmp_path / name).write_text(SECRETS[name])
        texts[name] = str(tmp_path / name)
    texts |= {"datadir": str(tmp_path), "nodekeyhex": KEY, "host": "127.0.0.1"}
    return load({}, environ(texts)).settings


@asynccontextmanager
async def running(settings: Settings, read: Callable[[], Loaded]) -> AsyncIterator[Any]:
    """A server with these settings that is dialing its named nodes, and its Reload."""
    datadir, counters = Datadir(settings.datadir), Counters()
    config = assembly.server_config(settings, datadir, parse_node_key(KEY), counters)
    store = assembly.open_store(settings, datadir, counters)
    server = Server(config, store, counters)
    try:
        await server.node.listen("127.0.0.1", 0)
        named = NamedNodes(settings, datadir)
        await named.trust(server.node)
        await named.sync(server, store)
        await named.dial(server.dialer)
        logs.start_in_thread(settings.verbosity, log_json=settings.log_json)
        yield server, Reload(settings, read, datadir, server, named)
    finally:
        await server.close()


def describe(value: Any) -> Any:
    """Limits as values that can be compared, without what is used up of them."""
    if isinstance(value, tuple):
        return [describe(each) for each in value]
    if isinstance(value, IncomingLimits | RateLimiter | Whitelist):
        left_out = ("_buckets", "_count")
        return {n: describe(v) for n, v in vars(value).items() if n not in left_out}
    if isinstance(value, TopicLimiter):  # it shows its rate only to packets
        packets = (parse(join_list([e.rlp for e in make(n, [bytes(4)])])) for n in range(1, 6))
        return [value.take(os.urandom(64), packet, 0.0) for packet in packets]
    return value


def state(server: Server) -> dict[str, Any]:
    """All that settings decide in a running server, as values that can be compared."""
    assert server.history is not None
    assert server.store is not None
    config, mail, rules = server.node.admission.config, server.history.config, server.rules
    side = server.config.sync if server.partners is None else server.partners._side
    return {
        "admission": (config.maxpeers, config.max_handshakes, config.netrestrict),
        "limits": describe(server.node.config.incoming_limits),
        "status": server.node.status.options,
        "rules": (rules.min_pow, rules.min_pow_large, rules.max_envelope, rules.interest.topics),
        "mail": (mail.policy, mail.completion, mail.max_waiting, describe(server.history._limiter)),
        "keys": (mail.keys.symmetric, [key.secret for key in mail.keys.private]),
        "retention": server.store.retention,
        "dialed": set(server.dialer.targets),
        "trusted": set(server.node.admission.trusted),
        "partners": set() if server.partners is None else set(server.partners.partners),
        "sync": (server.config.sync, side.sync_interval, side.sync_window),
        "log": dict(LOG),
    }


@pytest.mark.parametrize("secret", ["password", "password_file"])
@asynchronous
async def test_a_reload_leaves_the_server_as_if_started_anew(tmp_path: Path, secret: str) -> None:
    names = {*RELOADED} - {"password", "password_file"} | {secret}
    plain, other = chosen(tmp_path / "a"), chosen(tmp_path / "a", *names)
    async with running(chosen(tmp_path / "b", *names), lambda: Loaded(plain, {})) as (fresh, _):
        wanted = state(fresh)
    given = iter([other, plain])
    async with running(plain, lambda: Loaded(next(given), {})) as (server, reload):
        before = state(server)
        assert {name for name in before if before[name] == wanted[name]} == set()
        await reload.run()
        assert state(server) == wanted
        await reload.run()
        after = state(server)
        # Peers are told of limits that are gone; they were not told of any at first.
        for name in ("packet_rate_limits", "bytes_rate_limits", "topic_interest"):
            assert getattr(before["status"], name) is None
        assert after == before
        assert server.counters["reloads_failed"] == 0


@asynchronous
async def test_what_needs_a_restart_is_named_and_the_rest_is_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = chosen(tmp_path)
    caplog.set_level(logging.INFO)
    new = replace(old, port=1, http=True, relay_memory=1 << 21, max_limit=7, nodekeyhex="88" * 32)
    async with running(old, lambda: Loaded(new, {}, ("a: item 1: left out",))) as (server, reload):
        await reload.run()
        assert server.history.config.policy.max_limit == 7
    told = [record.message for record in caplog.records if record.name.endswith("reload")]
    assert told == [
        "a: item 1: left out",
        "a restart is needed for --port, --nodekeyhex, --relay-memory, --http",
        "the settings were read again; changed: --max-limit",
    ]


@asynchronous
async def test_bad_settings_change_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = chosen(tmp_path)
    file = tmp_path / "wakumail.toml"
    read = partial(load, {"datadir": str(tmp_path)}, environ({"nodekeyhex": KEY}), str(file))
    nul = tmp_path / "nul"
    nul.write_bytes(b"a\0b\n")
    bad = [
        ("max_limit = 7\nmaxlimit = 8", "unknown key 'maxlimit'"),
        ("max_limit = 7\nmax_envelope = 99999999", "max_envelope is more than max_packet"),
        # Each would do alone; but a larger packet needs a restart.
        ("max_limit = 7\nmax_envelope = 12_000_000\nmax_packet = 12_000_000", "is more than"),
        ("max_limit = 7\npassword_file = '/nowhere'", "/nowhere"),
        (f"password_file = '{nul}'", f"{nul} holds no password: it holds a NUL"),
        ("max_limit =", "wakumail.toml"),
    ]
    async with running(old, read) as (server, reload):
        before = state(server)
        for number, (text, fault) in enumerate(bad, 1):
            file.write_text(text)
            await reload.run()
            assert fault in caplog.records[-1].message
            assert caplog.records[-1].levelno == logging.ERROR
            assert server.counters["reloads_failed"] == number
        (tmp_path / "static-nodes.json").write_text("{}")
        file.write_text("max_limit = 7")
        await reload.run()
        assert "static-nodes.json: it is no JSON list" in caplog.records[-1].message
        assert state(server) == before
        (tmp_path / "static-nodes.json").write_text("[]")
        await reload.run()
        assert server.history.config.policy.max_limit == 7


@asynchronous
async def test_named_nodes_come_and_go_and_those_of_the_api_stay(tmp_path: Path) -> None:
    def somebody(port: int) -> Enode:
        return Enode(node_id(generate(os.urandom).public_key), "127.0.0.1", port, port)

    first, second, third, ours = (somebody(port) for port in range(1, 5))
    plain = chosen(tmp_path)
    old = replace(plain, static_nodes=(first, second), trusted_nodes=(third,), sync_peers=(first,))
    new = replace(plain, static_nodes=(second,), trusted_nodes=(first,), sync_peers=(third,))
    async with running(old, lambda: Loaded(new, {})) as (server, reload):
        server.dialer.add(ours)
        server.node.admission.trust(ours.node_id)
        keeper = server.dialer._keepers[second.node_id]
        await reload.run()
        assert set(server.dialer.targets) == {e.node_id for e in (first, second, third, ours)}
        assert server.dialer._keepers[second.node_id] is keeper
        assert server.node.admission.trusted == {first.node_id, ours.node_id}
        assert set(server.partners.partners) == {third.node_id}
        # What the API has set stays, too.
        server.set_min_pow(7.0)
        await reload.run()
        assert server.rules.min_pow == 7.0


@asynchronous
async def test_workers_are_renewed_only_with_settings_that_they_can_take(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old, counters = chosen(tmp_path), Counters()
    fixed = {s.field for s in SETTINGS if s.reload in (Takes.NO, Takes.ALONE)}
    # The workers share these: a new one with another value would not fit the others.
    assert fixed >= {"datadir", "host", "port", "nodekey", "nodekeyhex", "workers", "maxpeers"}
    new = replace(old, http=True, relay_memory=1 << 21, max_limit=7)
    assert await may_renew(old, lambda: Loaded(new, {}), counters)
    assert not await may_renew(old, lambda: Loaded(replace(new, maxpeers=9), {}), counters)
    assert caplog.records[-1].message.endswith("has to be restarted for --maxpeers")

    def fail() -> Loaded:
        raise ValueError("a: unknown key")

    assert not await may_renew(old, fail, counters)
    assert caplog.records[-1].message == "the settings stay as they are: a: unknown key"
    assert counters["reloads_failed"] == 2
