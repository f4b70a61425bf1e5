"""Cells of the latency benchmark: what is timed, and what its precision costs."""
