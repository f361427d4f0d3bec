"""Helpers of the course "Batches, Epochs, Memory": small modules, one idea each.

What a training loop needs
  devices    which device this machine has, and how a batch gets there
  memory     what data costs in bytes, what the machine can spare, and `run_limited`, a hard cap (limits, memory_trees)
  datasets   make samples: real scans, generated images, CIFAR-10, a folder of yours (folders, generated)
  loaders    count samples and batches, and warn of what will surprise
  history    what each epoch gave
  tally      add up an epoch so that each sample weighs the same
  loops      train_epoch, evaluate, and fit, the for-loop around them
  guards     refuse at the door what would fail later (losses, doors, whole_numbers)
  micro_batches, schedules, checkpoints: what a longer run needs
What tells you how to set it
  batch_sizes  find the largest, the fastest and the recommended batch size (peaks, rehearsal)
  speed      say whether the data or the model is slow; probes make workers visible
Data larger than memory
  shards     read, write, shuffle and verify (manifests, shard_writer, block_shuffle, verification, packing)
  streams    datasets without a length
  distributed  what `fit` needs under several processes (splits)
What a lesson shows and asks
  plots      show; step_plots and study_plots likewise; widgets do the same with sliders
  exercises  ask, check, hint
  start, doctor, prefetch, classroom: before, and around, a lesson

Nothing is imported here: name the module that you want to read next.
"""

__version__ = "0.1.0"
