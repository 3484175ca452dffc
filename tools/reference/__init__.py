"""Writes the pages of docs/ that are made from the code: ``make reference``. A test fails where they are stale."""
