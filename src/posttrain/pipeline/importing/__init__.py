"""Other trainers' configurations as recipes: LLaMA-Factory's YAML, TRL's SFTConfig and GRPOConfig."""

from posttrain.pipeline.importing.convert import KINDS, Imported, as_yaml, import_settings
from posttrain.pipeline.importing.read import read_arguments, read_settings
from posttrain.pipeline.importing.settings import Unmapped

__all__ = ["KINDS", "Imported", "Unmapped", "as_yaml", "import_settings", "read_arguments", "read_settings"]
