"""Checks the rows of `atif` with the validator of Harbor, which reads this format.

    python3 tests/export/atif.py DIR
"""
from harbor.utils.trajectory_validator import TrajectoryValidator

import rows


class Refused(Exception):
    """The validator has found something."""


def check(trajectory):
    validator = TrajectoryValidator()
    if not validator.validate(trajectory):
        raise Refused("; ".join(validator.errors))


def with_result(trajectory):
    """The first step with a call and its result."""
    return next(step for step in trajectory["steps"] if step.get("tool_calls") and step.get("observation"))


MUTATIONS = {
    "a result of no call": lambda t: with_result(t)["observation"]["results"][0].update(source_call_id="000000000"),
    "a call under another id": lambda t: with_result(t)["tool_calls"][0].update(tool_call_id="000000000"),
    "a step's number again": lambda t: t["steps"][1].update(step_id=1),
    "a step left out": lambda t: t["steps"].pop(0),
    "arguments as text": lambda t: with_result(t)["tool_calls"][0].update(arguments="{}"),
    "a field that is not in the format": lambda t: t["steps"][0].update(note="x"),
}

trajectories, steps, results, whole = 0, 0, 0, None
for place, trajectory in rows.rows():
    try:
        check(trajectory)
    except Refused as error:
        raise SystemExit(f"{place}: {error}") from error
    trajectories += 1
    steps += len(trajectory["steps"])
    observed = [step["observation"]["results"] for step in trajectory["steps"] if step.get("observation")]
    results += sum(map(len, observed))
    whole = whole or (observed and trajectory)
rows.done(trajectories=trajectories, steps=steps, results=results, refused=rows.refused(check, whole, MUTATIONS, Refused))
