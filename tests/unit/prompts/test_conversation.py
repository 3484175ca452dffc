"""Conversations as tokens: equal to apply_chat_template, with loss exactly where the assistant speaks."""

from __future__ import annotations

import pytest

from posttrain.errors import DataError, ModelError
from posttrain.models import train_tokenizer
from posttrain.prompts import Turn, get_template, read_turns, think

TEXTS = ["user system assistant You are a helpful tutor. What is 3 + 4? It is 7. And 5 + 9? It is 14. Let me think."]
TURNS = (
    Turn("system", "You are a helpful tutor."),
    Turn("user", "What is 3 + 4?"),
    Turn("assistant", "It is 7."),
    Turn("user", "And 5 + 9?"),
    Turn("assistant", "It is 14."),
)
# After meta-llama/Llama-3.2-1B-Instruct, without tools and dates: every message is trimmed.
LLAMA = (
    "{{ '<|begin_of_text|>' }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
# After Qwen/Qwen3: thoughts of earlier turns are left out, the last turn's are written out, empty where there are none.
QWEN3 = (
    "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}"
    "{% endif %}{% endfor %}{% for m in messages %}{% if m.role == 'assistant' %}{% set r = '' %}"
    "{% set c = m.content %}"
    "{% if '</think>' in c %}{% set r = c.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}"
    "{% set c = c.split('</think>')[-1].lstrip('\n') %}{% endif %}<|im_start|>assistant\n"
    "{% if loop.index0 > ns.last %}<think>\n{{ r.strip('\n') }}\n</think>\n\n{{ c.lstrip('\n') }}"
    "{% else %}{{ c }}{% endif %}<|im_end|>\n{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizers():
    chatml = train_tokenizer(TEXTS * 5, 320)
    made = {"chatml": chatml}
    for name, source in (("llama3", LLAMA), ("qwen3", QWEN3)):
        made[name] = train_tokenizer(TEXTS * 5, 320)
        made[name].chat_template = source
    special = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    made["llama3"].add_special_tokens({"additional_special_tokens": special})
    return made


def plain(turns):
    return [{"role": t.role, "content": t.text} for t in turns]


def supervised(example, tokenizer):
    """The runs of text that carry loss."""
    runs, before = [], 0
    for i, m in zip(example.ids, example.mask, strict=True):
        if m:
            runs = [*runs, [i]] if not before else [*runs[:-1], [*runs[-1], i]]
        before = m
    return [tokenizer.decode(run) for run in runs]


@pytest.mark.parametrize("name", ["chatml", "llama3", "qwen3"])
@pytest.mark.parametrize("loss_on", ["response", "assistant", "sequence"])
def test_the_ids_are_those_of_apply_chat_template(name, loss_on, tokenizers):
    tokenizer = tokenizers[name]
    example = get_template("chat").conversation(TURNS, tokenizer, loss_on=loss_on)
    whole = tokenizer.apply_chat_template(plain(TURNS), tokenize=True, return_dict=False)
    assert list(example.ids) == whole[: len(example.ids)]
    assert tokenizer.decode(whole[len(example.ids) :]).strip() == "", "it ends where the assistant's turn ends"


@pytest.mark.parametrize(("name", "end"), [("chatml", "<|im_end|>"), ("llama3", "<|eot_id|>"), ("qwen3", "<|im_end|>")])
def test_loss_is_on_what_the_assistant_says_and_on_the_end_of_its_turn(name, end, tokenizers):
    tokenizer = tokenizers[name]
    template = get_template("chat")
    every = template.conversation(TURNS, tokenizer, loss_on="assistant")
    assert supervised(every, tokenizer) == [f"It is 7.{end}", f"It is 14.{end}"]
    last = template.conversation(TURNS, tokenizer)
    assert supervised(last, tokenizer) == [f"It is 14.{end}"]
    assert all(template.conversation(TURNS, tokenizer, loss_on="sequence").mask)


def test_one_turn_is_the_example_that_sampling_continues(tokenizers):
    template = get_template("chat")
    turns = (Turn("user", "What is 3 + 4?"), Turn("assistant", "It is 7."))
    for name in ("chatml", "llama3"):
        one = template.example("What is 3 + 4?", "It is 7.", tokenizers[name])
        assert template.conversation(turns, tokenizers[name]) == one


def test_thoughts_are_learned_where_the_template_keeps_them(tokenizers):
    turns = (
        *TURNS[:2],
        Turn("assistant", "It is 7.", "3 and 4"),
        TURNS[3],
        Turn("assistant", "It is 14.", "Let me think."),
    )
    template = get_template("chat")
    chatml = template.conversation(turns, tokenizers["chatml"], loss_on="assistant")
    assert supervised(chatml, tokenizers["chatml"]) == [
        "<think>\n3 and 4\n</think>\n\nIt is 7.<|im_end|>",
        "<think>\nLet me think.\n</think>\n\nIt is 14.<|im_end|>",
    ]
    qwen3 = template.conversation(turns, tokenizers["qwen3"], loss_on="assistant")
    whole = tokenizers["qwen3"].apply_chat_template(plain(turns), tokenize=True, return_dict=False)
    assert tokenizers["qwen3"].decode(list(qwen3.ids)) == tokenizers["qwen3"].decode(whole[: len(qwen3.ids)])
    assert supervised(qwen3, tokenizers["qwen3"]) == [
        "It is 7.<|im_end|>",
        "<think>\nLet me think.\n</think>\n\nIt is 14.<|im_end|>",
    ]


def test_a_special_token_inside_an_answer_is_text_and_ends_nothing(tokenizers):
    tokenizer = tokenizers["chatml"]
    turns = (Turn("user", "What?"), Turn("assistant", "Write <|im_end|> like this."))
    example = get_template("chat").conversation(turns, tokenizer)
    assert example.ids.count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == 2  # the user's turn and the answer's end
    with pytest.raises(DataError, match="reads as markup"):
        get_template("chat").conversation((Turn("user", "a<|im_end|>b"), Turn("assistant", "c")), tokenizer)


def test_qwen_writes_its_format_whatever_the_tokenizers_own_is(tokenizers):
    tokenizer = train_tokenizer(TEXTS * 5, 320)
    tokenizer.chat_template = None
    example = get_template("qwen").conversation(TURNS[1:3], tokenizer)
    assert tokenizer.decode(list(example.ids)) == (
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nWhat is 3 + 4?<|im_end|>\n<|im_start|>assistant\nIt is 7.<|im_end|>"
    )
    bare = train_tokenizer(TEXTS, 300)
    bare.get_added_vocab = dict  # a tokenizer of another family
    with pytest.raises(ModelError, match="has no token <|im_start|>".replace("|", r"\|")):
        get_template("qwen").prompt_ids("What?", bare)


def test_text_formats_take_one_question_and_say_so(tokenizers):
    template = get_template("r1_zero")
    turns = (TURNS[0], Turn("user", "What?"), Turn("assistant", "<answer> 7 </answer>", "3 + 4"))
    text = tokenizers["chatml"].decode(list(template.conversation(turns, tokenizers["chatml"]).ids))
    assert "User: You are a helpful tutor.\n\nWhat?\nAssistant: <think>\n3 + 4\n</think>\n\n<answer> 7" in text
    with pytest.raises(DataError, match="has 5 turns"):
        template.conversation(TURNS, tokenizers["chatml"])


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([{"role": "tool", "content": "x"}], "role is 'tool'"),
        ([{"role": "user", "content": None}], "content is NoneType"),
        ([{"role": "user", "content": "a"}], "the turns are user"),
        ([{"role": "assistant", "content": "a"}], "the turns are assistant"),
        ([], "the turns are none"),
        ([{"role": "user", "content": "a"}, {"role": "system", "content": "b"}], "the turns are user, system"),
    ],
)
def test_what_is_no_conversation_is_refused_with_its_place(messages, why):
    with pytest.raises(DataError, match=f"^rows.jsonl, line 3: .*{why}"):
        read_turns(messages, "rows.jsonl, line 3")


def test_reasoning_is_read_from_its_field_or_its_tags():
    for message in (
        {"content": "7", "reasoning_content": "3+4"},
        {"content": "7", "reasoning": "3+4"},
        {"content": "<think>3+4</think>\n\n7"},
    ):
        turns = read_turns([{"role": "user", "content": "?"}, {"role": "assistant", **message}], "here")
        assert turns[1].text == think("3+4", "7") == "<think>\n3+4\n</think>\n\n7"
