"""The explorer: a local, read-only web app over a run. It reads what the other rooms wrote and changes nothing of it.

Nothing here is imported at start: `cli.explore` opens `explorer.app` (the server) or `explorer.export` (a folder of
pages). What is shown was written by models and strangers: `text.py` is the only way for it into a page.
"""
