"""Device models, each written to its data sheet.  A module is one chip or one port."""
