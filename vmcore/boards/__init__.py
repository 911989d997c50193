"""Boards: which devices a machine has, and how they are wired.

`pc` is an ISA PC with ACPI; `none` is vCPUs and RAM alone.  A board is given `BoardServices` by the machine and
knows nothing else of it.
"""
