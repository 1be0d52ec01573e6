"""The variables that a job hands on to the pipeline that it starts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from protocol.plan import Plan, TriggerPlan, Variable
from protocol.variables import VariableTooLong, expand_with, references


def wanted(plan: Plan, variables: Iterable[Variable], trigger: TriggerPlan) -> list[Variable]:
    """Those that `trigger` selects from a job's own `variables` and from those of the plan's run (`--var`)."""
    given = plan.run_variables[plan.project_variables :] if trigger.pipeline_variables else []
    return [*(variable for variable in variables if variable.key in set(trigger.yaml_variables)), *given]


def expanded(wanted: Iterable[Variable], layers: Sequence[Variable]) -> list[Variable]:
    """Variables as the other pipeline gets them: expanded with all of the job's, `layers`; the last of a key wins.

    A reference that only a worker could resolve, such as one to a secret, stays for the workers of that pipeline.
    """
    known = {variable.key for variable in layers}
    secret = [variable.value for variable in layers if variable.masked and variable.value]
    latest = {variable.key: variable for variable in wanted}
    return [_expanded(variable, layers, known, secret) for variable in latest.values()]


def _expanded(variable: Variable, layers: Sequence[Variable], known: set[str], secret: list[str]) -> Variable:
    if variable.raw:
        return variable
    try:
        value = expand_with(f"${{{variable.key}}}", layers)
    except VariableTooLong:
        return variable
    masked = variable.masked or any(part in value for part in secret)
    return msgspec.structs.replace(variable, value=value, raw=references(value) <= known, masked=masked)
