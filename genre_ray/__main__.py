"""`python -m genre_ray`, the same as the console command `genre-ray`."""

from genre_ray.cli.command import main

if __name__ == "__main__":
    raise SystemExit(main())
