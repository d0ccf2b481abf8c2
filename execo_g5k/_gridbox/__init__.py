"""Parts of `execo_g5k.gridbox`."""
