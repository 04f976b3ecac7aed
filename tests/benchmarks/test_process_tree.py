"""Reading a sampled process tree at a moment."""

from __future__ import annotations

from benchmarks.process_tree import TreeSampler


def test_cpu_at_between_samples_is_interpolated() -> None:
    sampler = TreeSampler(1)
    sampler.samples = [(10.0, 0.0, 0.0), (11.0, 2.0, 5.0), (12.0, 3.0, 4.0)]
    assert sampler.cpu_at(9.0) == 0.0
    assert sampler.cpu_at(10.5) == 1.0
    assert sampler.cpu_at(11.5) == 2.5
    assert sampler.cpu_at(13.0) == 3.0
    assert sampler.peak_mib == 5.0
