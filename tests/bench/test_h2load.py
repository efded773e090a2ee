"""What h2load says is read, and every request that did not succeed is counted."""

import pytest

from bench import h2load

SAID = """
finished in 2.00s, 31672.00 req/s, 7.46MB/s
requests: 63354 total, 63360 started, 63344 done, 63340 succeeded, 4 failed, 10 errored, 1 timeout
status codes: 63340 2xx, 0 3xx, 0 4xx, 4 5xx
traffic: 14.92MB (15642000) total, 0B (0) headers (space savings 0.00%), 7.73MB (8107520) data
                     min         max         mean         sd        +/- sd
time for request:      201us     27.48ms      1.00ms       612us    90.61%
time for connect:     4.12ms       1.02s     21.57ms      6.03ms    60.94%
"""


def test_succeeded_wrong_and_times():
    succeeded, wrong, times = h2load.parse(SAID)
    assert (succeeded, wrong) == (63340, 15)
    assert times == {"max_ms": 27.48, "mean_ms": 1.0}


def test_silence_is_an_error():
    with pytest.raises(RuntimeError, match="said nothing"):
        h2load.parse("connect failed")


def test_kept_connections_and_new_ones():
    spec = h2load.Spec(address="127.0.0.1:1234", seconds=2)
    assert {"-c16", "-m10", "-D", "2", "https://bench.test:1234/"} <= set(h2load.argv(spec))
    new = h2load.Spec(address="127.0.0.1:1234", seconds=2, http1=True, new_per_second=500)
    assert {"-n1000", "-c1000", "-r500", "-m1", "--h1"} <= set(h2load.argv(new))
