"""Checks the rows of `openai` with mistral-common as a fine-tuning job does, for each of its request formats.

    python3 tests/export/mistral.py DIR
"""
from mistral_common.exceptions import MistralCommonException
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.validator import ValidationMode, get_validator
from mistral_common.tokens.tokenizers.base import TokenizerVersion

import rows

VALIDATORS = {version: get_validator(version, ValidationMode.finetuning) for version in TokenizerVersion}
# The first that asks for ids of nine letters and digits, and the last that has no words beside a call.
STRICT = TokenizerVersion.v3


def check(conversation, versions=tuple(VALIDATORS)):
    messages, tools = conversation
    for version in versions:
        if version <= STRICT and says_and_calls(messages):
            continue
        request = ChatCompletionRequest.from_openai(messages, tools=tools, parallel_tool_calls=False)
        VALIDATORS[version].validate_request(request)


def says_and_calls(messages):
    return any(message.get("content") and message.get("tool_calls") for message in messages)


def first_result(messages):
    return next(at for at, message in enumerate(messages) if message["role"] == "tool")


def end_on_a_result(conversation):
    messages = conversation[0]
    del messages[first_result(messages) + 1 :]


def second_result(conversation):
    messages = conversation[0]
    messages.insert(first_result(messages) + 1, dict(messages[first_result(messages)]))


def bad_id(conversation):
    messages = conversation[0]
    at = first_result(messages)
    messages[at]["tool_call_id"] = messages[at - 1]["tool_calls"][0]["id"] = "call_1"


MUTATIONS = {
    "an orphan result": lambda c: c[0].pop(first_result(c[0]) - 1),
    "a second result of a call": second_result,
    "an end on a result": end_on_a_result,
    "an id that is not of nine letters and digits": bad_id,
    "a tool's name with a slash": lambda c: c[1][0]["function"].update(name="edit/file"),
    "an answer without words": lambda c: c[0][-1].update(content=""),
}

conversations, strict, whole = 0, 0, None
for place, row in rows.rows():
    for conversation in rows.conversations(row):
        try:
            check(conversation)
        except Exception as error:
            raise SystemExit(f"{place}: {error!r}") from error
        conversations += 1
        has_results = any(message["role"] == "tool" for message in conversation[0])
        plain = "content" in conversation[0][-1] and not says_and_calls(conversation[0])
        whole = whole or (has_results and plain and conversation)
        strict += not says_and_calls(conversation[0])
refused = rows.refused(lambda c: check(c, [STRICT]), whole, MUTATIONS, MistralCommonException)
rows.done(conversations=conversations, strict=strict, versions=len(VALIDATORS), refused=refused)
