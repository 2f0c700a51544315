"""What the checks share: the rows of an export, and the last word of a check.

A check is run by hand as `python3 CHECK.py DIR`, where DIR is what `codex-agent export --to DIR` wrote. It ends with status 1 and says what
is wrong, or with status 0 and one line of JSON: what it counted.
"""
import copy
import json
import pathlib
import sys


def directory():
    """The export that is to be checked."""
    return pathlib.Path(sys.argv[1])


def shards(split="*"):
    """The files with rows, in the order in which they were written."""
    return sorted((directory() / "data").glob(f"{split}-*.jsonl"))


def rows(split="*"):
    """Each row of the export with the place where it stands."""
    for shard in shards(split):
        # Lines end at line feeds alone: other characters that end lines elsewhere may stand in a string.
        for number, line in enumerate(shard.read_bytes().decode().removesuffix("\n").split("\n"), 1):
            if line:
                yield f"{shard.name}:{number}", json.loads(line)


def conversations(row):
    """The conversations that a row of any chat format holds, each ending on an answer, as pairs of messages and tools."""
    if "messages" in row:
        return [(row["messages"], row["tools"])]
    if "input" in row:
        prompt, tools = row["input"]["messages"], row["input"]["tools"]
        answers = row["preferred_output"], row["non_preferred_output"]
    else:
        prompt, tools, answers = row["prompt"], row["tools"], (row["chosen"], row["rejected"])
    return [(prompt + answer, tools) for answer in answers]


def calls(messages):
    """The tool calls of a conversation, in order."""
    return [call for message in messages for call in message.get("tool_calls", ())]


def refused(check, whole, mutations, by):
    """How many of the mutations of something `whole` the check refuses with the errors `by`; each has to be."""
    for name, mutate in mutations.items():
        spoilt = copy.deepcopy(whole)
        mutate(spoilt)
        try:
            check(spoilt)
        except by as error:
            print(f"{name}: refused, {type(error).__name__}", file=sys.stderr)
        else:
            raise AssertionError(f"a spoilt row is taken: {name}")
    return len(mutations)


def done(result=None, **counts):
    """The last word: what was looked at, none of which may be nothing, and the result, if there is one beside."""
    assert all(counts.values()), f"nothing was checked: {counts}"
    print(json.dumps(counts | (result or {})))
