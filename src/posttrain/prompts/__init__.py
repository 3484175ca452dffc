"""Prompt templates: the one place where text becomes token ids, and where loss masks are made."""

from posttrain.prompts.registry import TEMPLATES, get_template
from posttrain.prompts.template import Example, Template, document_ids

__all__ = ["TEMPLATES", "Example", "Template", "document_ids", "get_template"]
