"""The network of Grid'5000 as a graph."""
