"""The methods: one file each, found by name through `understudy.catalogue`."""
