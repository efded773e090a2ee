"""What Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs, CronJobs, HPAs and disruption budgets may say."""

from __future__ import annotations

from typing import Any

from fairlead.api import field_errors, names
from fairlead.api.validation import common, pods

Object = dict[str, Any]
Problems = common.Problems


def _spec(obj: Object) -> Object:
    return obj.get("spec") or {}


def _restart(spec: Object, known: tuple[str, ...], path: str = "spec.template") -> Problems:
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy")
    if policy is None or policy in known:
        return []
    return [field_errors.unsupported(f"{path}.spec.restartPolicy", policy, known)]


def _workload(obj: Object) -> Problems:
    spec = _spec(obj)
    found = common.non_negative(spec.get("replicas"), "spec.replicas")
    found += common.non_negative(spec.get("minReadySeconds"), "spec.minReadySeconds")
    found += common.non_negative(spec.get("revisionHistoryLimit"), "spec.revisionHistoryLimit")
    found += common.workload_selector(spec)
    found += pods.validate_template(spec.get("template"), "spec.template", claims=_claims(spec))
    return found + _restart(spec, ("Always",))


def _claims(spec: Object) -> set[str]:
    """The volumes that pods of a StatefulSet get of its claims."""
    return {(one.get("metadata") or {}).get("name", "") for one in spec.get("volumeClaimTemplates") or ()}


def validate_deployment(obj: Object) -> Problems:
    spec = _spec(obj)
    found = _workload(obj)
    deadline = spec.get("progressDeadlineSeconds")
    found += common.non_negative(deadline, "spec.progressDeadlineSeconds")
    if deadline is not None and deadline <= spec.get("minReadySeconds", 0):
        found.append(
            field_errors.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")
        )
    strategy = spec.get("strategy") or {}
    found += common.one_of(strategy.get("type"), "spec.strategy.type", ("Recreate", "RollingUpdate"))
    rolling = strategy.get("rollingUpdate")
    if strategy.get("type") == "Recreate" and rolling is not None:
        found.append(
            field_errors.forbidden(
                "spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'"
            )
        )
    elif rolling is not None:
        found += _rolling(rolling, "spec.strategy.rollingUpdate")
    return found


def _rolling(rolling: Object, path: str) -> Problems:
    found = common.int_or_percent(rolling.get("maxUnavailable"), f"{path}.maxUnavailable")
    found += common.int_or_percent(rolling.get("maxSurge"), f"{path}.maxSurge")
    if _zero(rolling.get("maxUnavailable")) and _zero(rolling.get("maxSurge")):
        value = rolling.get("maxUnavailable")
        found.append(field_errors.invalid(f"{path}.maxUnavailable", value, "may not be 0 when `maxSurge` is 0"))
    unavailable = rolling.get("maxUnavailable")
    if isinstance(unavailable, str) and unavailable[:-1].isdecimal() and int(unavailable[:-1]) > 100:
        found.append(field_errors.invalid(f"{path}.maxUnavailable", unavailable, "must not be greater than 100%"))
    return found


def _zero(value: Any) -> bool:
    return value in (0, "0%")


def validate_replica_set(obj: Object) -> Problems:
    return _workload(obj)


def validate_daemon_set(obj: Object) -> Problems:
    spec = _spec(obj)
    found = _workload(obj)
    strategy = spec.get("updateStrategy") or {}
    found += common.one_of(strategy.get("type"), "spec.updateStrategy.type", ("RollingUpdate", "OnDelete"))
    rolling = strategy.get("rollingUpdate")
    if rolling is not None:
        found += _rolling(rolling, "spec.updateStrategy.rollingUpdate")
        if not _zero(rolling.get("maxUnavailable", 1)) and not _zero(rolling.get("maxSurge", 0)):
            path = "spec.updateStrategy.rollingUpdate.maxSurge"
            found.append(
                field_errors.invalid(path, rolling["maxSurge"], "may not be set when maxUnavailable is non-zero")
            )
    return found


def validate_stateful_set(obj: Object) -> Problems:
    spec = _spec(obj)
    found = _workload(obj)
    found += common.one_of(spec.get("podManagementPolicy"), "spec.podManagementPolicy", ("OrderedReady", "Parallel"))
    strategy = spec.get("updateStrategy") or {}
    found += common.one_of(strategy.get("type"), "spec.updateStrategy.type", ("RollingUpdate", "OnDelete"))
    partition = (strategy.get("rollingUpdate") or {}).get("partition")
    return found + common.non_negative(partition, "spec.updateStrategy.rollingUpdate.partition")


def validate_selector_update(obj: Object, old: Object) -> Problems:
    """`spec.selector` never changes."""
    if _spec(obj).get("selector") == _spec(old).get("selector"):
        return []
    return [field_errors.immutable("spec.selector", _spec(obj).get("selector"))]


_STATEFUL_MUTABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)


def validate_stateful_set_update(obj: Object, old: Object) -> Problems:
    """Most of a StatefulSet's spec is fixed."""

    def fixed(spec: Object) -> Object:
        return {key: value for key, value in spec.items() if key not in _STATEFUL_MUTABLE}

    if fixed(_spec(obj)) == fixed(_spec(old)):
        return []
    detail = (
        "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
        "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
    )
    return [field_errors.forbidden("spec", detail)]


def validate_job(obj: Object) -> Problems:
    spec = _spec(obj)
    found: Problems = []
    for field in ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"):
        found += common.non_negative(spec.get(field), f"spec.{field}")
    found += common.one_of(spec.get("completionMode"), "spec.completionMode", ("NonIndexed", "Indexed"))
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        found.append(field_errors.required("spec.completions", "when completion mode is Indexed"))
    found += _job_policies(spec, "spec")
    found += pods.validate_template(spec.get("template"), "spec.template")
    return found + _restart(spec, ("OnFailure", "Never"))


def _job_policies(spec: Object, path: str) -> Problems:
    """What needs indexes, and what needs pods that fail for good."""
    found: Problems = []
    for field in ("backoffLimitPerIndex", "maxFailedIndexes"):
        found += common.non_negative(spec.get(field), f"{path}.{field}")
    if spec.get("completionMode", "NonIndexed") != "Indexed":
        for field in ("backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"):
            if spec.get(field) is not None:
                found.append(field_errors.invalid(f"{path}.{field}", spec[field], "requires indexed completion mode"))
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        found.append(field_errors.required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    policy = spec.get("podFailurePolicy")
    if policy is None:
        return found
    if ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy") != "Never":
        detail = 'only "Never" is supported when podFailurePolicy is specified'
        value = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy")
        found.append(field_errors.invalid(f"{path}.template.spec.restartPolicy", value, detail))
    for index, rule in enumerate(policy.get("rules") or ()):
        where = f"{path}.podFailurePolicy.rules[{index}]"
        found += common.one_of(rule.get("action"), f"{where}.action", ("Count", "FailIndex", "FailJob", "Ignore"))
        if bool(rule.get("onExitCodes")) == bool(rule.get("onPodConditions")):
            found.append(
                field_errors.invalid(where, rule.get("action", ""), "specify one of: OnExitCodes or OnPodConditions")
            )
        if rule.get("action") == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            detail = "requires the backoffLimitPerIndex to be set"
            found.append(field_errors.invalid(f"{where}.action", "FailIndex", detail))
    return found


def validate_job_update(obj: Object, old: Object) -> Problems:
    """Selector, template and mode of a Job are fixed."""
    new, before = _spec(obj), _spec(old)
    found = []
    for field in ("selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex"):
        if new.get(field) != before.get(field):
            found.append(field_errors.immutable(f"spec.{field}", new.get(field)))
    if new.get("template") != before.get("template") and not before.get("suspend"):
        found.append(field_errors.immutable("spec.template", new.get("template")))
    if new.get("completions") != before.get("completions") and new.get("completionMode") != "Indexed":
        found.append(field_errors.immutable("spec.completions", new.get("completions")))
    return found


def cron_job_name_problem(text: str) -> str:
    """A CronJob's name leaves room for its Jobs' suffix."""
    return "must be no more than 52 characters" if len(text) > 52 else names.subdomain_problem(text)


_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_WORDS = {
    3: {
        name: i
        for i, name in enumerate(
            ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1
        )
    },
    4: {name: i for i, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])},
}
_MACROS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")


def _schedule_problem(text: str) -> str:
    if text in _MACROS or text.startswith("@every "):
        return ""
    fields = text.split()
    if len(fields) != 5:
        return f"expected exactly 5 fields, found {len(fields)}: {fields}"
    for index, field in enumerate(fields):
        for part in field.split(","):
            if not _cron_part(part.lower(), index):
                return f"failed to parse {field!r}"
    return ""


def _cron_part(part: str, index: int) -> bool:
    span, slash, step = part.partition("/")
    if slash and not (step.isdecimal() and int(step) > 0):
        return False
    if span in ("*", "?"):
        return True
    low, high = _RANGES[index]
    numbers = []
    for end in span.split("-"):
        number = _WORDS.get(index, {}).get(end, int(end) if end.isdecimal() else -1)
        if not low <= number <= high:
            return False
        numbers.append(number)
    return len(numbers) == 1 or (len(numbers) == 2 and numbers[0] <= numbers[1])


def validate_cron_job(obj: Object) -> Problems:
    spec = _spec(obj)
    found: Problems = []
    schedule = spec.get("schedule", "")
    if not schedule:
        found.append(field_errors.required("spec.schedule"))
    elif problem := _schedule_problem(schedule):
        found.append(field_errors.invalid("spec.schedule", schedule, problem))
    found += common.one_of(spec.get("concurrencyPolicy"), "spec.concurrencyPolicy", ("Allow", "Forbid", "Replace"))
    for field in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        found += common.non_negative(spec.get(field), f"spec.{field}")
    if spec.get("timeZone") is not None:
        found += _time_zone(spec["timeZone"], "spec.timeZone")
    inner = (spec.get("jobTemplate") or {}).get("spec") or {}
    found += _job_policies(inner, "spec.jobTemplate.spec")
    found += pods.validate_template(inner.get("template"), "spec.jobTemplate.spec.template")
    return found + _restart(inner, ("OnFailure", "Never"), "spec.jobTemplate.spec.template")


def _time_zone(name: str, path: str) -> Problems:
    import zoneinfo  # only who has a time zone needs it

    if not name:
        return [field_errors.invalid(path, name, "must be nil or non-empty string")]
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return [field_errors.invalid(path, name, f"unknown time zone {name}")]
    return []


def validate_hpa(obj: Object) -> Problems:
    spec = _spec(obj)
    found: Problems = []
    least, most = spec.get("minReplicas", 1), spec.get("maxReplicas", 0)
    if least < 1:
        found.append(field_errors.invalid("spec.minReplicas", least, "must be greater than or equal to 1"))
    if most < 1:
        found.append(field_errors.invalid("spec.maxReplicas", most, "must be greater than 0"))
    if most < least:
        found.append(field_errors.invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    target = spec.get("scaleTargetRef") or {}
    for field in ("kind", "name"):
        if not target.get(field):
            found.append(field_errors.required(f"spec.scaleTargetRef.{field}"))
    for index, metric in enumerate(spec.get("metrics") or ()):
        found += _metric(metric, f"spec.metrics[{index}]")
    for direction in ("scaleUp", "scaleDown"):
        rules = (spec.get("behavior") or {}).get(direction)
        if rules is not None:
            found += _rules(rules, f"spec.behavior.{direction}")
    return found


_SOURCES = {
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
    "External": "external",
    "ContainerResource": "containerResource",
}


def _metric(metric: Object, path: str) -> Problems:
    found = common.one_of(metric.get("type"), f"{path}.type", _SOURCES)
    if found:
        return found
    field = _SOURCES[metric["type"]]
    source = metric.get(field)
    if source is None:
        return [field_errors.required(f"{path}.{field}", f"must populate the given metric source for {metric['type']}")]
    if field in ("resource", "containerResource") and not source.get("name"):
        found.append(field_errors.required(f"{path}.{field}.name", "must specify a resource name"))
    target = source.get("target") or {}
    found += common.one_of(target.get("type"), f"{path}.{field}.target.type", ("Utilization", "Value", "AverageValue"))
    found += common.positive(target.get("averageUtilization"), f"{path}.{field}.target.averageUtilization")
    for name in ("value", "averageValue"):
        if target.get(name) is not None:
            found += common.quantity_of(target[name], f"{path}.{field}.target.{name}")
    return found


def _rules(rules: Object, path: str) -> Problems:
    found = common.one_of(rules.get("selectPolicy"), f"{path}.selectPolicy", ("Max", "Min", "Disabled"))
    window = rules.get("stabilizationWindowSeconds")
    found += common.non_negative(window, f"{path}.stabilizationWindowSeconds")
    if window is not None and window > 3600:
        found.append(
            field_errors.invalid(f"{path}.stabilizationWindowSeconds", window, "must be less than or equal to 3600")
        )
    for index, policy in enumerate(rules.get("policies") or ()):
        where = f"{path}.policies[{index}]"
        found += common.one_of(policy.get("type"), f"{where}.type", ("Pods", "Percent"))
        found += common.positive(policy.get("value", 0), f"{where}.value")
        found += common.positive(policy.get("periodSeconds", 0), f"{where}.periodSeconds")
        if policy.get("periodSeconds", 0) > 1800:
            found.append(
                field_errors.invalid(
                    f"{where}.periodSeconds", policy["periodSeconds"], "must be less than or equal to 1800"
                )
            )
    return found


def validate_budget(obj: Object) -> Problems:
    spec = _spec(obj)
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        return [field_errors.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")]
    found: Problems = []
    for field in ("minAvailable", "maxUnavailable"):
        found += common.int_or_percent(spec.get(field), f"spec.{field}")
    if spec.get("selector") is not None:
        found += common.label_selector(spec["selector"], "spec.selector")
    return found
