"""Sleep states of a board: which SLP_TYP value means which."""

from __future__ import annotations

from vmcore.devices.acpi_pm import SleepState
from vmcore.firmware.platform import PlatformLayout

__all__ = ["sleep_types"]


def sleep_types(layout: PlatformLayout) -> dict[int, SleepState]:
    """What the ACPI registers do for each SLP_TYP value; the DSDT is made from the same numbers."""
    types = {layout.s5_sleep_type: SleepState.S5}
    if layout.s3_sleep_type is not None:
        types[layout.s3_sleep_type] = SleepState.S3
    if layout.s4_sleep_type is not None:
        types[layout.s4_sleep_type] = SleepState.S4
    return types
