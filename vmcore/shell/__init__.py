"""The parts of the trio shell: the engine thread, the event bus, serial streams, guest-time deadlines, facets."""
