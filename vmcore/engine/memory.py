"""Guest-physical memory and I/O ports of one machine."""

from __future__ import annotations

from vmcore.engine._native import PhysicalMemory

__all__ = ["PAGE_SIZE", "PhysicalMemory"]

PAGE_SIZE = 4096
"""Bytes of a page: the unit of `map_ram` and of dirty tracking."""
