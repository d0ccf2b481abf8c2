"""Benchmarks of execo: against what the kernel allows, what others do, and execo 2.8.2.  See bench/README.md."""
