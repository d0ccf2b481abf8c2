"""`python -m execo_engine`: commands for the directories of campaigns and sweeps."""
