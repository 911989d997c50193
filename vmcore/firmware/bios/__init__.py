"""The built-in BIOS: its assembly source, the bytes of it, and how a machine gets it configured."""
