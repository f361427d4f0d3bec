"""The training loop: `train_epoch`, `evaluate`, and `fit`, the for-loop around them.

Functions, no trainer object: what is not here, such as callbacks or logging, you write around them. Metrics are
functions of (outputs, targets) that give one value per sample, so that nobody averages over batches by mistake.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from dlhelpers.base.checks import check_whole
from dlhelpers.base.progress_bars import progress_bar
from dlhelpers.machine.devices import autocast, move
from dlhelpers.train.checkpoints import check_target, save_checkpoint
from dlhelpers.train.checks import CheckedLoss, LossFn, check_all, device_of
from dlhelpers.train.epoch_sums import Meter, Metric
from dlhelpers.train.history import EpochResult, History
from dlhelpers.train.micro_batching import micro_batches, part_of, split_batch
from dlhelpers.train.ranks import (
    agree,
    current,
    gradients_travel,
    in_step,
    own_samples,
    share_buffers,
    unwrap,
)
from dlhelpers.train.schedules import check_scheduler, told
from dlhelpers.train.seeds_and_workers import draw_for_workers, let_go, start_epoch


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Say for each sample whether its highest output is the target: outputs (n, K), targets (n,), result (n,).

    >>> accuracy(torch.tensor([[2., 1.], [0., 3.]]), torch.tensor([0, 0]))
    tensor([ True, False])
    """
    return outputs.argmax(dim=1) == targets


def train_epoch(
    model: nn.Module,
    loader: Iterable,
    loss_fn: LossFn,
    optimizer: Optimizer,
    *,
    metrics: Mapping[str, Metric] | None = None,
    max_norm: float | None = None,
    micro_batch_size: int | None = None,
    amp_dtype: torch.dtype | None = None,
    scaler: torch.amp.GradScaler | None = None,
    scheduler: Any = None,
    epoch: int = 1,
    history: History | None = None,
    bar: Any = None,
) -> EpochResult:
    """Take one optimizer step for each batch of the loader; return the mean loss and metrics over all samples.

    The loss is measured while the weights change, so it describes the epoch, not the model at its end.
    max_norm          longest gradient, over the optimizer's parameters, that is taken as it is; others are scaled to it
    micro_batch_size  most samples that are on the device at a time; the update stays that of the batch
    amp_dtype         float16 or bfloat16 for the forward pass; float16 also needs `scaler`, one for all epochs
    scheduler         moved on after each optimizer step
    history           gets the result, and also that of an epoch which is broken off
    Raises TypeError and ValueError for what could not train, FloatingPointError when the loss is no finite number.
    """
    if not isinstance(loss_fn, CheckedLoss):  # a direct call: what `fit` checks once
        loss_fn = check_all(model, {"train": loader}, loss_fn, metrics, optimizer)
    device, ranks = device_of(model), current()
    scaler = scaler or make_scaler(device, amp_dtype)
    scale = scaler.get_scale()
    meter = Meter("train", epoch, device, metrics or {}, history, bar)
    with meter, mode(model, training=True):
        for batch, weight in in_step(meter.batches(loader), ranks, model):
            optimizer.zero_grad()
            parts = micro_batches(batch, micro_batch_size)
            for number, (inputs, labels, share) in enumerate(parts, start=1):
                inputs, targets = move(inputs, device), move(labels, device)
                with gradients_travel(model, number == len(parts)):
                    with autocast(device, amp_dtype):
                        outputs = model(inputs)
                        loss = loss_fn(outputs, targets, labels)
                    part = share * weight()  # of the batch, and of what all ranks take together
                    scaler.scale(loss if part == 1 else loss * part).backward()
                if weight():
                    meter.add(loss, outputs, targets)
            if max_norm is not None:
                scaler.unscale_(optimizer)  # the true length of the gradient, before it is compared
                taken = [p for group in optimizer.param_groups for p in group["params"]]
                nn.utils.clip_grad_norm_(taken, max_norm)
            scaler.step(optimizer)
            scaler.update()
            before, scale = scale, scaler.get_scale()
            if scale < before:  # gradients overflowed in float16, and the scaler left the step out
                meter.result.skipped_steps += 1
                continue
            meter.result.optimizer_steps += 1
            if scheduler is not None:
                scheduler.step()
    return meter.result


def evaluate(
    model: nn.Module,
    loader: Iterable,
    loss_fn: LossFn,
    *,
    metrics: Mapping[str, Metric] | None = None,
    amp_dtype: torch.dtype | None = None,
    phase: str = "valid",
    epoch: int = 1,
    history: History | None = None,
    bar: Any = None,
) -> EpochResult:
    """Return the mean loss and metrics over all samples of the loader: the same numbers for every batch size.

    The model is in evaluation mode meanwhile, and afterwards as it was. Several ranks each measure their part, and a
    sample that a sampler has padded counts once. Raises as `train_epoch` does.
    """
    if not isinstance(loss_fn, CheckedLoss):  # a direct call: what `fit` checks once
        loss_fn = check_all(model, {phase: loader}, loss_fn, metrics)
    share_buffers(model)
    model, left, device = unwrap(model), own_samples(loader), device_of(model)
    meter = Meter(phase, epoch, device, metrics or {}, history, bar)
    with meter, mode(model, training=False):
        for batch in meter.batches(loader):
            inputs, labels = split_batch(batch)
            if left is not None:
                inputs, labels = part_of(inputs, slice(left)), labels[:left]
                left -= len(labels)
                if not len(labels):
                    continue
            with torch.inference_mode():
                inputs, targets = move(inputs, device), move(labels, device)
                with autocast(device, amp_dtype):
                    outputs = model(inputs)
                    loss = loss_fn(outputs, targets, labels)
                meter.add(loss, outputs, targets)
    return meter.result


def fit(
    model: nn.Module,
    train_loader: Iterable,
    loss_fn: LossFn,
    optimizer: Optimizer,
    *,
    epochs: int,
    valid_loader: Iterable | None = None,
    metrics: Mapping[str, Metric] | None = None,
    micro_batch_size: int | None = None,
    max_norm: float | None = None,
    amp_dtype: torch.dtype | None = None,
    scaler: torch.amp.GradScaler | None = None,
    scheduler: Any = None,
    scheduler_unit: str = "epoch",
    history: History | None = None,
    checkpoint: str | Path | None = None,
    seed: int | None = None,
    on_epoch_end: Callable[[EpochResult, EpochResult | None], bool | None] | None = None,
    progress: bool = True,
) -> History:
    """Train for `epochs` further epochs and return the history; an interrupt ends it politely, history in hand.

    A batch is (inputs, targets). The model gets the inputs as they are, a tuple or dict where there are several; the
    loss function gets (outputs, targets) and returns a mean, or one value per sample. Batches are moved to the model's
    device, the model is never moved.
    metrics         functions of (outputs, targets) that give one value per sample, by name
    scheduler       moved on after each "epoch" or each optimizer "step", as `scheduler_unit` says
    history         one from before is continued, its epochs numbered on, and survives any exception
    checkpoint      a file to write after each epoch; load_checkpoint reads it
    seed            seed + epoch is set before each epoch, so that its order does not depend on the ones before
    on_epoch_end    called with the results of training and validation; return True to stop
    micro_batch_size, max_norm, amp_dtype, scaler: see `train_epoch`.
    Under torchrun each rank calls it alike, with a wrapped model and loaders that split; see `ranks`.
    Raises ValueError or TypeError before the first batch, FloatingPointError when the loss is no finite number.
    """
    check_whole("epochs", epochs, 1)
    if micro_batch_size is not None:
        check_whole("micro_batch_size", micro_batch_size, 1)
    loaders = {"train": train_loader}
    if valid_loader is not None:  # an iterable need not have a length, and so no truth
        loaders["valid"] = valid_loader
    loss_fn = check_all(model, loaders, loss_fn, metrics, optimizer)
    history = History() if history is None else history
    ranks, finished = current(), history.epochs
    facts = {
        "epochs": epochs,
        "finished epochs": finished,
        "seed": seed,
        "phases": list(loaders),
        "learning rates": str([group["lr"] for group in optimizer.param_groups]),
        "steps of the scheduler": told(scheduler),
    }
    batches = agree(ranks, model, loaders, facts)
    check_scheduler(scheduler, scheduler_unit, epochs, batches)
    if checkpoint is not None and ranks.first:
        check_target(checkpoint)
    scaler = scaler or make_scaler(device_of(model), amp_dtype)
    plateau = isinstance(scheduler, ReduceLROnPlateau)  # it asks how well the epoch went
    history.stop_reason = None
    try:
        with progress_bar(loaders.values(), epochs, progress and ranks.first) as bar:
            shared = {
                "metrics": metrics,
                "amp_dtype": amp_dtype,
                "history": history,
                "bar": bar,
            }
            for epoch in range(finished + 1, finished + 1 + epochs):
                start_epoch(epoch, seed, train_loader, ranks.rank)
                trained = train_epoch(
                    model,
                    train_loader,
                    loss_fn,
                    optimizer,
                    max_norm=max_norm,
                    micro_batch_size=micro_batch_size,
                    scaler=scaler,
                    scheduler=scheduler if scheduler_unit == "step" else None,
                    epoch=epoch,
                    **shared,
                )
                if scheduler is not None and scheduler_unit == "epoch" and not plateau:
                    # Before validation: an interrupt there must not leave it an epoch behind.
                    scheduler.step()
                valid = None
                if valid_loader is not None:
                    draw_for_workers(valid_loader)
                    valid = evaluate(model, valid_loader, loss_fn, epoch=epoch, **shared)
                if plateau:
                    scheduler.step((valid or trained).loss)
                if checkpoint is not None and ranks.first:
                    save_checkpoint(
                        checkpoint,
                        model,
                        optimizer,
                        history=history,
                        scheduler=scheduler,
                        scaler=scaler,
                    )
                stop = on_epoch_end is not None and bool(on_epoch_end(trained, valid))
                if any(ranks.gather(stop)):
                    history.stop_reason = f"on_epoch_end returned True after epoch {epoch}"
                    break
    except KeyboardInterrupt:
        history.stop_reason = "interrupted"
        for loader in loaders.values():
            let_go(loader)  # the interrupt of a notebook or terminal has reached its workers too
    return history


def make_scaler(device: torch.device, amp_dtype: torch.dtype | None) -> torch.amp.GradScaler:
    """Return the scaler that keeps the small gradients of float16 from rounding to zero; for other types it is idle."""
    return torch.amp.GradScaler(device.type, enabled=amp_dtype is torch.float16)


@contextmanager
def mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Put the model into training or evaluation mode, and every part of it back into its own afterwards.

    BatchNorm layers that are frozen, in evaluation mode in a model that trains, stay so.
    """
    before, trained = [(part, part.training) for part in model.modules()], model.training
    try:
        model.train(training)
        for part, was_training in before:
            if training and trained and isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.train(was_training)
        yield
    finally:
        for part, was_training in before:
            part.training = was_training
