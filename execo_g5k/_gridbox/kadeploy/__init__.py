"""Kadeploy3 of the box: environments, deployments that give nodes another root, consoles, and their commands."""
