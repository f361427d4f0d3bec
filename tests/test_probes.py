"""Tests of `probes`: waits are asked for, reports come from the process that made them, reads are counted."""

import os
import time

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from dlhelpers.data import NumberedImages
from dlhelpers.measure import Waiting, WorkerReport, count_reads
from dlhelpers.train import epoch_sums


def test_each_sample_waits_and_comes_unchanged():
    waiting = Waiting(NumberedImages(3), milliseconds=20)
    begin = time.perf_counter()
    assert len(waiting) == 3 and [waiting[k][1] for k in range(3)] == [0, 1, 2]
    assert time.perf_counter() - begin >= 0.06


def test_workers_report_themselves_with_seeds_of_their_own():
    found = DataLoader(WorkerReport(8), batch_size=None, num_workers=2)
    by_worker = {(report["worker"], report["process"], report["seed"]) for report in found}
    assert len(by_worker) == 2 and os.getpid() not in {process for _, process, _ in by_worker}
    (_, _, first), (_, _, second) = sorted(by_worker, key=lambda entry: entry[0])
    assert second == first + 1


def test_the_generator_of_a_sample_knows_its_seed_epoch_and_index_and_no_worker():
    def drawn(seed, epoch, **options):
        dataset = WorkerReport(8)
        dataset.seed, dataset.epoch = seed, epoch
        return [report["sample"] for report in DataLoader(dataset, batch_size=None, **options)]

    everything = [drawn(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({number for numbers in everything for number in numbers}) == 4 * 8
    assert drawn(1, 0, num_workers=2) == everything[2]


@pytest.mark.parametrize(
    "read",
    [
        torch.Tensor.item,
        torch.Tensor.tolist,
        bool,
        float,
        range,
        np.asarray,
        "{}".format,
        lambda number: torch.tensor([number]),
    ],
)
def test_each_way_to_read_a_number_counts_once(read):
    number = torch.tensor(3)
    assert count_reads(lambda: [read(number) for _ in range(5)], "cpu") == 5


def test_what_reads_nothing_or_reads_elsewhere_is_not_counted():
    number = torch.tensor(3.0)
    assert count_reads(lambda: (number + number).detach().sum(), "cpu") == 0
    assert count_reads(number.item, "cuda") == 0
    assert count_reads(lambda: torch.stack([number, number]) + torch.tensor([1, 2]), "cpu") == 0
    number.item()  # afterwards nobody counts, and nothing breaks


def test_the_read_that_depends_on_the_clock_is_off_meanwhile_and_back_after_an_error():
    before, seen = epoch_sums.READ_SECONDS, []

    def work():
        seen.append(epoch_sums.READ_SECONDS)
        raise RuntimeError("the work failed")

    with pytest.raises(RuntimeError, match="the work failed"):
        count_reads(work, "cpu")
    assert seen == [float("inf")] and epoch_sums.READ_SECONDS == before < 10
