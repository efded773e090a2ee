"""kubectl's words for pods."""

from typing import Any

import pytest

from fairlead.apiserver.printing import pods


def _state(reason: str, code: int | None = None) -> dict[str, Any]:
    if code is None:
        return {"waiting": {"reason": reason}} if reason else {"running": {}}
    return {"terminated": {"reason": reason, "exitCode": code}}


@pytest.mark.parametrize(
    ("initialized", "sidecar", "app", "word"),
    [
        ("True", _state("Error", 143), _state("Completed", 0), "Completed"),
        ("True", _state("CrashLoopBackOff"), _state(""), "Init:CrashLoopBackOff"),
        ("False", _state("Error", 1), _state("PodInitializing"), "Init:Error"),
    ],
)
def test_how_a_sidecar_ended_does_not_hide_what_became_of_the_pod(
    initialized: str, sidecar: dict[str, Any], app: dict[str, Any], word: str
) -> None:
    pod = {
        "metadata": {"name": "p"},
        "spec": {"initContainers": [{"name": "s", "restartPolicy": "Always"}], "containers": [{"name": "c"}]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Initialized", "status": initialized}],
            "initContainerStatuses": [{"name": "s", "started": False, "state": sidecar}],
            "containerStatuses": [{"name": "c", "ready": not app.get("terminated"), "state": app}],
        },
    }
    assert pods.word(pod) == word
