"""The guest that `python -m vmcore` runs when it is given none: a small program on a disk of its own."""

from vmcore.demo.guest import KEY_PROMPT, assemble, boot_image, disk

__all__ = ["KEY_PROMPT", "assemble", "boot_image", "disk"]
