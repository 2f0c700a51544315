"""Checks the rows of `openai` and `dpo-openai` by the types of the `openai` package, and by what a trainer expects beyond them.

    python3 tests/export/openai_types.py DIR
"""
import json
import re
import typing

from openai.types import chat
from pydantic import TypeAdapter, ValidationError

import rows

MESSAGES = TypeAdapter(list[chat.ChatCompletionMessageParam])
TOOLS = TypeAdapter(list[chat.ChatCompletionToolParam])
PARALLEL = TypeAdapter(bool)
# The validators of other houses take nothing but nine letters and digits.
CALL_ID = re.compile(r"[A-Za-z0-9]{9}")
# Typed dictionaries let further keys pass, so the keys are looked at one by one. A message that is not to be learnt bears a weight.
KEYS = {
    "system": set(typing.get_type_hints(chat.ChatCompletionSystemMessageParam)),
    "user": set(typing.get_type_hints(chat.ChatCompletionUserMessageParam)),
    "assistant": set(typing.get_type_hints(chat.ChatCompletionAssistantMessageParam)) | {"weight"},
    "tool": set(typing.get_type_hints(chat.ChatCompletionToolMessageParam)),
}


def check(conversation):
    by_types(conversation)
    by_rules(conversation[0])


def by_types(conversation):
    messages, tools = conversation
    for message in MESSAGES.validate_python(messages, strict=True):
        # What is typed as an iterable is checked when it is iterated, not before.
        for field in "content", "tool_calls":
            if not isinstance(message.get(field), str | None):
                list(message[field])
    TOOLS.validate_python(tools, strict=True)


def by_rules(messages):
    open_calls, seen = [], set()
    for message in messages:
        assert set(message) <= KEYS[message["role"]], f"further keys in {message}"
        if message["role"] == "tool":
            assert message["tool_call_id"] in open_calls, "a result without its call"
            open_calls.remove(message["tool_call_id"])
            json.loads(message["content"])
            continue
        assert not open_calls, "a call without its result"
        if message["role"] == "assistant":
            assert message.get("content") or message.get("tool_calls"), "neither answer nor call"
            assert message.get("weight", 0) in (0, 1), "a weight that is none"
        for call in message.get("tool_calls", ()):
            assert CALL_ID.fullmatch(call["id"]) and call["id"] not in seen, f"the call id {call['id']}"
            assert isinstance(json.loads(call["function"]["arguments"]), dict), "arguments that are no object"
            open_calls.append(call["id"])
            seen.add(call["id"])
    assert messages[-1]["role"] == "assistant", "the last word is not the assistant's"
    assert "weight" not in messages[-1], "the last word is not to be learnt"


def ends_after_a_result(conversation):
    return len(conversation[0]) > 2 and conversation[0][-2]["role"] == "tool"


def the_first(messages, role):
    return next(message for message in messages if message["role"] == role)


def set_in_call(key, value):
    return lambda conversation: rows.calls(conversation[0])[0]["function"].update({key: value})


# What the types have to refuse, then what the rules have to.
AGAINST_TYPES = {
    "arguments as an object": set_in_call("arguments", {"file_path": "a"}),
    "a call without its function": lambda c: rows.calls(c[0])[0].pop("function"),
    "a call of no known type": lambda c: rows.calls(c[0])[0].update(type="functions"),
    "a result without an id": lambda c: the_first(c[0], "tool").pop("tool_call_id"),
    "a result that is an object": lambda c: the_first(c[0], "tool").update(content={"status": "success"}),
    "a role misspelt": lambda c: c[0][-1].update(role="asistant"),
    "a tool without a name": lambda c: c[1][0]["function"].pop("name"),
}
AGAINST_RULES = {
    "arguments that are no JSON": set_in_call("arguments", "{"),
    "an orphan result": lambda c: c[0].remove(next(m for m in c[0] if "tool_calls" in m)),
    "an end on a result": lambda c: c[0].pop(),
    "a key that is not in the format": lambda c: c[0][0].update(id="1"),
}

conversations, called, whole = 0, 0, None
for place, row in rows.rows():
    PARALLEL.validate_python(row.get("input", row)["parallel_tool_calls"], strict=True)
    for conversation in rows.conversations(row):
        try:
            check(conversation)
        except Exception as error:
            raise SystemExit(f"{place}: {error}") from error
        conversations += 1
        called += len(rows.calls(conversation[0]))
        whole = whole or (ends_after_a_result(conversation) and conversation)
against = rows.refused(by_types, whole, AGAINST_TYPES, ValidationError)
against += rows.refused(lambda c: by_rules(c[0]), whole, AGAINST_RULES, (AssertionError, ValueError))
rows.done(conversations=conversations, calls=called, refused=against)
