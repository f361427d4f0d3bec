"""An interrupt as a notebook's kernel or Ctrl-C sends it, to a process and its workers, in each phase of `fit`."""

import json
import multiprocessing
import os
import signal
import sys
import time

import pytest
from long_cases import FULL

import dlhelpers.train  # noqa: F401  (imported here once, not in each child)

SCRIPT = '''
import json, os, sys, time
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from dlhelpers.train import History, fit, load_checkpoint, save_checkpoint

phase, workers, persistent, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True", sys.argv[4]
here = os.getpid()
armed = True

def wait(name):
    """Say that the phase is reached, and wait there for the interrupt."""
    if armed and phase == name:
        print("here", flush=True)
        time.sleep(60)

class Samples(Dataset):
    def __len__(self):
        return 40
    def __getitem__(self, index):
        return torch.randn(5), index % 2

class Loader(DataLoader):
    def __iter__(self):
        wait("first batch" if self is train else "")
        return super().__iter__()

class Model(nn.Linear):
    def forward(self, inputs):
        wait("training" if self.training else "validation")
        return super().forward(inputs)

options = {"num_workers": workers, "persistent_workers": persistent}
train, valid = Loader(Samples(), 8, shuffle=True, **options), Loader(Samples(), 8, **options)
model = Model(5, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
state_dict = optimizer.state_dict

def slow_state():
    wait("checkpoint")
    return state_dict()

optimizer.state_dict = slow_state
history, path = History(), os.path.join(folder, "run.pt")
settings = {"valid_loader": valid, "checkpoint": path, "history": history, "progress": False}
settings["on_epoch_end"] = lambda *results: wait("on_epoch_end")
fit(model, train, nn.CrossEntropyLoss(), optimizer, epochs=3, **settings)
said = {"interrupted": history.interrupted, "epochs": history.epochs}
said["broken off"] = [r.phase for r in history if not r.complete]
time.sleep(0.5)
children = f"/proc/{here}/task/{here}/children"
said["children"] = open(children).read().split()
armed = False
fit(model, train, nn.CrossEntropyLoss(), optimizer, epochs=2, **settings)
said["then"] = [history.interrupted, [r.epoch for r in history if r.complete and r.phase == "train"]]
said["saved"] = load_checkpoint(path, model, optimizer).epochs
print(json.dumps(said), flush=True)
'''
PHASES = ["first batch", "training", "validation", "checkpoint", "on_epoch_end"]
KINDS = [(0, False), (2, False), (2, True)]
CASES = [(phase, *KINDS[k % 3]) for k, phase in enumerate(PHASES)]
if FULL:
    CASES = [(phase, *kind) for phase in PHASES for kind in KINDS]


def run(write, errors, arguments):
    """Run the script in this forked process, which has imported torch already, with a session of its own."""
    os.setsid()
    os.dup2(write, 1)
    os.dup2(os.open(errors, os.O_CREAT | os.O_WRONLY), 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
    sys.argv = ["script.py", *map(str, arguments)]
    exec(SCRIPT, {"__name__": "__main__"})


@pytest.mark.skipif(sys.platform != "linux", reason="its children are read from /proc")
@pytest.mark.parametrize("phase, workers, persistent", CASES)
def test_an_interrupt_leaves_history_workers_and_loader_usable(
    tmp_path, phase, workers, persistent
):
    errors, (read, write) = tmp_path / "errors", os.pipe()
    arguments = phase, workers, persistent, tmp_path
    child = multiprocessing.get_context("fork").Process(target=run, args=(write, errors, arguments))
    child.start()
    os.close(write)
    with open(read) as out:
        try:
            assert out.readline() == "here\n", errors.read_text()
            time.sleep(0.2)
            os.killpg(child.pid, signal.SIGINT)  # the workers get it too
            told = out.read()
        finally:
            child.kill()
            child.join()
    error = errors.read_text()
    assert told, error
    said = json.loads(told)
    whole = phase in ("validation", "checkpoint", "on_epoch_end")  # epoch 1 of training
    assert said["interrupted"] and said["epochs"] == whole
    assert said["broken off"] == {
        "first batch": ["train"],
        "training": ["train"],
        "validation": ["valid"],
    }.get(phase, [])
    assert said["children"] == [] and "Traceback" not in error.replace("KeyboardInterrupt", "")
    last = 2 + whole
    assert said["then"] == [False, list(range(1, last + 1))] and said["saved"] == last
