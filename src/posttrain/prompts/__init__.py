"""Prompt templates: the one place where text becomes token ids, and where loss masks are made."""

from posttrain.prompts.chat import chat_ids
from posttrain.prompts.conversation import Turn, read_turns, think
from posttrain.prompts.registry import TEMPLATES, get_template
from posttrain.prompts.shots import GSM8K_SHOTS
from posttrain.prompts.template import Example, LossOn, Template, continuation_ids, document_ids
from posttrain.prompts.text import tagged, with_input, worked

__all__ = [
    "GSM8K_SHOTS",
    "TEMPLATES",
    "Example",
    "LossOn",
    "Template",
    "Turn",
    "chat_ids",
    "continuation_ids",
    "document_ids",
    "get_template",
    "read_turns",
    "tagged",
    "think",
    "with_input",
    "worked",
]
