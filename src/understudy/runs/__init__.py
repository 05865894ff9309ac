"""The ground under every run: whole files, named random streams, phases, provenance, events and progress."""
