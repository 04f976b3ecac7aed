"""raysft: raw sources to instruction-tuning data and tuned models, as one batch job on Ray."""

import logging

__version__ = "0.1.0"

# peft imports bitsandbytes, which warns in every process that an optional kernel for CPUs is not installed.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
