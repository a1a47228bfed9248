"""The console command `genre-ray`: one module a subcommand. Each parses, calls and prints, no more."""
