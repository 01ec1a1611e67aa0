"""The histogram against sorting."""

from __future__ import annotations

import random

import pytest

from pillion.tools.histogram import MAX_VALUE_NS, Histogram, bucket_of, highest_of


@pytest.mark.parametrize("value", [0, 1, 2047, 2048, 2049, 4095, 4096, 10**6, 10**9, MAX_VALUE_NS])
def test_borders_of_buckets(value):
    bucket = bucket_of(value)
    assert bucket_of(highest_of(bucket)) == bucket
    assert highest_of(bucket) >= value
    assert value == 0 or bucket_of(value - 1) in (bucket, bucket - 1)
    assert bucket_of(highest_of(bucket) + 1) == bucket + 1


def test_buckets_keep_three_digits():
    rng = random.Random(1)
    for _ in range(2000):
        value = rng.randrange(1 << rng.randrange(1, 42))
        assert 0 <= highest_of(bucket_of(value)) - value <= value / 1000


def test_percentiles_are_those_of_the_sorted_samples():
    rng = random.Random(2)
    samples = sorted(int(rng.lognormvariate(10, 2)) for _ in range(5000))
    histogram = Histogram()
    for sample in samples:
        histogram.record(sample)
    for percent in (50, 90, 99, 99.9, 100):
        exact = samples[-int(-len(samples) * percent // 100) - 1]
        assert exact <= histogram.percentile(percent) <= exact * 1.001 + 1
    assert (histogram.min_ns, histogram.max_ns) == (samples[0], samples[-1])
    assert histogram.percentile(100) == samples[-1]
    assert histogram.mean_ns == pytest.approx(sum(samples) / len(samples))


def test_values_out_of_range_count_at_the_ends():
    histogram = Histogram()
    histogram.record(-5)
    histogram.record(MAX_VALUE_NS * 4)
    assert (histogram.count, histogram.min_ns, histogram.max_ns) == (2, 0, MAX_VALUE_NS)


def test_empty_histogram():
    histogram = Histogram()
    assert histogram.percentile(50) == 0
    assert histogram.summary()["count"] == 0
    assert histogram.summary()["min_us"] == 0
    assert list(histogram.percentiles()) == []


def test_percentile_table_of_a_thousand_equal_steps():
    histogram = Histogram()
    for value in range(1, 1001):
        histogram.record(value)
    table = {round(line.fraction, 6): line for line in histogram.percentiles()}
    assert table[0.5].value_ns == 500
    assert table[0.5].total_count == 500
    assert table[0.9].value_ns == 901 or table[0.9].value_ns == 900
    assert table[1.0] == (1000, 1.0, 1000)
    fractions = [line.fraction for line in histogram.percentiles()]
    assert fractions == sorted(fractions)
    text = histogram.format_table()
    assert text.splitlines()[0] == "       Value   Percentile   TotalCount 1/(1-Percentile)"
    assert "Total count =         1000" in text


def test_summary_is_in_microseconds():
    histogram = Histogram()
    for _ in range(3):
        histogram.record(1500)
    assert histogram.summary() == {
        "count": 3,
        "mean_us": 1.5,
        "p50_us": 1.5,
        "p90_us": 1.5,
        "p99_us": 1.5,
        "p99.9_us": 1.5,
        "min_us": 1.5,
        "max_us": 1.5,
    }
