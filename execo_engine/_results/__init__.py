"""The results of an experiment: one line for each, files in a folder for each combination, and tables."""
