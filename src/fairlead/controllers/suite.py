"""All controllers of a cluster behind one door: `start`, `synced`, `close`.

`client_for(NAME)` gives a Client with the identity of ServiceAccount NAME in kube-system; the shared informers read as
`kube-controller-manager`. Nothing here polls: an idle suite costs its watches.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from fairlead.base import clock as clocks
from fairlead.client import informer, informers, protocol
from fairlead.controllers import context
from fairlead.controllers.deployment import controller as deployment
from fairlead.controllers.replicaset import controller as replicaset

INFORMERS = "kube-controller-manager"


class ControllerSuite:
    """Every controller, over shared informers (which others may use, too: `informers`)."""

    def __init__(
        self,
        client_for: Callable[[str], protocol.Client],
        *,
        clock: clocks.Clock,
        rng: random.Random,
        on_failure: informer.Failure,
    ) -> None:
        self.informers = informers.Informers(client_for(INFORMERS), clock=clock, rng=rng, on_failure=on_failure)
        self._context = context.Context(client_for, self.informers, clock, rng, on_failure)
        self._controllers = [deployment.Deployments(self._context), replicaset.ReplicaSets(self._context)]

    async def start(self) -> None:
        """Starts to list, watch and reconcile; returns at once."""
        for recorder in self._context.recorders:
            recorder.start()
        self.informers.start()

    async def synced(self) -> None:
        """Returns when every controller has seen all there is."""
        await self.informers.wait_synced()

    @property
    def failures(self) -> dict[str, str]:
        """What is failing now: `controller key` -> why."""
        return {
            f"{made.name} {key}": problem
            for made in self._context.runners
            for key, problem in made.queue.failures.items()
        }

    @property
    def idle(self) -> bool:
        """No key is being worked on."""
        return all(made.queue.idle for made in self._context.runners)

    async def close(self) -> None:
        """Ends all of it; the next start goes on from what the API says."""
        for made in self._context.runners:
            await made.close()
        for recorder in self._context.recorders:
            await recorder.close()
        await self.informers.close()
