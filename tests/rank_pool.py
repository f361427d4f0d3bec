"""Two processes that stay, joined by gloo, and run any function of a test as ranks."""

import faulthandler
import multiprocessing
import os
import socket
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
        self.world, self.timeout = world, timeout
        self.start()

    def start(self):
        context, port = multiprocessing.get_context("spawn"), free_port()
        pairs = [context.Pipe() for _ in range(self.world)]
        self.pipes = [pipe for pipe, _ in pairs]
        self.processes = [
            context.Process(target=_serve, args=(rank, self.world, port, pipe), daemon=True)
            for rank, (_, pipe) in enumerate(pairs)
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
        for process in self.processes:
            process.kill()
            process.join()


def _serve(rank, world, port, pipe):
    from dlhelpers.train import process_group

    faulthandler.enable()
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    with process_group(timeout=timedelta(seconds=30)) as ranks:
        while True:
            function, arguments = pipe.recv()
            try:
                pipe.send((True, function(ranks, *arguments)))
            except BaseException:
                pipe.send((False, traceback.format_exc()))
