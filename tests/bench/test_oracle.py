"""The oracle simulates the same arrivals and servers as the load tools."""

import argparse

import pytest

from bench import lab, load, oracle


def test_requests_beyond_the_workers_queue():
    server = oracle.Server(2, 1.0, None)
    assert [server.take(0.0, 0.01) for _ in range(4)] == [0.01, 0.01, 0.02, 0.02]


def test_a_slow_server_takes_its_factor_and_a_stall_delays_the_start():
    server = oracle.Server(1, 10.0, load.Stall(server=0, every_seconds=1.0, for_seconds=0.1))
    assert server.take(0.0, 0.001) == pytest.approx(0.11)
    assert server.take(0.5, 0.001) == pytest.approx(0.51)


def test_the_oracle_avoids_the_slow_and_the_stalled():
    spec = load.BackendSpec(servers=3, slowness=(10.0, 1.0, 1.0), stalls=(load.Stall(1, 10.0, 1.0),))
    seen = oracle.latencies(spec, [0.01], iter([0.0, 0.02, 0.04]))
    assert seen == pytest.approx([0.01, 0.01, 0.01])


def test_capacity_counts_slowness_and_stalls():
    spec = load.BackendSpec(servers=3, workers=2, slowness=(10.0,), stalls=(load.Stall(1, 1.0, 0.5),))
    assert oracle.capacity(spec, [0.01]) == pytest.approx((0.1 + 0.5 + 1.0) * 2 / 0.01)


def test_quantiles_are_values_that_were_seen():
    values = [float(value) for value in range(1, 101)]
    assert (oracle.quantile(values, 0.5), oracle.quantile(values, 0.99), oracle.quantile(values, 1)) == (50, 99, 100)


@pytest.mark.system
async def test_the_load_tools_make_the_same_arrivals_from_the_same_seed():
    options = argparse.Namespace(quick=True, rounds=0, seconds=0.0, keep=False)
    with lab.opened(options) as room:
        backend = await load.backend(room, load.BackendSpec(servers=1))
        target = load.Target(addresses=backend.addresses)
        spec = load.Open(target=target, rate=400, seconds=1, poisson=True, seed=7)
        seen = await load.open_loop(room, spec)
    assert seen.due == len(list(oracle.arrivals(400, 1, 7)))
