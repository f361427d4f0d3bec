"""What this machine has and may use: devices, memory, and a hard cap."""

from dlhelpers.base.sizes import bytes_of, human_bytes
from dlhelpers.machine.capped import run_limited
from dlhelpers.machine.devices import (
    autocast,
    cores,
    describe_machine,
    loader_options,
    move,
    pick_amp_dtype,
    pick_device,
    seed_everything,
    synchronize,
)
from dlhelpers.machine.memory import memory_budget, memory_use
