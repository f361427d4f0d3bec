"""More data than memory: one file of images, mapped."""

from dlhelpers.packed.packing import pack_dataset, pack_folder
from dlhelpers.packed.reader import PackedDataset, to_float
from dlhelpers.packed.verifying import verify
from dlhelpers.packed.writer import PackedWriter
