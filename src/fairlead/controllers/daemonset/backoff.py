"""How long a node waits before its failed daemon pod is made anew: 1 s, doubled to 15 minutes, as Kubernetes has it.

Kept in memory only: a restart of ours makes one pod too early, never too late. Forgotten when a node has had no failure
for twice the longest wait.
"""

from __future__ import annotations

FIRST_SECONDS, LONGEST_SECONDS = 1.0, 900.0


class Backoffs:
    """The failures of DaemonSets by (uid, node)."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[float, float]] = {}  # -> (seconds to wait, when the last was counted)

    def left_seconds(self, uid: str, node: str, now: float) -> float:
        """How long the failed pod of that node stays as it is."""
        seconds, at = self._known.get((uid, node), (0.0, 0.0))
        return max(0.0, at + seconds - now)

    def count(self, uid: str, node: str, now: float) -> None:
        """A failed pod of that node is replaced now."""
        seconds, at = self._known.get((uid, node), (0.0, 0.0))
        if now - at > 2 * LONGEST_SECONDS:
            seconds = 0.0
        self._known[(uid, node)] = (min(seconds * 2 or FIRST_SECONDS, LONGEST_SECONDS), now)

    def forget(self, uid: str) -> None:
        """The set is gone."""
        for key in [key for key in self._known if key[0] == uid]:
            del self._known[key]
