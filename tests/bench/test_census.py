"""What counts as growth between two rests of a cluster."""

from bench import census


def test_what_is_counted_must_be_what_it_was() -> None:
    assert census.grew("links", 7, 7, 8)
    assert not census.grew("links", 8, 7, 8)


def test_memory_is_compared_since_the_last_start_of_fairlead() -> None:
    assert census.grew("fairlead_memory_mb", 60, 70, 90)
    assert not census.grew("fairlead_memory_mb", 60, 70, 80)


def test_logs_are_bounded_by_themselves() -> None:
    assert not census.grew("log_mb", 0.1, 1.0, 30.0)
