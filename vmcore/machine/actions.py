"""What the machine does about what the guest does: reboots, shutdowns, panics, expired watchdogs.

Set when the machine is built and changed at any time (`set-action` of the management model).  They are the user's,
not the guest's: no reset and no snapshot touches them.
"""

from __future__ import annotations

from attrs import frozen

from vmcore.model.run_state import PanicAction, RebootAction, ShutdownAction, WatchdogAction

__all__ = ["Actions"]


@frozen(kw_only=True)
class Actions:
    """One action for each occasion.

    reboot: a reset that the guest asks for; shutdown: a shutdown, whoever asks for it but `quit` and signals;
    panic: a panic that the guest reports; watchdog: a watchdog that expires.
    """

    reboot: RebootAction = RebootAction.RESET
    shutdown: ShutdownAction = ShutdownAction.POWEROFF
    panic: PanicAction = PanicAction.SHUTDOWN
    watchdog: WatchdogAction = WatchdogAction.RESET
