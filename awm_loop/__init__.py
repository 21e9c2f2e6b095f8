"""AWM, the Autonomous Work Manager. Read `awm_loop/core/machine.py` first; importing the package costs nothing."""

__version__ = "0.1.0"
