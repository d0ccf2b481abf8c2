"""Processes as objects: `execo.process` is the public face."""
