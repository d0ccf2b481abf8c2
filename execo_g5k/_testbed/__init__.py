"""Reservations of nodes for campaigns."""
