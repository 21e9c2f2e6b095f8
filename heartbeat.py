#!/usr/bin/env python3
"""What cron calls: one beat of the work loop (SPEC 6), under any Python >= 3.11."""

import gc
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent
sys.path.insert(0, str(CHECKOUT))
gc.disable()  # a beat is over before there is anything to collect, and looking for it took a tenth of the beat

from awm_loop.cli.inherited import set_right  # noqa: E402
from awm_loop.errors import AwmError  # noqa: E402
from awm_loop.venv import ensure_dependencies  # noqa: E402

set_right()
try:
    ensure_dependencies(CHECKOUT)
except AwmError as error:
    sys.exit(error.show())

from awm_loop.cli.heartbeat import leave, main  # noqa: E402

leave(main(sys.argv[1:], CHECKOUT))
