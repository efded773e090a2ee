"""The cases of Kubernetes' replica_calculator_test.go, by name."""

from typing import Any

import pytest

from fairlead.controllers.autoscaling import replicas

from .world import COLD, HOT, average, pod, samples, utilization, young

Object = dict[str, Any]


def pods(*ready: bool, ages: tuple[float, ...] = (), phases: tuple[str, ...] = ()) -> list[Object]:
    return [
        pod(index, ready=is_ready, age=ages[index] if ages else COLD, phase=phases[index] if phases else "Running")
        for index, is_ready in enumerate(ready)
    ]


T, F = True, False
UTILIZATION: list[Any] = [
    # name, current, percent, pods, levels, replicas, utilization, average
    ("ScaleUp", 3, 30, pods(T, T, T), samples(300, 500, 700), 5, 50, 500),
    ("ScaleUpUnreadyLessScale", 3, 30, pods(F, T, T), samples(300, 500, 700), 4, 60, 600),
    ("ScaleUpHotCpuLessScale", 3, 30, pods(T, T, T, ages=(HOT, COLD, COLD)), samples(300, 500, 700), 4, 60, 600),
    ("ScaleUpUnreadyNoScale", 3, 30, pods(T, F, F), samples(400, 500, 700), 3, 40, 400),
    ("ScaleHotCpuNoScale", 3, 30, pods(T, F, F, ages=(COLD, HOT, HOT)), samples(400, 500, 700), 3, 40, 400),
    (
        "ScaleUpIgnoresFailedPods", 2, 30,
        pods(T, T, F, F, phases=("Running", "Running", "Failed", "Failed")), samples(500, 700), 4, 60, 600,
    ),
    ("ScaleDown", 5, 50, pods(T, T, T, T, T), samples(100, 300, 500, 250, 250), 3, 28, 280),
    ("ScaleDownExcludeUnreadyPods", 5, 50, pods(T, T, T, F, F), samples(100, 300, 500, 250, 250), 2, 30, 300),
    (
        "ScaleDownExcludeUnscheduledPods", 5, 50,
        pods(T, F, F, F, F, phases=("Running", "Pending", "Pending", "Pending", "Pending")), samples(100), 1, 10, 100,
    ),
    (
        "ScaleDownIgnoreHotCpuPods", 5, 50,
        pods(T, T, T, T, T, ages=(COLD, COLD, COLD, HOT, HOT)), samples(100, 300, 500, 250, 250), 2, 30, 300,
    ),
    (
        "ScaleDownIgnoresFailedPods", 5, 50,
        pods(T, T, T, T, T, F, F, phases=("Running",) * 5 + ("Failed",) * 2),
        samples(100, 300, 500, 250, 250), 3, 28, 280,
    ),
    ("SuperfluousMetrics", 4, 100, pods(T, T, T, T), samples(4000, 9500, 3000, 7000, 3200, 2000), 24, 587, 5875),
    ("MissingMetrics", 4, 100, pods(T, T, T, T), samples(400, 95), 3, 24, 247),
    ("MissingMetricsNoChangeEq", 2, 100, pods(T, T), samples(1000), 2, 100, 1000),
    ("MissingMetricsNoChangeGt", 2, 100, pods(T, T), samples(1900), 2, 190, 1900),
    ("MissingMetricsNoChangeLt", 2, 100, pods(T, T), samples(600), 2, 60, 600),
    ("MissingMetricsUnreadyChange", 3, 50, pods(F, T, T), samples(100, 450), 3, 45, 450),
    (
        "MissingMetricsHotCpuNoChange", 3, 50,
        pods(T, T, T, ages=(HOT, COLD, COLD)), samples(100, 450), 3, 45, 450,
    ),
    ("MissingMetricsUnreadyScaleUp", 3, 50, pods(F, T, T), samples(100, 2000), 4, 200, 2000),
    (
        "MissingMetricsHotCpuScaleUp", 3, 50,
        pods(T, T, T, ages=(HOT, COLD, COLD)), samples(100, 2000), 4, 200, 2000,
    ),
    ("MissingMetricsUnreadyScaleDown", 4, 50, pods(F, T, T, T), samples(100, 100, 100), 3, 10, 100),
]  # fmt: skip


@pytest.mark.parametrize(
    ("current", "percent", "all_pods", "levels", "wanted", "used", "mean"),
    [pytest.param(*case[1:], id=case[0]) for case in UTILIZATION],
)
def test_utilization(
    current: int, percent: int, all_pods: list[Object], levels: Any, wanted: int, used: int, mean: int
) -> None:
    asked = utilization(current, percent, all_pods, levels)
    assert (asked.replicas, asked.utilization, asked.average_milli) == (wanted, used, mean)


def test_tolerance() -> None:
    found = [pod(index, cpu=cpu) for index, cpu in enumerate((0.9, 1.0, 1.1))]
    asked = utilization(3, 100, found, samples(1010, 1030, 1020))
    assert (asked.replicas, asked.utilization, asked.average_milli) == (3, 102, 1020)


def test_scale_up_ignores_deletion_pods() -> None:
    found = [pod(0), pod(1), pod(2, deleted=True), pod(3, deleted=True)]
    asked = utilization(2, 30, found, samples(500, 700))
    assert (asked.replicas, asked.utilization, asked.average_milli) == (4, 60, 600)


AVERAGE: list[Any] = [
    ("ScaleUpCM", 3, 15000, pods(T, T, T), samples(20000, 10000, 30000), 4, 20000),
    ("ScaleUpCMUnreadyHotCpuNoLessScale", 3, 15000, pods(T, T, F, ages=(COLD, COLD, HOT)),
     samples(50000, 10000, 30000), 6, 30000),
    ("ScaleUpCMUnreadyHotCpuScaleWouldScaleDown", 3, 15000, pods(F, T, F, ages=(HOT, COLD, HOT)),
     samples(50000, 15000, 30000), 7, 31666),
    ("ScaleDownCM", 5, 20000, pods(T, T, T, T, T), samples(12000, 12000, 12000, 12000, 12000), 3, 12000),
    ("ToleranceCM", 3, 20000, pods(T, T, T), samples(20000, 21000, 21000), 3, 20666),
]  # fmt: skip


@pytest.mark.parametrize(
    ("current", "target", "all_pods", "levels", "wanted", "mean"),
    [pytest.param(*case[1:], id=case[0]) for case in AVERAGE],
)
def test_average(current: int, target: int, all_pods: list[Object], levels: Any, wanted: int, mean: int) -> None:
    asked = average(current, target, all_pods, levels)
    assert (asked.replicas, asked.average_milli) == (wanted, mean)


VALUE: list[Any] = [
    ("ScaleUpCMObject", 3, 20000, 15000, pods(T, T, T), 4),
    ("ScaleUpCMObjectIgnoresUnreadyPods", 3, 50000, 10000, pods(F, T, F), 5),
    ("ScaleUpFromZeroCMObject", 0, 20000, 15000, [], 2),
    ("ScaleUpFromZeroIgnoresToleranceCMObject", 0, 1000, 1000, [], 1),
    ("ScaleUpCMExternal", 1, 8600, 4400, pods(T), 2),
    ("ScaleDownCMObject", 5, 12000, 20000, pods(T, T, T, T, T), 3),
    ("ScaleDownCMExternal", 5, 8600, 14334, pods(T, T, T, T, T), 3),
    ("ToleranceCMObject", 3, 20666, 20000, pods(T, T, T), 3),
    ("ToleranceCMExternal", 3, 8600, 8888, pods(T, T, T), 3),
]


@pytest.mark.parametrize(
    ("current", "value", "target", "all_pods", "wanted"), [pytest.param(*case[1:], id=case[0]) for case in VALUE]
)
def test_value(current: int, value: int, target: int, all_pods: list[Object], wanted: int) -> None:
    asked = replicas.for_value(
        current=current, value_milli=value, target_milli=target, all_pods=all_pods, tolerance=replicas.Tolerance()
    )
    assert (asked.replicas, asked.total_milli) == (wanted, value)


PER_POD: list[Any] = [
    ("ScaleUpPerPodCMObject", 3, 40000, 10000, 4, 13334),
    ("ScaleUpPerPodCMExternal", 3, 8600, 2150, 4, 2867),
    ("ScaleDownPerPodCMObject", 5, 60000, 20000, 3, 12000),
    ("ScaleDownPerPodCMExternal", 5, 8600, 2867, 3, 1720),
    ("TolerancePerPodCMObject", 4, 20166, 5000, 4, 5042),
    ("TolerancePerPodCMExternal", 3, 8600, 2900, 3, 2867),
    ("from zero", 0, 8600, 2000, 5, 0),
]


@pytest.mark.parametrize(
    ("current", "value", "target", "wanted", "mean"), [pytest.param(*case[1:], id=case[0]) for case in PER_POD]
)
def test_value_per_pod(current: int, value: int, target: int, wanted: int, mean: int) -> None:
    asked = replicas.for_value_per_pod(
        current=current, value_milli=value, target_milli=target, tolerance=replicas.Tolerance()
    )
    assert (asked.replicas, asked.average_milli) == (wanted, mean)


def test_errors_say_what_is_missing() -> None:
    cases: list[tuple[str, list[Object], Any]] = [
        ("no metrics returned", pods(T, T), {}),
        ("no pods returned by selector", [], samples(1)),
        ("did not receive metrics for targeted pods", pods(T), samples(100, first=5)),
        ("did not receive metrics for targeted pods", pods(F), samples(100)),
    ]
    for message, found, levels in cases:
        with pytest.raises(replicas.MetricError, match=message):
            utilization(1, 50, found, levels)


def test_empty_cpu_request() -> None:
    with pytest.raises(replicas.MetricError, match="missing request for cpu in container c0 of Pod pod-0"):
        utilization(1, 100, [pod(0, cpu=None)], samples(200))


def test_missing_container_metric_and_request() -> None:
    found = [pod(0, containers=(1.0, 0.5))]
    assert replicas.requests_of(found, resource="cpu", container="c1") == {"pod-0": 500}
    assert replicas.requests_of(found, resource="cpu") == {"pod-0": 1500}


def test_a_surge_of_ready_pods_does_not_leave_the_tolerance() -> None:
    """Ours: four ready pods where three are wanted share the load of three; that is no reason to change anything."""
    asked = utilization(3, 50, [pod(index) for index in range(4)], samples(400, 400, 400, 400))
    assert asked.replicas == 3
    assert utilization(3, 50, [pod(index) for index in range(4)], samples(900, 900, 900, 900)).replicas == 8


def test_a_young_pod_counts_with_its_part_of_the_window_when_more_is_asked_for() -> None:
    """One pod had 800 for half of the window; since then four share it: 200 each."""
    found = [pod(0), *(pod(index, age=HOT) for index in (1, 2, 3))]
    levels = samples(500) | young(200, 1, share=0.5) | young(200, 2, share=0.5) | young(200, 3, share=0.5)
    assert utilization(4, 10, found, levels).replicas == 8  # (500 + 3 x 100) / 100


def test_young_pods_do_not_make_it_go_down_before_their_window_is_full() -> None:
    """The load has moved to the young pods: what the old one does now says nothing yet."""
    found = [pod(0), *(pod(index, age=HOT) for index in (1, 2, 3))]
    levels = samples(60) | young(100, 1, share=0.1) | young(100, 2, share=0.1) | young(100, 3, share=0.1)
    assert utilization(4, 10, found, levels).replicas == 4


def test_young_pods_alone_are_enough_to_ask_for_more() -> None:
    assert utilization(1, 10, [pod(0, age=HOT)], young(900, 0, share=0.5)).replicas == 5
    assert utilization(1, 10, [pod(0, age=HOT)], young(50, 0, share=0.5)).replicas == 1


def test_when_a_pod_was_seen_to_become_ready_goes_before_its_conditions_whole_seconds() -> None:
    """Its condition says that the window is full; it became ready half a second later."""
    late = pod(1, age=60.0)
    levels = samples(300) | young(300, 1, share=0.99)
    asked = utilization(2, 10, [pod(0), late], levels)
    assert asked.average_milli == 300 and asked.replicas == 6
