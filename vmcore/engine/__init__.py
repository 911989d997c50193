"""The CPU engine: native core, its Python face, assembling and disassembling."""
