"""The testbeds, one file each."""
