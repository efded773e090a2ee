"""What an HPA's `behavior` lets through of what the metrics ask for: stabilization windows, policies, min and max.
Pure.

Follows `pkg/controller/podautoscaler/horizontal.go` (normalizeDesiredReplicasWithBehaviors) and the documented
defaults: up at once, by 100 % or 4 pods in 15 s, whichever is more; down by 100 % in 15 s after 300 s of lower
recommendations. An HPA without `behavior` has these defaults.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fairlead.api import quantity
from fairlead.controllers.autoscaling.replicas import Tolerance
from fairlead.controllers.writes import Object

Direction = Literal["up", "down"]


@dataclass(frozen=True, slots=True)
class Policy:
    type: Literal["Pods", "Percent"]
    value: int
    period_seconds: float


@dataclass(frozen=True, slots=True)
class Rules:
    """One direction's rules."""

    stabilization_seconds: float
    select: Literal["Max", "Min", "Disabled"]
    policies: tuple[Policy, ...]
    tolerance: float = 0.1


@dataclass(frozen=True, slots=True)
class Behaviour:
    up: Rules
    down: Rules

    @property
    def tolerance(self) -> Tolerance:
        return Tolerance(self.up.tolerance, self.down.tolerance)

    @property
    def longest_seconds(self) -> float:
        """How long history matters."""
        periods = [policy.period_seconds for rules in (self.up, self.down) for policy in rules.policies]
        return max([self.up.stabilization_seconds, self.down.stabilization_seconds, *periods])


_UP = Rules(0.0, "Max", (Policy("Pods", 4, 15.0), Policy("Percent", 100, 15.0)))
_DOWN = Rules(300.0, "Max", (Policy("Percent", 100, 15.0),))


def read(spec: Object) -> Behaviour:
    """An HPA's behaviour with Kubernetes' defaults."""
    given = spec.get("behavior") or {}
    return Behaviour(_rules(given.get("scaleUp"), _UP), _rules(given.get("scaleDown"), _DOWN))


def _rules(given: Any, default: Rules) -> Rules:
    given = given or {}
    seconds = given.get("stabilizationWindowSeconds")
    policies = tuple(
        Policy(policy["type"], int(policy["value"]), float(policy["periodSeconds"]))
        for policy in given.get("policies") or ()
    )
    tolerance = given.get("tolerance")
    return Rules(
        default.stabilization_seconds if seconds is None else float(seconds),
        given.get("selectPolicy") or default.select,
        policies or default.policies,
        default.tolerance if tolerance is None else float(quantity.parse(tolerance)),
    )


@dataclass(frozen=True, slots=True)
class History:
    """What was recommended and what was scaled, with times; the newest last."""

    recommendations: tuple[tuple[float, int], ...] = ()
    ups: tuple[tuple[float, int], ...] = ()
    downs: tuple[tuple[float, int], ...] = ()

    def recommended(self, now: float, replicas: int, *, keep_seconds: float) -> History:
        """With one more recommendation, and without what no longer matters."""
        kept = tuple(entry for entry in self.recommendations if entry[0] > now - keep_seconds)
        return History(
            (*kept, (now, replicas)), _since(self.ups, now, keep_seconds), _since(self.downs, now, keep_seconds)
        )

    def scaled(self, now: float, *, before: int, after: int) -> History:
        """With one more change of the replicas."""
        if after > before:
            return History(self.recommendations, (*self.ups, (now, after - before)), self.downs)
        if after < before:
            return History(self.recommendations, self.ups, (*self.downs, (now, before - after)))
        return self

    def moved(self, seconds: float) -> History:
        """The same after the wall clock was set: how long ago everything was stays as it is."""
        parts = (self.recommendations, self.ups, self.downs)
        return History(*(tuple((at + seconds, count) for at, count in part) for part in parts))


def _since(entries: tuple[tuple[float, int], ...], now: float, seconds: float) -> tuple[tuple[float, int], ...]:
    return tuple(entry for entry in entries if entry[0] > now - seconds)


def _changed(entries: Sequence[tuple[float, int]], now: float, seconds: float) -> int:
    """The replicas changed within the last `seconds`."""
    return sum(count for at, count in entries if at > now - seconds)


@dataclass(frozen=True, slots=True)
class Reason:
    """A condition's reason and message."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Allowed:
    """The replicas that may be, why (AbleToScale), and whether something limited them (ScalingLimited)."""

    replicas: int
    able: Reason
    limited: bool
    limit: Reason
    history: History = field(default_factory=History)


def allow(
    rules: Behaviour, history: History, *, current: int, wanted: int, minimum: int, maximum: int, now: float
) -> Allowed:
    """What becomes of `wanted`: stabilized, limited by the policies, then by min and max."""
    stable, able = stabilize(rules, history, current=current, wanted=wanted, now=now)
    replicas, limited, limit = limit_rate(
        rules, history, current=current, wanted=stable, minimum=minimum, maximum=maximum, now=now
    )
    kept = history.recommended(now, wanted, keep_seconds=rules.longest_seconds)
    return Allowed(replicas, able, limited, limit, kept)


def stabilize(rules: Behaviour, history: History, *, current: int, wanted: int, now: float) -> tuple[int, Reason]:
    """Up to the lowest of the recent recommendations, down to the highest."""
    lowest = highest = wanted
    for at, replicas in history.recommendations:
        if at > now - rules.up.stabilization_seconds:
            lowest = min(lowest, replicas)
        if at > now - rules.down.stabilization_seconds:
            highest = max(highest, replicas)
    stable = min(max(current, lowest), highest)
    if stable > wanted:
        text = "recent recommendations were higher than current one, applying the highest recent recommendation"
        return stable, Reason("ScaleDownStabilized", text)
    if stable < wanted:
        text = "recent recommendations were lower than current one, applying the lowest recent recommendation"
        return stable, Reason("ScaleUpStabilized", text)
    return stable, Reason("ReadyForNewScale", "recommended size matches current size")


def limit_rate(
    rules: Behaviour, history: History, *, current: int, wanted: int, minimum: int, maximum: int, now: float
) -> tuple[int, bool, Reason]:
    """The policies' limit, then min and max: (replicas, limited, why)."""
    if wanted > current:
        limit = max(current, up_limit(rules.up, history, current=current, now=now))
        if wanted > min(maximum, limit):
            return min(maximum, limit), True, _too_high(limit < maximum)
    elif wanted < current:
        limit = min(current, down_limit(rules.down, history, current=current, now=now))
        if wanted < max(minimum, limit):
            return max(minimum, limit), True, _too_low(limit > minimum)
    if wanted > maximum:
        return maximum, True, _too_high(False)
    if wanted < minimum:
        return minimum, True, _too_low(False)
    return wanted, False, Reason("DesiredWithinRange", "the desired count is within the acceptable range")


def _too_high(by_rate: bool) -> Reason:
    if by_rate:
        text = "the desired replica count is increasing faster than the maximum scale rate"
        return Reason("ScaleUpLimit", text)
    return Reason("TooManyReplicas", "the desired replica count is more than the maximum replica count")


def _too_low(by_rate: bool) -> Reason:
    if by_rate:
        text = "the desired replica count is decreasing faster than the maximum scale rate"
        return Reason("ScaleDownLimit", text)
    return Reason("TooFewReplicas", "the desired replica count is less than the minimum replica count")


def up_limit(rules: Rules, history: History, *, current: int, now: float) -> int:
    """The most replicas that the scale-up policies allow now."""
    if rules.select == "Disabled":
        return current
    limits = []
    for policy in rules.policies:
        before = _at_period_start(history, policy, current, now)
        if policy.type == "Pods":
            limits.append(before + policy.value)
        else:  # in whole numbers: 1.1 x 10 must not become 12
            limits.append(-(-before * (100 + policy.value) // 100))
    return min(limits) if rules.select == "Min" else max(limits)


def down_limit(rules: Rules, history: History, *, current: int, now: float) -> int:
    """The fewest replicas that the scale-down policies allow now."""
    if rules.select == "Disabled":
        return current
    limits = []
    for policy in rules.policies:
        before = _at_period_start(history, policy, current, now)
        if policy.type == "Pods":
            limits.append(before - policy.value)
        else:
            limits.append(math.floor(before * (100 - policy.value) / 100))
    return max(limits) if rules.select == "Min" else min(limits)


def _at_period_start(history: History, policy: Policy, current: int, now: float) -> int:
    added = _changed(history.ups, now, policy.period_seconds)
    removed = _changed(history.downs, now, policy.period_seconds)
    return current - added + removed
