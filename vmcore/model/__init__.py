"""The vocabulary: errors, run states, events, exits, units.  Pure data; imports nothing of vmcore above this floor."""
