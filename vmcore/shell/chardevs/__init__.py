"""Character devices: bytes between the guest and something on the host."""
