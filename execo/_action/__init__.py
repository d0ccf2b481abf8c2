"""Groups of processes as objects: `execo.action` is the public face."""
