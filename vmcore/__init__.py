"""vmcore: a PC that you can import."""
