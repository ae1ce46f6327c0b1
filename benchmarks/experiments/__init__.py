"""The long experiments: scripts, with what they gave in ``benchmarks/results``. They are not installed."""
