"""Methods that distil a classifier without its data."""
