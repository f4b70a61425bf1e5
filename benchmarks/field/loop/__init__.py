"""What the benchmarks of the loop share."""
