"""Buses: how devices are found, addressed and connected when they are not wired to fixed places."""
