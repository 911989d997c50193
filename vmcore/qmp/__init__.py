"""QMP: the machine's management model on a wire.

`registry` says which commands there are, `commands` binds them to the virtual machine, `convert` checks and
converts values, `schema` derives introspection and documentation, `protocol` is the wire without any I/O, `server`
the trio server around it.
"""
