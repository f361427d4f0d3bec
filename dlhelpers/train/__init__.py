"""The training loop, and what a longer run needs."""

from dlhelpers.train.checkpoints import load_checkpoint, save_checkpoint
from dlhelpers.train.history import EpochResult, History
from dlhelpers.train.loop import accuracy, evaluate, fit, train_epoch
from dlhelpers.train.ranks import Ranks, process_group, rank_device, unwrap
