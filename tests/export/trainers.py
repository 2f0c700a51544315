"""Takes three steps of training on an export, on the processor, with a model that knows nothing.

    python3 tests/export/trainers.py sft DIR     an export of `hf`, learning from the assistant's messages alone
    python3 tests/export/trainers.py dpo DIR     an export of `dpo-hf`
"""
import copy
import json
import math
import os
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
scratch = tempfile.TemporaryDirectory()
os.environ["HF_HOME"] = os.environ["TORCHINDUCTOR_CACHE_DIR"] = scratch.name

import datasets
import torch
import transformers
from transformers import Qwen3Config, Qwen3ForCausalLM
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer
from trl.chat_template_utils import qwen3_training_chat_template

import rows
from tokenizer import trained

STEPS = 3
# So few that the model is small, so many that a row is not longer than it can be shown.
TOKENS = 4000
LONGEST = 4096

which = sys.argv.pop(1)
torch.set_num_threads(1)
transformers.set_seed(1)
transformers.logging.set_verbosity_error()
datasets.disable_progress_bars()


def learnt_of_messages(row, example):
    """How many tokens of an example are learnt: those of the calls and of the answer, and none of a result."""
    tokens = [label for label in example["labels"] if label >= 0]
    assert len(example["labels"]) < LONGEST, "it is cut off"
    text = tokenizer.decode(tokens)
    for call in rows.calls(row["messages"]):
        assert call["function"]["name"] in text, f"a call of {call['function']['name']} is not learnt"
    for message in row["messages"]:
        # What is shorter may stand in another message by chance.
        if len(message["content"]) >= 20:
            learns = message["role"] == "assistant"
            assert (message["content"] in text) == learns, f"learnt or not: {message}"
    return len(tokens)


def learnt_of_pair(row, example):
    """How many tokens of an example are weighed against each other, after a prompt that tells of the tools."""
    prompt = tokenizer.decode(example["prompt_ids"])
    assert len(example["prompt_ids"]) < LONGEST, "it is cut off"
    assert all(tool["function"]["description"] in prompt for tool in row["tools"]), "the prompt is silent on tools"
    assert example["chosen_ids"] != example["rejected_ids"], "nothing to choose between"
    return len(example["chosen_ids"]) + len(example["rejected_ids"])


train = datasets.load_dataset(str(rows.directory()), split="train")
tokenizer = trained(qwen3_training_chat_template, map(json.dumps, train), TOKENS)
size = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1)
model = Qwen3ForCausalLM(
    Qwen3Config(vocab_size=len(tokenizer), head_dim=16, pad_token_id=tokenizer.pad_token_id, **size)
)
before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
shared = dict(
    output_dir=os.path.join(scratch.name, "out"),
    max_steps=STEPS,
    per_device_train_batch_size=2,
    logging_steps=1,
    max_length=LONGEST,
    use_cpu=True,
    bf16=False,
    report_to=[],
    save_strategy="no",
    disable_tqdm=True,
)
if which == "sft":
    trainer = SFTTrainer(
        model, args=SFTConfig(assistant_only_loss=True, **shared), train_dataset=train, processing_class=tokenizer
    )
    learnt = sum(map(learnt_of_messages, train, trainer.train_dataset))
else:
    trainer = DPOTrainer(
        model, copy.deepcopy(model), args=DPOConfig(**shared), train_dataset=train, processing_class=tokenizer
    )
    learnt = sum(map(learnt_of_pair, train, trainer.train_dataset))
trainer.train()
losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
assert len(losses) == STEPS and all(math.isfinite(loss) and loss > 0 for loss in losses), losses
moved = sum(not torch.equal(before[name], weight) for name, weight in model.named_parameters())
print(f"losses: {losses}", file=sys.stderr)
rows.done(rows=len(train), steps=len(losses), learnt=learnt, moved=moved)
