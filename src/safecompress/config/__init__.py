"""Config: a spec file in TOML, read strictly into the product's own values, and written back with every default."""

from safecompress.config.read import load_config, load_limits, parse_config
from safecompress.config.values import Config, DataConfig, Limits, ModelConfig

__all__ = ["Config", "DataConfig", "Limits", "ModelConfig", "load_config", "load_limits", "parse_config"]
