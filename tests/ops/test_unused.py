"""Settings that have no effect beside the others are told, and what they need."""

from pathlib import Path

import pytest

from tests.support.chosen_settings import CHOSEN, ENODE
from wakumail.ops.config.layers import check_file, load
from wakumail.ops.config.setting import SECTIONS
from wakumail.ops.config.settings import SETTINGS
from wakumail.ops.config.unused import NEEDS

TOLD = [field for need in NEEDS for field in need.fields.split()]
BESIDE = {
    "beside --nodiscover": {"nodiscover": "true"},
    "without --mindial": {},
    "beside --no-mailserver": {"mailserver": "false"},
}


@pytest.mark.parametrize(
    ("field", "missing"), [(field, need.text) for need in NEEDS for field in need.fields.split()]
)
def test_each_setting_without_effect(field: str, missing: str) -> None:
    given = {field: CHOSEN[field]} | BESIDE.get(missing, {})
    variables = {f"WAKUMAIL_{name.upper()}": text for name, text in given.items()}
    told = f"WAKUMAIL_{field.upper()}: it has no effect {missing}"
    assert told in load({}, variables).remarks


def test_one_that_has_an_effect_is_not_told() -> None:
    assert load({}, {}).remarks == ()
    sound: tuple[dict[str, str | bool], ...] = (
        {"ws": True, "ws_origins": "*", "rpc_token_file": "token", "http_vhosts": "a"},
        {"discovery_v4": True, "bootnodes": str(ENODE), "mindial": "1"},
        {"cluster": "nats://log:4222", "cluster_name": "fleet"},
        {"cluster_name": "wakumail"},  # the default, as `config show` writes it
        {"rate_packets_ip": "5", "rate_whitelist": "10.0.0.1"},
    )
    for flags in sound:
        assert load(flags, {}).remarks == (), flags


def test_every_setting_of_a_section_that_can_be_off_is_told() -> None:
    switches = [s.field for s in SETTINGS if s.field in SECTIONS]
    belong = {s.field for s in SETTINGS if s.field.partition("_")[0] in switches}
    assert belong - {*switches} <= {*TOLD}


def test_a_file_is_told_by_its_keys(tmp_path: Path) -> None:
    file = tmp_path / "wakumail.toml"
    file.write_text("[ws]\norigins = ['*']\n")
    told = f"{file}: ws.origins: it has no effect without --ws"
    assert load({}, {}, f"{tmp_path}/./wakumail.toml").remarks == (told,)
    assert load({"ws": True}, {}, str(file)).remarks == ()
    assert check_file(file) == ([], [told])
