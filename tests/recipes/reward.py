"""A reward that untrained text can earn: the share of its characters that are different ones."""


def variety(completions, **columns):
    return [len(set(text)) / max(len(text), 1) for text in completions]
