"""Kill -9 of client, worker, scheduler or everything, ten times: `benchmarks/chaos.py`, small."""

from benchmark_files import load_benchmark


def test_ten_kills(tmp_path):
    chaos = load_benchmark("chaos").Chaos(tmp_path, objects=60, part_size=4, workers=1)
    rounds = [chaos.round(number) for number in range(10)]
    assert [each.problem for each in rounds] == [None] * 10
