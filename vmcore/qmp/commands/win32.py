"""Sockets that clients hand over on Windows, where descriptors cannot be sent."""

from __future__ import annotations

import base64
import binascii
import os
import socket
import sys
from typing import TYPE_CHECKING

from vmcore.model.errors import CommandError
from vmcore.qmp.registry import command

if TYPE_CHECKING:
    from vmcore.qmp.server import Monitor
    from vmcore.vm import VirtualMachine


@command("get-win32-socket", only_on="nt", since="8.0")
async def get_win32_socket(vm: VirtualMachine, *, info: str, fdname: str, monitor: Monitor) -> None:
    """Give a name to a socket that the client duplicated for this process.  One that had the name is closed.

    info: what WSADuplicateSocketW gave the client, in base64; fdname: the name, as for getfd.
    """
    try:
        shared = base64.b64decode(info, validate=True)
    except binascii.Error as error:
        raise CommandError("GenericError", f"Parameter 'info' is not base64: {error}") from None
    if sys.platform == "win32":
        import msvcrt

        received = socket.fromshare(shared)
        descriptor = msvcrt.open_osfhandle(received.detach(), os.O_RDWR)
        if fdname in monitor.named:
            os.close(monitor.named[fdname])
        monitor.named[fdname] = descriptor
    else:
        raise CommandError("GenericError", f"{len(shared)} bytes: sockets are handed over on Windows only")
