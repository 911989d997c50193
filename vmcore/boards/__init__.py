"""Boards: which devices a machine has, and how they are wired.

`pc` is a PC with a 440FX and a PIIX, `q35` one with a Q35 and an ICH9; `none` is vCPUs and RAM alone.  A board is given
`BoardServices` by the machine and knows nothing else of it.
"""
