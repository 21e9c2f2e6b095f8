#!/usr/bin/env python3
"""What cron calls: one beat of the work loop (SPEC 6), under any Python >= 3.11."""

import os
import sys

CHECKOUT = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120  an import of pathlib, for a beat with nothing to do
sys.path.insert(0, CHECKOUT)

from awm_loop.idle import leave_if_idle  # noqa: E402

leave_if_idle(sys.argv[1:], CHECKOUT)

import gc  # noqa: E402

gc.disable()  # a beat is over before there is anything to collect, and looking for it took a tenth of the beat

from pathlib import Path  # noqa: E402

from awm_loop.cli.inherited import set_right  # noqa: E402
from awm_loop.errors import AwmError  # noqa: E402
from awm_loop.venv import ensure_dependencies  # noqa: E402

set_right()
try:
    ensure_dependencies(Path(CHECKOUT))
except AwmError as error:
    sys.exit(error.show())

from awm_loop.cli.heartbeat import leave, main  # noqa: E402

leave(main(sys.argv[1:], Path(CHECKOUT)))
