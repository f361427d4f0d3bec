"""Two processes that stay, joined by gloo, and run any function of a test as ranks."""

import faulthandler
import multiprocessing
import os
import socket
import sys
import traceback
from datetime import timedelta

import torch


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class RankPool:
    """Runs functions on `world` processes; each gets its Ranks first. A rank that hangs is ended after `timeout`."""

    def __init__(self, world=2, timeout=120):
        forks = sys.platform == "linux" and not torch.cuda.is_available()  # else each imports anew
        context, port = multiprocessing.get_context("fork" if forks else "spawn"), free_port()
        self.pipes, theirs = zip(*(context.Pipe() for _ in range(world)), strict=True)
        self.timeout = timeout
        self.processes = [
            context.Process(target=_serve, args=(rank, world, port, pipe, self.pipes), daemon=True)
            for rank, pipe in enumerate(theirs)
        ]
        for process in self.processes:
            process.start()

    def run(self, function, *arguments):
        """Return what the function returns on each rank; an error there is raised here."""
        for pipe in self.pipes:
            pipe.send((function, arguments))
        answers = []
        for rank, pipe in enumerate(self.pipes):
            if not pipe.poll(self.timeout):
                raise TimeoutError(
                    f"rank {rank} did not answer in {function.__name__}: do ranks wait for each other?"
                )
            answers.append(pipe.recv())
        for good, answer in answers:
            if not good:
                raise AssertionError(f"a rank failed:\n{answer}")
        return [answer for _, answer in answers]

    def close(self):
        """Let the ranks leave their group, and end those that do not; return the exit codes."""
        for pipe in self.pipes:
            pipe.send(None)
        for process in self.processes:
            process.join(self.timeout)
            process.kill()
        return [process.exitcode for process in self.processes]


def _serve(rank, world, port, pipe, others):
    from dlhelpers.train import process_group

    faulthandler.enable()
    for end in others:  # of a test that is gone, its pipes tell
        end.close()
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    with process_group(timeout=timedelta(seconds=30)) as ranks:
        while request := pipe.recv():
            function, arguments = request
            try:
                pipe.send((True, function(ranks, *arguments)))
            except BaseException:
                pipe.send((False, traceback.format_exc()))
