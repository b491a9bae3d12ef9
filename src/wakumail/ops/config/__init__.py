"""The configuration of `wakumail serve`.

values           reading one value from a text
setting          one setting: its names, its kind
settings         Settings, the dataclass, and its contradictions
unused           settings that have no effect beside the others
layers           a TOML file, the environment and flags; the source of each value
toml             writing settings as TOML
statusgo_config  reading the configuration of a status-go node
"""
