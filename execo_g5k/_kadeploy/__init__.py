"""What `execo_g5k.kadeploy` is made of."""
