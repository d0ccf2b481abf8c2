"""`python -m execo_g5k`: look at Grid'5000, reserve, and tidy up, from a shell."""
