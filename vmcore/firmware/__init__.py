"""What stands between the machine and its guest at power-on: loaders, ACPI tables, the built-in BIOS."""
