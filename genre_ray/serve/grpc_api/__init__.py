"""The service over gRPC. `genre.proto` is for clients; the service builds its messages without generated code."""
