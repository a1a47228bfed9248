"""Search with Ray Tune and Optuna: `python -m genre_ray.tune`."""
