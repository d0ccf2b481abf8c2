"""The parts of `execo.localcluster`."""
