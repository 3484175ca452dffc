"""The config machinery: pydantic models that forbid unknown keys and say what was meant; YAML; ``a.b=c`` overrides.

Schemas live in the rooms that use them; this package knows none of them and imports no torch.
"""

from posttrain.config.model import Config, dotted_keys, parse
from posttrain.config.overrides import apply_overrides, parse_override, set_at
from posttrain.config.yaml import load_yaml

__all__ = ["Config", "apply_overrides", "dotted_keys", "load_yaml", "parse", "parse_override", "set_at"]
