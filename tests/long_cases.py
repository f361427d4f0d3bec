"""Which cases run: the quick ones, and with DLHELPERS_FULL=1 the long ones too, as `make test-full` asks."""

import os

import pytest

FULL = bool(os.environ.get("DLHELPERS_FULL"))
only_full = pytest.mark.skipif(not FULL, reason="takes long: only with DLHELPERS_FULL=1")
