"""What tests/test_fuzz.py knocks with: for each public name valid arguments, wrong values, and who is let off, and why.

An entry makes its arguments anew at each call. "self" is the object of a method; "do" stands in for a call that would
start something; "not" names (argument, kind of value) that would be taken at their word and never end, or fill a disk.
"""

from collections import Counter
from random import Random

import torch
from PIL import Image
from small_runs import data
from torch import nn
from visitors import (
    at,
    ax,
    batch,
    exercise,
    gives_nothing,
    loader,
    net,
    past,
    pixels,
    prediction,
    question,
    rehearsed,
    sample_source,
    study,
    takes_nothing,
    training,
    unstarted,
    write_batch,
)

from dlhelpers import (
    datasets,
    distributed,
    limits,
    loops,
    memory,
    probes,
    rehearsal,
    shards,
    speed,
    splits,
)
from dlhelpers.block_shuffle import BlockShuffleSampler
from dlhelpers.folders import ResizeToTensor
from dlhelpers.shard_writer import ShardWriter

CHECKPOINT = {"path": "run.pt", "scheduler": None, "scaler": None}
STUDY = {"start": 2, "limit": 2, "budget": 0.8, "steps": 1, "amp_dtype": None, "device": None}
EPOCH = {"device": None, "metrics": None, "amp_dtype": None, "epoch": 1, "history": None}
TRAIN = {"max_norm": None, "micro_batch_size": None, "scaler": None, "scheduler": None}
FIT = {"epochs": 1, "valid_loader": None, "scheduler_unit": "epoch", "checkpoint": None, "seed": 0,
       "on_epoch_end": None, "progress": False}  # fmt: skip
PACK = {"target": "packed", "rows_per_shard": None, "shuffle_seed": 0, "processes": 1, "overwrite": True,
        "progress": False}  # fmt: skip
LINES = {"xlabel": "x", "ylabel": "y"}
cpu = torch.device("cpu")

DOORS = {
    "batch_sizes.BatchSizeStudy.__getitem__": lambda: {"self": study(), "index": 0},
    "batch_sizes.BatchSizeStudy.plot": lambda: {"self": study(), "column": "peak_memory", "ax": ax()},
    "batch_sizes.study_batch_sizes": lambda: {
        "model": net(), "make_batch": batch, "loss_fn": nn.CrossEntropyLoss(), "optimizer_fn": rehearsal.plain_sgd,
        **STUDY, "not": {("steps", "huge"), ("limit", "huge")}},
    "block_shuffle.BlockShuffleSampler": lambda: {
        "samples": 10, "block": 3, "window": 2, "seed": 0, "rank": 0, "world": 1, "policy": "exact",
        "not": {("samples", "huge"), ("block", "huge"), ("window", "huge")}},
    "block_shuffle.BlockShuffleSampler.set_epoch": lambda: {
        "self": BlockShuffleSampler(10), "epoch": 1, "samples_done": 0},
    "checkpoints.check_target": lambda: {"path": at("run.pt")},
    "checkpoints.load_checkpoint": lambda: {
        "model": net(), "optimizer": None, **CHECKPOINT, "path": at("run.pt")},
    "checkpoints.save_checkpoint": lambda: {
        **{k: v for k, v in training().items() if k != "loss_fn"}, "history": past(), **CHECKPOINT},
    "classroom.pool": lambda: {"folder": at("class")},
    "datasets.ImageDataset": lambda: {
        "images": torch.zeros(2, 3, 8, 8), "labels": torch.tensor([0, 1]), "classes": ["a", "b"]},
    "datasets.ImageDataset.__getitem__": lambda: {"self": sample_source().dataset, "index": 0},
    "datasets.NumberedImages": lambda: {"length": 12},
    "datasets.NumberedImages.__getitem__": lambda: {"self": datasets.NumberedImages(12), "index": 0},
    "datasets.Shapes": lambda: {"length": 4, "size": 8, "seed": 0, "not": {("size", "huge")}},
    "datasets.Shapes.__getitem__": lambda: {"self": datasets.Shapes(4, 8), "index": 0},
    "datasets.load": lambda: {"name": "shapes", "split": "train", "root": None, "download": False, "size": 8,
                              "not": {("size", "huge")}},
    "decoding.pick_processes": lambda: {"processes": 1, "samples": 10},
    "devices.autocast": lambda: {"device": cpu, "amp_dtype": torch.bfloat16},
    "devices.loader_options": lambda: {"device": "cpu"},
    "devices.move": lambda: {"batch": [torch.zeros(2), {"a": 1}], "device": "cpu"},
    "devices.pick_amp_dtype": lambda: {"device": "cpu"},
    "devices.pick_device": lambda: {"prefer": "cpu"},
    "devices.seed_everything": lambda: {"seed": 0},
    "devices.synchronize": lambda: {"device": "cpu"},
    "distributed.Ranks.gather": lambda: {"self": distributed.Ranks(), "value": 1},
    "distributed.Ranks.highest": lambda: {"do": lambda number: distributed.Ranks().highest(number), "number": 1.0},
    "distributed.Ranks.sums": lambda: {"do": lambda number: distributed.Ranks().sums(number), "number": 1.0},
    "distributed.agree": lambda: {"fact": 1},
    "distributed.on_first_rank": lambda: {"function": gives_nothing},
    "distributed.rank_device": lambda: {"prefer": "cpu"},
    "distributed.unwrap": lambda: {"model": net()},
    "doors.check_callable": lambda: {"name": "work", "value": abs, "expected": "a function"},
    "doors.check_kind": lambda: {"name": "n", "value": 1, "kind": int, "expected": "a number"},
    "doors.check_parts": lambda: {"model": net(), "seed": 1, "metrics": {"accuracy": loops.accuracy}, "max_norm": 1.0},
    "doors.shown": lambda: {"value": 1},
    "epochs.samplers": lambda: {"loader": loader()},
    "exercises.core.Exercise.check": lambda: {"self": exercise(), "answer": abs},
    "exercises.core.Prediction.predict": lambda: {"self": prediction(), "guess": 3},
    "exercises.core.Prediction.reveal": lambda: {"self": prediction(), "result": 3},
    "exercises.core.Question.check": lambda: {"self": question(), "letter": "a"},
    "exercises.judge.is_blank": lambda: {"function": takes_nothing},
    "exercises.progress.export": lambda: {"path": f"handed-in-{Random().random()}.json"},
    "exercises.progress.progress": lambda: {"lesson": "lesson_00"},
    "exercises.replies.same": lambda: {"one": 1.0, "other": [1, 2], "tolerance": 1e-6},
    "exercises.replies.show_value": lambda: {"value": 1},
    "folders.ResizeToTensor": lambda: {"size": 8},
    "folders.ResizeToTensor.__call__": lambda: {"self": ResizeToTensor(8), "image": Image.new("RGB", (9, 9))},
    "folders.image_folder": lambda: {"root": at("images"), "split": "train", "size": 8},
    "folders.image_to_tensor": lambda: {"image": Image.new("RGB", (9, 9))},
    "generated.draw_shapes": lambda: {"start": 0, "stop": 2, "size": 8, "seed": 0,
                                      "not": {("stop", "huge"), ("size", "huge")}},
    "guards.check_epochs": lambda: {"epochs": 1},
    "guards.check_loader": lambda: {"loader": loader(), "phase": "train", "model": net()},
    "guards.check_model": lambda: {"model": net(), "device": "cpu"},
    "guards.split_batch": lambda: {"batch": batch()},
    "history.EpochResult.value": lambda: {"self": past()[0], "name": "loss"},
    "history.History.__getitem__": lambda: {"self": past(), "index": 0},
    "history.History.add": lambda: {"self": past(), "result": past()[0]},
    "history.History.best": lambda: {"self": past(), "name": "valid_loss", "mode": "min"},
    "history.History.column": lambda: {"self": past(), "name": "train_loss"},
    "history.History.from_state_dict": lambda: {"state": past().state_dict()},
    "image_files.read_image": lambda: {"content": (at("images") / "one/0.png").read_bytes(), "size": 8,
                                       "not": {("size", "huge")}},
    "interruption.on_any_rank": lambda: {"function": lambda: False},
    "limits.run_in_child": lambda: {
        "do": unstarted(limits.run_in_child), "target": abs, "args": (1,), "limit": 10**9, "timeout": 1.0,
        "start_method": "spawn"},
    "loaders.batches_per_epoch": lambda: {"samples": 10, "batch_size": 3, "drop_last": False},
    "loaders.count": lambda: {"loader": loader(), "max_batches": None},
    "loaders.samples_in": lambda: {"batch": batch()},
    "loaders.describe": lambda: {"loader": loader()},
    "losses.check_loss_fn": lambda: {"loss_fn": nn.CrossEntropyLoss()},
    "loops.evaluate": lambda: {"model": net(), "loader": loader(), "loss_fn": nn.CrossEntropyLoss(), "phase": "valid",
                               **EPOCH},
    "loops.fit": lambda: {**training(), "train_loader": loader(), **{k: EPOCH[k] for k in EPOCH if k != "epoch"},
                          **TRAIN, **FIT, "not": {("epochs", "huge")}},
    "loops.train_epoch": lambda: {**training(), "loader": loader(), **EPOCH, **TRAIN},
    "manifests.read_manifest": lambda: {"folder": at("shards")},
    "memory.human_bytes": lambda: {"count": 10},
    "memory.is_out_of_memory": lambda: {"error": MemoryError()},
    "memory.memory_budget": lambda: {"device": "cpu"},
    "memory.memory_use": lambda: {"pid": None},
    "memory.run_limited": lambda: {
        "do": unstarted(memory.run_limited), "target": abs, "limit": 10**9, "timeout": 1.0, "start_method": "fork"},
    "memory_trees.TreePeak": lambda: {"pid": None},
    "memory_trees.tree_memory": lambda: {"pid": None},
    "packing.pack_dataset": lambda: {"dataset": sample_source().dataset, "classes": ["a", "b"], **PACK,
                                     "not": {("processes", "huge"), ("dataset", "dict")}},
    "packing.pack_folder": lambda: {"source": at("images"), "size": 8, "on_error": "raise", **PACK,
                                    "not": {("processes", "huge"), ("size", "huge")}},
    "plots.counted": lambda: {"count": 2, "one": "batch", "more": "batches"},
    "plots.new_axes": lambda: {"width": 2, "height": 1},
    "plots.plot_batches": lambda: {"batches": [[0, 1], [2]], "left_out": [3], "ax": ax()},
    "plots.plot_history": lambda: {"history": past(), "name": "loss", "ax": ax()},
    "plots.plot_images": lambda: {
        "images": torch.zeros(2, 1, 8, 8), "captions": ["a", "b"], "columns": 2, "ax": ax()},
    "plots.plot_lines": lambda: {"x": [1, 2], "series": {"a": [1.0, 2.0]}, **LINES, "markers": True, "ax": ax()},
    "plots.rounded": lambda: {"value": 1.5},
    "plots.show": lambda: {"ax": ax(), "sentence": "A line."},
    "prefetch.prefetch": lambda: {"names": ["digits"], "folder": "fetched"},
    "probes.Waiting": lambda: {"dataset": data(2), "milliseconds": 0, "not": {
        ("dataset", "dict"), ("milliseconds", "huge"), ("milliseconds", "infinity")}},
    "probes.WorkerReport": lambda: {"length": 2},
    "probes.WorkerReport.__getitem__": lambda: {"self": probes.WorkerReport(2), "index": 0},
    "probes.count_reads": lambda: {"work": takes_nothing, "device": "cpu"},
    "progress.progress_bar": lambda: {"loaders": [loader()], "epochs": 1, "show": False, "unit": "batch"},
    "rank_checks.drops": lambda: {"sampler": BlockShuffleSampler(4)},
    "rank_checks.own_samples": lambda: {"loader": loader()},
    "rank_checks.pads": lambda: {"sampler": BlockShuffleSampler(4)},
    "rank_checks.place_of": lambda: {"sampler": BlockShuffleSampler(4)},
    "rank_checks.total_of": lambda: {"sampler": BlockShuffleSampler(4)},
    "rehearsal.Rehearsal": lambda: {"model": net(), "loss_fn": nn.CrossEntropyLoss(), "device": None,
                                    "optimizer_fn": rehearsal.plain_sgd, "amp_dtype": None},
    "rehearsal.Rehearsal.batch": lambda: {"self": rehearsed(), "make_batch": batch, "size": 2,
                                          "not": {("size", "huge")}},
    "rehearsal.Rehearsal.seconds": lambda: {"self": rehearsed(), "batch": batch(), "steps": 1,
                                            "not": {("steps", "huge")}},
    "rehearsal.Rehearsal.step": lambda: {"self": rehearsed(), "batch": batch()},
    "epochs.generators_of": lambda: {"loader": loader()},
    "rehearsal.own_loader": lambda: {"loader": loader()},
    "rehearsal.plain_sgd": lambda: {"parameters": net().parameters()},
    "schedules.asks_loss": lambda: {"scheduler": None},
    "schedules.check_scheduler": lambda: {"scheduler": None, "unit": "epoch", "epochs": 1, "loader": loader()},
    "shard_writer.ShardWriter": lambda: {
        "do": lambda **arguments: bool(ShardWriter(**arguments)),
        "folder": "written", "classes": ["a"], "shape": (3, 8, 8), "samples": None, "rows_per_shard": 3,
        "overwrite": True, "source": None},
    "shard_writer.ShardWriter.add": lambda: {"do": write_batch, "images": pixels(2), "labels": [0, 1]},
    "shards.ShardDataset": lambda: {"folder": at("shards"), "transform": None, "check": "size"},
    "shards.ShardDataset.__getitem__": lambda: {"self": shards.ShardDataset(at("shards")), "index": 0},
    "shards.ShardDataset.__getitems__": lambda: {"self": shards.ShardDataset(at("shards")), "indices": [0, 3]},
    "shards.to_float": lambda: {"images": torch.zeros(2, 3, 8, 8, dtype=torch.uint8)},
    "speed.PipelineSpeed.plot": lambda: {"self": speed.PipelineSpeed(9.0, 8.0, 7.0, 3.0, 2, 1, 0), "ax": ax()},
    "speed.loader_speed": lambda: {"loader": loader(), "batches": 1, "warmup": 1},
    "speed.pipeline_speed": lambda: {
        "model": net(), "loader": loader(), "loss_fn": nn.CrossEntropyLoss(), "device": None, "batches": 1,
        "optimizer_fn": rehearsal.plain_sgd, "warmup": 1, "amp_dtype": None},
    "splits.Split.position": lambda: {"self": splits.split_epoch(10), "number": 0},
    "splits.split_epoch": lambda: {"samples": 10, "rank": 0, "world": 1, "policy": "exact"},
    "start.begin": lambda: {"version": "0.1.0"},
    "step_plots.plot_steps": lambda: {"epochs": [[[0, 1], [2]]], "micro_batch_size": 1, "ax": ax()},
    "streams.SplitStream": lambda: {"dataset": data(2), "not": {("dataset", "dict")}},
    "streams.Stream": lambda: {"dataset": data(2), "not": {("dataset", "dict")}},
    "streams.shuffle_buffer": lambda: {"samples": range(4), "size": 2, "random": Random(0)},
    "study_plots.plot_batch_sizes": lambda: {"study": study(), "column": "peak_memory", "ax": ax()},
    "study_plots.plot_runs": lambda: {"runs": {"a": [([1, 2], [3, 4])]}, **LINES, "ax": ax()},
    "study_plots.plot_speed": lambda: {"speed": speed.PipelineSpeed(9.0, 8.0, 7.0, 3.0, 2, 1, 0), "ax": ax()},
    "tables.Table": lambda: {"headers": ["what"], "rows": [["a"]], "notes": ["b"]},
    "verification.verify": lambda: {"folder": at("shards"), "processes": None, "progress": False},
    "widgets.draw_epoch": lambda: {"samples": 4, "batch_size": 2, "drop_last": False, "epoch": 1},
    "whole_numbers.check_whole": lambda: {"name": "n", "value": 1, "least": 1, "why": "", "of": ""},
    "widgets.explore_batches": lambda: {"samples": 4, "batch_size": 2},
}  # fmt: skip


# Why a public name is not knocked at; that no reader meets the inner ones is tested.
INNER = "only the package calls it, with what a door has let in; no lesson, example or page names it"
EXEMPT = {
    INNER: """
        batch_sizes.BatchSizeStudy decoding.Samples decoding.Samples.read decoding.as_uint8 decoding.batches
        decoding.unusable epochs.draw_for_workers epochs.start_epoch exercises.judge.judge_cases guards.check_optimizer
        gathered.Gathered gathered.Gathered.__getitem__ gathered.Sample gathered.Sample.__getitem__
        gathered.collate_samples losses.batch_loss
        losses.batch_loss_shape losses.check_first_batch image_files.ImageFiles image_files.ImageFiles.read
        image_files.find_images image_files.find_size image_files.read_size interruption.Interruption.raise_if
        limited_child.check_sendable loops.make_scaler loops.mode loops.take_step manifests.file_sha256
        manifests.sync_folder manifests.write_json manifests.write_manifest memory.tells_out_of_memory
        micro_batches.BatchGradients micro_batches.BatchGradients.__call__ micro_batches.part_of
        micro_batches.place_batch micro_batches.zero_grad
        peaks.PeakMemory peaks.memory_held peaks.predicted_peak peaks.release_memory plots.Picture
        plots.finish random_states.set_random_state rehearsal.undisturbed row_view.RowView row_view.RowView.take
        shard_files.find_strays shard_files.is_intact shard_files.need_space shard_files.remove_files
        shard_maps.ShardMaps shard_maps.ShardMaps.open shard_maps.damage tally.Tally tally.Tally.add tally.Tally.batches
        verification.check_files verification.open_array""",
    "a lesson shows its code, and a check would be one more line to read": """
        loops.accuracy memory.bytes_of probes.Waiting.__getitem__""",
    "lesson 08 shows it as it is: a check would be one more line to read": """under_cap.OneMap under_cap.every_fourth
        under_cap.OneMap.__getitem__ under_cap.images_per_second under_cap.sum_images under_cap.train
        under_cap.write_files under_cap.write_map under_cap.write_shards""",
    "the course's own tasks make it; tests/test_tasks.py and tests/test_exercises.py hold each to its words": """
        exercises.core.Exercise exercises.core.Prediction exercises.core.Question exercises.core.Task
        exercises.progress.record""",
    "classroom.pool, which is knocked at, puts the name of the file before its words": "exercises.progress.parse",
    "Exercise.check, which is knocked at, reports whatever it raises": """
        exercises.judge_capstone.judge_as_stated exercises.judge_capstone.judge_counts
        exercises.judge_capstone.judge_last_run exercises.judge_capstone.judge_learned
        exercises.judge_capstone.judge_price exercises.judge_capstone.judge_resumes
        exercises.judge_capstone.judge_under_cap exercises.judge_shards.judge_block_order
        exercises.judge_shards.judge_write_whole exercises.judge_streams.judge_buffer
        exercises.judge_streams.judge_checked exercises.report_capstone.report capstone.Attempt capstone.attempt
        capstone.finished capstone.numbers""",
    "it exchanges with other ranks, or opens their group: tests/test_distributed.py": """lockstep.RankBatch
        lockstep.RankGradients lockstep.RankGradients.__call__ lockstep.RankTally lockstep.RankTally.add
        lockstep.RankTally.batches lockstep.new_gradients lockstep.new_tally rank_checks.check_ranks
        rank_checks.splits_by distributed.process_group""",
    "it starts, ends or is a child process, or locks a folder for this one": """child_process.end_child
        child_process.start_child limited_child.serve shard_files.lock_folder shard_files.write_shard""",
    "it downloads, or takes one truth value, or tqdm's own options": "prefetch.fetch doctor.report progress.tqdm_bar",
    "the module's own hand on a widget": "widgets.WithTwin",
}
EXEMPTED = Counter(name for names in EXEMPT.values() for name in names.split())
