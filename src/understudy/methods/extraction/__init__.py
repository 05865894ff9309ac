"""Copying an encoder from its answers: an audit of how fast that goes, for owners."""
