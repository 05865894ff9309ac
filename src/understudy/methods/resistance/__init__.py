"""Teachers whose answers are of little use to whoever copies them."""
