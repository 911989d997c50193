"""Character devices, as far as they need no event loop."""
