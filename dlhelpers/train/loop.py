"""The training loop: `train_epoch`, `evaluate`, and `fit`, the for-loop around them.

Functions, no trainer object: what is not here, as callbacks or logging, you write around them. Metrics are functions
of (outputs, targets) that give one value a sample, so that averages cannot be taken over batches by mistake.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dlhelpers.base.bars import progress_bar
from dlhelpers.machine.devices import Device, autocast
from dlhelpers.train.batches import AutoSize, Size, place_batch, zero_grad
from dlhelpers.train.checkpoints import check_target, save_checkpoint
from dlhelpers.train.checks import (
    check_epochs,
    check_loader,
    check_model,
    check_optimizer,
    check_parts,
)
from dlhelpers.train.epochs import draw_for_workers, start_epoch
from dlhelpers.train.history import EpochResult, History
from dlhelpers.train.interruption import interruption, on_any_rank
from dlhelpers.train.lockstep import new_gradients, new_tally
from dlhelpers.train.losses import LossFn, batch_loss, check_first_batch, check_loss_fn
from dlhelpers.train.meter import Metric
from dlhelpers.train.ranks import agree, current, on_first_rank
from dlhelpers.train.schedules import asks_loss, check_scheduler


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
    device: Device | None = None,
    metrics: Mapping[str, Metric] | None = None,
    max_norm: float | None = None,
    micro_batch_size: Size = None,
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
    micro_batch_size  most samples that are on the device at a time, or "auto"; the update stays that of the batch
    amp_dtype         float16 or bfloat16 for the forward pass; float16 also needs `scaler`, one for all epochs
    scheduler         moved on after each optimizer step
    history           gets the result, and also that of an epoch which is broken off
    Raises what the guards find, and FloatingPointError when the loss is no finite number.
    """
    device = check_model(model, device)
    loss_fn = check_loss_fn(loss_fn)
    check_loader(loader, "train", model)
    check_parts(
        optimizer=optimizer,
        scheduler=scheduler,
        scaler=scaler,
        max_norm=max_norm,
        metrics=metrics,
        amp_dtype=amp_dtype,
        epoch=epoch,
        history=history,
        bar=bar,
    )
    check_optimizer(optimizer, model)
    scaler = scaler or make_scaler(device, amp_dtype)
    gradients = new_gradients(model, loss_fn, device, micro_batch_size, amp_dtype, scaler)
    with (
        new_tally("train", epoch, device, metrics, history, bar) as tally,
        mode(model, training=True),
    ):
        for batch in tally.batches(loader):
            zero_grad(optimizer)
            loss, outputs, targets = gradients(batch)  # forward, loss, backward
            if max_norm is not None:
                scaler.unscale_(optimizer)  # the true length of the gradient, before it is compared
                nn.utils.clip_grad_norm_(
                    [p for group in optimizer.param_groups for p in group["params"]], max_norm
                )
            taken = take_step(optimizer, scaler)
            tally.optimizer_steps += taken
            tally.skipped_steps += not taken
            tally.micro_batches = gradients.micro_batches
            if scheduler is not None and taken:
                scheduler.step()
            tally.add(loss, outputs, targets)
    return tally.result


def evaluate(
    model: nn.Module,
    loader: Iterable,
    loss_fn: LossFn,
    *,
    device: Device | None = None,
    metrics: Mapping[str, Metric] | None = None,
    amp_dtype: torch.dtype | None = None,
    phase: str = "valid",
    epoch: int = 1,
    history: History | None = None,
    bar: Any = None,
) -> EpochResult:
    """Return the mean loss and metrics over all samples of the loader: the same numbers for every batch size.

    The model is in evaluation mode meanwhile, and afterwards as it was. Raises as `train_epoch` does.
    """
    device = check_model(model, device)
    loss_fn = check_loss_fn(loss_fn)
    check_loader(loader, phase, model)
    check_parts(metrics=metrics, amp_dtype=amp_dtype, epoch=epoch, history=history, bar=bar)
    with (
        new_tally(phase, epoch, device, metrics, history, bar) as tally,
        mode(model, training=False),
    ):
        for batch in tally.batches(loader):
            inputs, targets, labels = place_batch(batch, device)
            with torch.inference_mode():
                with autocast(device, amp_dtype):
                    outputs = model(inputs)
                    if not tally.batches_seen:
                        check_first_batch(loss_fn, outputs, targets)
                    loss = batch_loss(loss_fn, outputs, targets, labels)
                tally.add(loss, outputs, targets)
    return tally.result


def fit(
    model: nn.Module,
    train_loader: Iterable,
    loss_fn: LossFn,
    optimizer: Optimizer,
    *,
    epochs: int,
    valid_loader: Iterable | None = None,
    device: Device | None = None,
    metrics: Mapping[str, Metric] | None = None,
    micro_batch_size: Size = None,
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

    device          where the model is, unless you ask; it is never moved behind your back
    metrics         functions of (outputs, targets) that give one value a sample, by name
    scheduler       moved on after each "epoch" or each optimizer "step", as `scheduler_unit` says
    history         one from before is continued, its epochs numbered on, and survives any exception
    checkpoint      a file to write after each epoch; checkpoints.load_checkpoint reads it
    seed            seed + epoch is set before each epoch, so that its order does not depend on the ones before
    on_epoch_end    called with the results of training and validation; return True to stop
    micro_batch_size, max_norm, amp_dtype, scaler: see `train_epoch`.
    Under torchrun each rank calls it alike; see `distributed` for what model and samplers then need to be.
    Raises ValueError or TypeError at the door, FloatingPointError when the loss is no finite number.
    """
    check_epochs(epochs)
    place = check_model(model, device)
    check_parts(
        optimizer=optimizer,
        scheduler=scheduler,
        history=history,
        seed=seed,
        checkpoint=checkpoint,
        on_epoch_end=on_epoch_end,
    )
    history = History() if history is None else history
    rates = [str(group.get("lr")) for group in optimizer.param_groups]
    agree(
        epochs=epochs,
        seed=seed,
        finished_epochs=history.epochs,
        validation=valid_loader is not None,
        checkpoint=checkpoint is not None,
        learning_rates=rates,
    )
    history.stop_reason = None
    loaders = [train_loader] if valid_loader is None else [train_loader, valid_loader]
    scaler = scaler or make_scaler(place, amp_dtype)
    for loader, phase in zip(loaders, ("train", "valid"), strict=False):
        check_loader(loader, phase, model)
    check_scheduler(scheduler, scheduler_unit, epochs, train_loader)
    if checkpoint is not None:
        on_first_rank(check_target, checkpoint)
    micro_batch_size = (
        AutoSize() if str(micro_batch_size) == "auto" else micro_batch_size
    )  # found once for all epochs
    shared = {"device": device, "metrics": metrics, "amp_dtype": amp_dtype, "history": history}
    try:
        with (
            progress_bar(
                loaders, epochs, progress and (current() is None or current().first)
            ) as shared["bar"],
            interruption,
        ):
            for epoch in range(history.epochs + 1, history.epochs + 1 + epochs):
                start_epoch(epoch, seed, train_loader)
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
                if scheduler is not None and scheduler_unit == "epoch" and not asks_loss(scheduler):
                    scheduler.step()  # before validation: an interrupt there must not leave it an epoch behind
                valid = None
                if valid_loader is not None:  # its truth would ask for a length
                    draw_for_workers(valid_loader)
                    valid = evaluate(model, valid_loader, loss_fn, epoch=epoch, **shared)
                if asks_loss(scheduler):
                    scheduler.step((valid or trained).loss)
                if checkpoint is not None:
                    on_first_rank(
                        save_checkpoint,
                        checkpoint,
                        model,
                        optimizer,
                        history=history,
                        scheduler=scheduler,
                        scaler=scaler,
                    )
                if on_any_rank(on_epoch_end, trained, valid):
                    history.stop_reason = f"on_epoch_end returned True after epoch {epoch}"
                    break
    except KeyboardInterrupt:
        history.stop_reason = "interrupted"
    return history


def make_scaler(device: torch.device, amp_dtype: torch.dtype | None) -> torch.amp.GradScaler:
    """Return the scaler that keeps the small gradients of float16 from rounding to zero; for other types it is idle."""
    return torch.amp.GradScaler(device.type, enabled=amp_dtype is torch.float16)


def take_step(optimizer: Optimizer, scaler: torch.amp.GradScaler) -> bool:
    """Take one optimizer step; False where gradients overflowed in float16 and the scaler left the step out."""
    if not scaler.is_enabled():
        optimizer.step()
        return True
    before = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    return scaler.get_scale() >= before  # a scale that falls tells of an overflow


@contextmanager
def mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Put the model into training or evaluation mode, and every part of it back into its own afterwards."""
    before = [(part, part.training) for part in model.modules()]
    try:
        model.train(training)
        yield
    finally:
        for part, was_training in before:
            part.training = was_training
