"""`python -m genre_ray.tune`."""

from genre_ray.tune.command import main

if __name__ == "__main__":
    raise SystemExit(main())
