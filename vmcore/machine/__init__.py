"""The machine: everything composed into one synchronous object that runs a guest and says why it stopped."""
