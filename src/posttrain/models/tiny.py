"""Tiny models from scratch: a byte-level BPE tokenizer with a ChatML template and a Qwen2-architecture model.

They exist so that the whole loop runs in minutes on a laptop, through the same code and file layout as a real model.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from posttrain.errors import DataError
from posttrain.models.config import TinyConfig
from posttrain.models.size import tiny_feed_forward

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

END_OF_TEXT = "<|endoftext|>"
START_OF_TURN = "<|im_start|>"
END_OF_TURN = "<|im_end|>"

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerBase:
    """Byte-level BPE with every digit a token of its own (arithmetic needs to see them) and the ChatML template.

    The end-of-turn token is the tokenizer's EOS, so that generation stops where training taught it to.
    """
    tokenizer = Tokenizer(models.BPE())
    # The word pattern of GPT-2 with single digits, as Qwen's tokenizer splits them.
    pattern = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[END_OF_TEXT, START_OF_TURN, END_OF_TURN],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TURN,
        pad_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHATML
    return wrapped


def tiny_model(tokenizer: PreTrainedTokenizerBase, config: TinyConfig, *, seed: int) -> Qwen2ForCausalLM:
    """A randomly initialised Qwen2 of the given shape with tied embeddings; the same seed makes the same weights."""
    if config.hidden % config.heads:
        raise DataError(f"hidden {config.hidden} is not a multiple of heads {config.heads}. Choose one that is.")
    shape = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads or config.heads,
        intermediate_size=tiny_feed_forward(config),
        max_position_embeddings=config.context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        # transformers' default of 0.02 is made for wide models; here it would leave the first layers all but silent
        initializer_range=min(0.08, config.hidden**-0.5),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen2ForCausalLM(shape).eval()
