"""A checkpoint over the OpenAI protocol: the native engine behind starlette, one batch across all connections.

requests.py reads what a client asks for (untrusted), loop.py drives the engine in a thread of its own, replies.py makes
the answers, app.py has the routes.
"""
