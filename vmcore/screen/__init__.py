"""What a display adapter shows: pictures as data, and their pixels and characters."""
