"""What `execo_g5k.oar` is made of."""
