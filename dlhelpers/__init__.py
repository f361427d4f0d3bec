"""Helpers of the course "Batches, Epochs, Memory": small modules, one idea each.

devices    which device this machine has, and how a batch gets there
memory     what data costs in bytes, and what the machine can spare
datasets   make samples: real scans, generated images, CIFAR-10, a folder of yours
loaders    count samples and batches, and warn of what will surprise
history    what each epoch gave
tally      add up an epoch so that each sample weighs the same
loops      train_epoch, evaluate, and fit, the for-loop around them
guards     refuse at the door what would fail later
micro_batches, schedules, checkpoints: what a longer training run needs
batch_sizes  find the largest, the fastest and the recommended batch size (with peaks, rehearsal, study_plots)
probes     datasets that make workers visible
speed      say whether the data or the model is slow
plots      show; widgets do the same with sliders
exercises  ask, check, hint

Nothing is imported here: name the module that you want to read next.
"""

__version__ = "0.1.0"
