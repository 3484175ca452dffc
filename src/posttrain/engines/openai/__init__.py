"""The `openai` engine: any server that speaks the OpenAI protocol, for evaluating models behind an API."""

from posttrain.engines.openai.config import ServerConfig

__all__ = ["ServerConfig"]
