"""What every controller is given: shared informers, a client of its own, clock, randomness."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from fairlead.base import clock as clocks
from fairlead.base import leisure as leisures
from fairlead.client import events, informer, informers, protocol
from fairlead.controllers import runner, serving_gate
from fairlead.controllers.writes import Object


@dataclass(slots=True)
class Context:
    """`client_for` gives a Client with the identity of a ServiceAccount in kube-system, by name."""

    client_for: Callable[[str], protocol.Client]
    informers: informers.Informers
    clock: clocks.Clock
    rng: random.Random
    on_failure: informer.Failure
    recorders: list[events.Recorder] = field(default_factory=list)
    runners: list[runner.Runner] = field(default_factory=list)
    gate: serving_gate.Gate | None = None
    leisure: leisures.Leisure | None = None  # what is more urgent than Events and counts

    def runner(self, name: str, decide: runner.Decide, *needed: informer.Informer) -> runner.Runner:
        """The runner of a controller, which never decides on a view of `needed` older than its own writes."""
        made = runner.Runner(
            name,
            decide,
            client=self.client_for(name),
            informers={one.kind: one for one in needed},
            recorder=self.recorder(name),
            clock=self.clock,
            rng=self.rng,
            on_failure=self.on_failure,
            leisure=self.leisure,
        )
        self.runners.append(made)
        return made

    def recorder(self, name: str) -> events.Recorder:
        """A recorder of Events that say `name` as their source."""
        made = events.Recorder(
            self.client_for(name), component=name, clock=self.clock, on_failure=self.on_failure, leisure=self.leisure
        )
        self.recorders.append(made)
        return made


def by_orphan_namespace(obj: Object) -> Iterable[str]:
    """An index: the objects of a namespace that nobody controls."""
    references = obj["metadata"].get("ownerReferences") or ()
    return () if any(ref.get("controller") for ref in references) else (obj["metadata"].get("namespace", ""),)
