"""When resources are free, and what to ask OAR for."""
