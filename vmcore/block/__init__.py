"""Disks: back ends that hold sectors."""
