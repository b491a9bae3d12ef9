"""The configuration of `wakumail serve`.

values           reading one value from a text
setting          one setting: its names, its kind
settings         Settings, the dataclass, and its contradictions
layers           a TOML file, the environment and flags; the source of each value
toml             writing settings as TOML
statusgo_config  reading the configuration of a status-go node
"""

from wakumail.ops.config.layers import ConfigError, Loaded, load
from wakumail.ops.config.settings import SETTINGS, Advertised, Contradiction, Settings
from wakumail.rpc.namespaces import Namespace

__all__ = [
    "SETTINGS",
    "Advertised",
    "ConfigError",
    "Contradiction",
    "Loaded",
    "Namespace",
    "Settings",
    "load",
]
