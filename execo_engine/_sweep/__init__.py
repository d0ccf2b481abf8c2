"""Sweeps: pure parts (combinations, codec, journal, state) and the edge to the file system (lease, store, legacy)."""
