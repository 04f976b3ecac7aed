"""raysft: raw sources to instruction-tuning data and tuned models, as one batch job on Ray."""

__version__ = "0.1.0"
