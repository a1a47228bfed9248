"""Facts about GTZAN as package data; README.md names the sources."""
