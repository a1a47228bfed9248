"""From a folder of music to tracks, splits and prepared clips; and the embedded corpus."""
