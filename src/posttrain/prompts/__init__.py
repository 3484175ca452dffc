"""Prompt templates: the one place where text becomes token ids, and where loss masks are made."""

from posttrain.prompts.registry import TEMPLATES, get_template
from posttrain.prompts.template import Example, Template

__all__ = ["TEMPLATES", "Example", "Template", "get_template"]
