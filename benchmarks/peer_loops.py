"""The training loops of others, each as its own documentation shows it, with bars, loggers and checkpoints off.

Each function prepares all that can be prepared, and returns what trains: only that is timed. Nothing is imported before
it is asked for. Where a peer keeps weights of its own, what it returns gives them back.
"""

import logging
import os
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.utils.data import DataLoader

Training = Callable[[], object]  # a list of tensors where the weights are not in the model
Prepare = Callable[[nn.Module, DataLoader, Optimizer, int], Training]
LOSS_FN = nn.CrossEntropyLoss()
RATE = 0.1


def by_accelerate(
    model: nn.Module, loader: DataLoader, optimizer: Optimizer, epochs: int
) -> Training:
    """The user's own loop over what accelerate has prepared."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)

    def train() -> None:
        for _ in range(epochs):
            for inputs, targets in loader:
                optimizer.zero_grad()
                accelerator.backward(LOSS_FN(model(inputs), targets))
                optimizer.step()

    return train


def by_ignite(model: nn.Module, loader: DataLoader, optimizer: Optimizer, epochs: int) -> Training:
    """The engine that ignite makes for supervised training."""
    from ignite.engine import create_supervised_trainer

    return partial(
        create_supervised_trainer(model, optimizer, LOSS_FN).run, loader, max_epochs=epochs
    )


def by_skorch(model: nn.Module, loader: DataLoader, optimizer: Optimizer, epochs: int) -> Training:
    """A NeuralNet with its usual callbacks, silent, taking the same DataLoader instead of making one."""
    from skorch import NeuralNet

    net = NeuralNet(
        model,
        nn.CrossEntropyLoss,
        optimizer=SGD,
        lr=RATE,
        max_epochs=epochs,
        train_split=None,
        verbose=0,
        iterator_train=lambda dataset, **_: loader,
    ).initialize()
    return partial(net.partial_fit, loader.dataset)


def lightning_parts(
    model: nn.Module, optimizer: Optimizer, **settings: object
) -> tuple[object, object]:
    """Return a LightningModule of two methods, and a Trainer without bar, logger, summary and checkpoints."""
    import lightning

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
            return LOSS_FN(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> Optimizer:
            return optimizer

    off = dict.fromkeys(
        ("enable_progress_bar", "logger", "enable_model_summary", "enable_checkpointing"), False
    )
    return Module(), lightning.Trainer(accelerator="cpu", **off, **settings)


def by_lightning(
    model: nn.Module, loader: DataLoader, optimizer: Optimizer, epochs: int
) -> Training:
    """Lightning's Trainer."""
    module, trainer = lightning_parts(model, optimizer, max_epochs=epochs)
    return partial(trainer.fit, module, loader)


def by_fastai(model: nn.Module, loader: DataLoader, optimizer: Optimizer, epochs: int) -> Training:
    """A Learner without bar, and without the validation that its loop has built in."""
    from fastai.callback.core import Callback, CancelValidException
    from fastai.callback.progress import ProgressCallback
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper

    class NoValidation(Callback):
        def before_validate(self) -> None:
            raise CancelValidException

    learner = Learner(
        DataLoaders(loader, loader, device="cpu"),
        model,
        loss_func=LOSS_FN,
        opt_func=partial(OptimWrapper, opt=SGD),
        lr=RATE,
        cbs=NoValidation(),
    )
    learner.remove_cbs(learner.cbs.filter(lambda callback: isinstance(callback, ProgressCallback)))
    learner.logger = lambda text: None
    return partial(learner.fit, epochs)


def by_keras(model: nn.Module, loader: DataLoader, optimizer: Optimizer, epochs: int) -> Training:
    """The same network of Keras layers, which hold their weights the other way round."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    first, _, last = model
    inputs = keras.layers.Input((first.in_features,))
    layers = (
        keras.layers.Dense(first.out_features, activation="relu"),
        keras.layers.Dense(last.out_features),
    )
    network = keras.Sequential([inputs, *layers])
    for own, layer in zip((first, last), layers, strict=True):
        layer.set_weights([own.weight.detach().numpy().T, own.bias.detach().numpy()])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(optimizer=keras.optimizers.SGD(RATE), loss=loss)

    def train() -> list[Tensor]:
        network.fit(loader, epochs=epochs, shuffle=False, verbose=0)
        return [value for layer in layers for value in (layer.kernel.value.T, layer.bias.value)]

    return train


PEERS: dict[str, Prepare] = {
    "accelerate": by_accelerate,
    "pytorch-ignite": by_ignite,
    "skorch": by_skorch,
    "lightning": by_lightning,
    "fastai": by_fastai,
    "keras": by_keras,
}
