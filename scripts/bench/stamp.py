"""stamp.c for a machine without a C compiler: its start and end are those of the interpreter's main program."""

import os
import sys
import time

started = time.monotonic_ns()
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
time.sleep(float(sys.argv[2]))
os.write(file, f"{started} {time.monotonic_ns()}\n".encode())
os._exit(0)
