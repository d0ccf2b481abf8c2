"""The I/O thread and its mechanisms, one small file each; `execo.conductor` is the way in."""
