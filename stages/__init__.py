"""The DAG's stages: `python -m stages.<stage>` in the project's folder."""

import signal
import sys

# While Python still imports (runpy has not named the program yet), Ctrl-C ends it without a traceback.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
