"""`podFailurePolicy`: what a failed pod means, by its exit codes or conditions (KEP-3329). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from fairlead.controllers import conditions
from fairlead.controllers.writes import Object

Action = Literal["FailJob", "FailIndex", "Ignore", "Count"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`message` says which rule matched; it ends up in the condition Failed."""

    action: Action
    message: str = ""


def judge(job: Object, pod: Object) -> Verdict:
    """The first rule that matches decides; without one the failure counts."""
    rules = (job["spec"].get("podFailurePolicy") or {}).get("rules") or ()
    name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    for index, rule in enumerate(rules):
        why = _exit_code(rule["onExitCodes"], pod) if rule.get("onExitCodes") else _condition(rule, pod)
        if why:
            return Verdict(rule["action"], f"{why.format(pod=name)} matching {rule['action']} rule at index {index}")
    return Verdict("Count")


def _exit_code(wanted: Object, pod: Object) -> str:
    for container, code in _exit_codes(pod):
        if wanted.get("containerName") and wanted["containerName"] != container:
            continue
        listed = code in wanted["values"]
        if code != 0 and listed == (wanted["operator"] == "In"):
            return f"Container {container} for pod {{pod}} failed with exit code {code}"
    return ""


def _exit_codes(pod: Object) -> Iterator[tuple[str, int]]:
    status = pod.get("status") or {}
    for one in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        ended = (one.get("state") or {}).get("terminated")
        if ended:
            yield one["name"], int(ended.get("exitCode", 0))


def _condition(rule: Object, pod: Object) -> str:
    for wanted in rule.get("onPodConditions") or ():
        found = conditions.find(pod, wanted["type"])
        if found is not None and found["status"] == wanted.get("status", "True"):
            return f"Pod {{pod}} has condition {wanted['type']}"
    return ""
