"""Helpers of the course "Batches, Epochs, Memory". Nothing is imported here: pick a folder.

base      what everything may use: checks, sizes, tables, one progress bar
machine   what this machine has and may use: devices, memory, a function under a hard cap
data      samples: datasets, streams, counts, and who gets which sample in which order
show      pictures and tables that say in words what they show
train     the loop: start with train/loop.py
packed    more data than memory
measure   what training costs: batch sizes, speeds
explore   drawings with controls
course    around a lesson: tasks and their judges, records of progress, the doctor
"""

__version__ = "0.2.0"
