"""Renders each row of `hf` by the chat templates that come with TRL.

    python3 tests/export/templates.py DIR

A template is one for tools if it reads `tools` or TRL says that it renders calls. Every such template has to show the tools' schema, the
calls and the results; where it marks what the assistant says, each of the assistant's messages has to be covered by a run of the mask of its
own (words and a call by one each), and nothing that only a result says may be covered. What a template cannot do stands in the tables below, and has to be so.
"""
import copy
import json
import os
import re

os.environ["HF_HUB_OFFLINE"] = "1"
from trl import chat_template_utils as trl

import rows
from tokenizer import bytewise

# Templates that do not take these rows, with the word that is missed or the error that comes.
REFUSED = {
    # Appends the arguments to a text, so that it takes nothing but a text. The form for training takes objects.
    "deepseekv3": "can only concatenate str",
}
# Templates that never read `tools`: the model is told of its tools in words of the one who trains it.
WITHOUT_SCHEMA = {"deepseekv3_training"}
# Templates that never read `tool_calls`: what they were made for are calls written as text.
WITHOUT_CALLS = {"lfm2", "lfm2_training"}
# Templates that have nothing stand beside a call: words there are dropped, or are a thought, which nobody is shown later.
WITHOUT_WORDS = {"gptoss", "gptoss_training", "llama3_1", "llama3_2", "muse_glimmer", "muse_glimmer_training"}
# Templates that do not say what the assistant's part is, and of which no form for training comes with TRL.
WITHOUT_MASK = {
    *("gemma4", "gemma4_v2", "gemma4_v3", "gemma4_v4", "gemma4_v5"),
    *("llama3_1", "llama3_2"),
}
# Long enough not to stand in a text by chance.
WORD = re.compile(r"[A-Za-z0-9]{6,}")


def words(value):
    """The words of a JSON value that every template writes as they are, whatever it does to what stands between them."""
    if isinstance(value, str):
        return set(WORD.findall(value))
    if isinstance(value, list | dict):
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        return set().union(*map(words, inner)) if inner else set()
    return set()


def said(name, message):
    """The words of an assistant's message, as far as the template of that name has them."""
    called = [[call["function"]["name"], call["function"]["arguments"]] for call in message.get("tool_calls", ())]
    return words([] if called and name in WITHOUT_WORDS else message["content"]) | words(called)


def taught(tool):
    """What every way of writing a schema down has in it."""
    function = tool["function"]
    return words([function["name"], function["description"], list(function["parameters"]["properties"])])


def lacking(text, expected):
    return {word for word in expected if word not in text}


def heard(message):
    """The words of a result, with its escapes undone."""
    return words(json.loads(message["content"]))


def runs(tokenizer, row):
    """The texts that the mask covers, one for each run of it."""
    told = tokenizer.apply_chat_template(
        row["messages"], tools=row["tools"], return_dict=True, return_assistant_tokens_mask=True
    )
    texts, before = [], 0
    for token, covered in zip(told["input_ids"], told["assistant_masks"], strict=True):
        if covered and not before:
            texts.append([])
        if covered:
            texts[-1].append(token)
        before = covered
    return [tokenizer.decode(text) for text in texts]


def check_text(name, text, row):
    answers = [message for message in row["messages"] if message["role"] == "assistant"]
    expected = {} if name in WITHOUT_SCHEMA else {"the schema": set().union(*map(taught, row["tools"]))}
    if name not in WITHOUT_CALLS:
        expected["the assistant's part"] = set().union(*(said(name, message) for message in answers))
    expected["the results"] = set().union(*(heard(message) for message in row["messages"] if message["role"] == "tool"))
    for part, all_words in expected.items():
        assert not lacking(text, all_words), f"of {part} it lacks {lacking(text, all_words)}"


def check_mask(name, template, covered, row):
    """Returns how many messages the mask covers, and how many words of results it was seen not to cover."""
    answers = [message for message in row["messages"] if message["role"] == "assistant"]
    results = set().union(*(heard(message) for message in row["messages"] if message["role"] == "tool"))
    # A template has words of its own, which may be those of a result.
    only_heard = {word for word in results - set().union(*(said(name, message) for message in answers)) if word not in template}
    if name in WITHOUT_CALLS:
        # The last answer is left, if the row ends on one.
        answers = [message for message in answers[-1:] if not message.get("tool_calls")]
        covered = covered[-len(answers) :] if answers else []
    left = list(covered)
    for message in answers:
        text = left.pop(0) if left else ""
        # Some templates have what stands between words and a call out of the mask.
        if message["content"] and message.get("tool_calls") and lacking(text, said(name, message)) and left:
            text += left.pop(0)
        assert not lacking(text, said(name, message)), f"the mask lacks {lacking(text, said(name, message))}"
    assert not left, f"the mask covers more than the {len(answers)} messages of the assistant: {left}"
    leaked = {word for word in only_heard if any(word in text for text in covered)}
    assert not leaked, f"the mask covers what results say: {leaked}"
    return len(answers), len(only_heard)


def check(name, template, examples):
    tokenizer = bytewise(template)
    masked = trl.has_generation_markers(template)
    totals = [0, 0, 0]
    for place, row in examples:
        try:
            text = tokenizer.apply_chat_template(row["messages"], tools=row["tools"], tokenize=False)
            check_text(name, text, row)
            messages, kept_out = check_mask(name, template, runs(tokenizer, row), row) if masked else (0, 0)
        except Exception as error:
            raise AssertionError(f"{name}, {place}: {error}") from error
        totals = [totals[0] + 1, totals[1] + messages, totals[2] + kept_out]
    return totals


stored = {path.stem: path.read_text() for path in sorted(trl._CHAT_TEMPLATES_DIR.glob("*.jinja"))}
for_tools = {
    name: text for name, text in stored.items() if "tools" in text or trl.supports_tool_calling(bytewise(text))
}
examples = list(rows.rows())
listed = set(REFUSED) | WITHOUT_SCHEMA | WITHOUT_CALLS | WITHOUT_WORDS | WITHOUT_MASK
assert listed <= set(for_tools), f"listed, but not there: {listed - set(for_tools)}"
assert not any("tools" in stored[name] for name in WITHOUT_SCHEMA), "a template has learnt to read tools"
assert not any("tool_calls" in stored[name] for name in WITHOUT_CALLS), "a template has learnt to read calls"

beside = [
    {"role": "user", "content": "x"},
    {
        "role": "assistant",
        "content": "words beside",
        "tool_calls": [{"id": "call00000", "type": "function", "function": {"name": "read_file", "arguments": {}}}],
    },
    {"role": "tool", "tool_call_id": "call00000", "name": "read_file", "content": "{}"},
    {"role": "assistant", "content": "done"},
]
for name in WITHOUT_WORDS:
    shown = bytewise(stored[name]).apply_chat_template(beside, tokenize=False)
    assert "words beside" not in shown, f"{name} has learnt to have words beside a call"

rendered, covered, kept_out, masks = 0, 0, 0, 0
for name, template in for_tools.items():
    if name in REFUSED:
        try:
            check(name, template, examples)
        except AssertionError as error:
            assert REFUSED[name] in str(error), error
            continue
        raise SystemExit(f"{name} takes these rows by now")
    masked = trl.has_generation_markers(template) or f"{name}_training" in for_tools
    assert masked != (name in WITHOUT_MASK), f"{name}: whether there is a mask is not as listed"
    counts = check(name, template, examples)
    rendered, covered, kept_out = rendered + counts[0], covered + counts[1], kept_out + counts[2]
    masks += trl.has_generation_markers(template)


def takes_arguments_as_text(name):
    """Whether a template takes the other dialect as well, in which arguments are a text."""
    place, row = next((place, row) for place, row in examples if rows.calls(row["messages"]))
    row = copy.deepcopy(row)
    for call in rows.calls(row["messages"]):
        call["function"]["arguments"] = json.dumps(call["function"]["arguments"])
    try:
        check(name, for_tools[name], [(place, row)])
    except AssertionError:
        return False
    return True


picky = sum(not takes_arguments_as_text(name) for name in for_tools)
rows.done(
    templates=len(for_tools),
    refused=len(REFUSED),
    masked=masks,
    rendered=rendered,
    covered=covered,
    kept_out=kept_out,
    picky=picky,
)
