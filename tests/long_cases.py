"""Which cases run: the quick ones, and with DLHELPERS_FULL=1 the long ones too, as `make test-full` asks."""

import os
import sys

import pytest

FULL = bool(os.environ.get("DLHELPERS_FULL"))
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="forks and caps as Linux does")
only_full = pytest.mark.skipif(not FULL, reason="takes long: only with DLHELPERS_FULL=1")
