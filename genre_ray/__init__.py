"""genre_ray: from a folder of music to a genre classifier that answers over HTTP."""
