"""Cron schedules as robfig/cron (and so Kubernetes) reads them: five fields, names, lists, ranges, steps, macros. Pure.

Day of month and day of week are alternatives when both are restricted. Refused with ScheduleError: `TZ=` and `CRON_TZ=`
(use `spec.timeZone`), `@every`, `@reboot`, what is out of range, and dates that never come.
"""

from __future__ import annotations

import zoneinfo
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_YEARS = 5


class ScheduleError(ValueError):
    """The text is no schedule; the message says which field is wrong."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The minutes at which something is due."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool
    zone: tzinfo

    def due(self, local: datetime) -> bool:
        return (
            local.month in self.months and self._on(local) and local.hour in self.hours and local.minute in self.minutes
        )

    def _on(self, local: datetime) -> bool:
        by_day, by_weekday = local.day in self.days, local.isoweekday() % 7 in self.weekdays
        return (by_day and by_weekday) if self.any_day or self.any_weekday else (by_day or by_weekday)

    def after(self, seconds: float) -> float | None:
        """The first time due after that one (seconds since 1970); None when there is none in five years."""
        return self._search(seconds, 1)

    def latest(self, seconds: float) -> float | None:
        """The last time due at or before that one."""
        return self._search(seconds, -1)

    def _search(self, seconds: float, step: int) -> float | None:
        minute = int(seconds // 60) * 60
        at = minute + 60 if step > 0 else minute
        end = seconds + step * _YEARS * 366 * 86400
        while (end - at) * step > 0:
            local = datetime.fromtimestamp(at, self.zone)
            if self.due(local):
                return float(at)
            at = self._skip(local, at, step)
        return None

    def _skip(self, local: datetime, at: int, step: int) -> int:
        """The next candidate: whole days and hours that cannot be due are passed over at once."""
        if local.month not in self.months or not self._on(local):
            midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
            if step > 0:
                return max(at + 60, int((midnight + timedelta(days=1)).timestamp()))
            return min(at - 60, int(midnight.timestamp()) - 60)
        if local.hour not in self.hours:
            return at + (60 - local.minute) * 60 if step > 0 else at - (local.minute + 1) * 60
        return at + 60 * step


def parse(text: str, *, time_zone: str = "") -> Schedule:
    """The schedule of `spec.schedule` in `spec.timeZone` (UTC by default). Raises ScheduleError."""
    zone = _zone(time_zone)
    fields = _MACROS.get(text.strip().lower(), text).split()
    if len(fields) != 5:
        raise ScheduleError(f"{text!r}: expected exactly 5 fields, found {len(fields)}")
    found = Schedule(
        minutes=_field(fields[0], 0, 59, {}),
        hours=_field(fields[1], 0, 23, {}),
        days=_field(fields[2], 1, 31, {}),
        months=_field(fields[3], 1, 12, _MONTHS),
        weekdays=frozenset(day % 7 for day in _field(fields[4], 0, 7, _DAYS)),
        any_day=fields[2][0] in "*?",
        any_weekday=fields[4][0] in "*?",
        zone=zone,
    )
    if found.after(0) is None:
        raise ScheduleError(f"{text!r}: this date never comes")
    return found


def _zone(name: str) -> tzinfo:
    if not name:
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise ScheduleError(f"unknown time zone {name}") from error


def _field(text: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        found |= _part(part, low, high, names)
    return frozenset(found)


def _part(part: str, low: int, high: int, names: dict[str, int]) -> set[int]:
    span, slash, step_text = part.partition("/")
    step = _number(step_text, part, {}) if slash else 1
    if span in ("*", "?"):
        first, last = low, high
    else:
        begin, dash, end = span.partition("-")
        first = _number(begin, part, names)
        last = _number(end, part, names) if dash else (high if slash else first)
    if step < 1 or first < low or last > high or first > last:
        raise ScheduleError(f"{part!r} is not within {low} and {high}")
    return set(range(first, last + 1, step))


def _number(text: str, part: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not text.isascii() or not text.isdigit():
        raise ScheduleError(f"failed to parse {part!r}")
    return int(text)
