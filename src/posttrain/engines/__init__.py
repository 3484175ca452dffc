"""Engines turn prompts into Completions and score given tokens; base.py has the protocol."""
