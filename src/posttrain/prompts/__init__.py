"""Prompt templates: the one place where text becomes token ids, and where loss masks are made."""

from posttrain.prompts.chat import chat_ids
from posttrain.prompts.registry import TEMPLATES, get_template
from posttrain.prompts.shots import GSM8K_SHOTS
from posttrain.prompts.template import Example, Template, continuation_ids, document_ids
from posttrain.prompts.text import tagged, worked

__all__ = [
    "GSM8K_SHOTS",
    "TEMPLATES",
    "Example",
    "Template",
    "chat_ids",
    "continuation_ids",
    "document_ids",
    "get_template",
    "tagged",
    "worked",
]
