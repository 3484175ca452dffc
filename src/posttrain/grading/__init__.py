"""Placeholder, written by its room."""
