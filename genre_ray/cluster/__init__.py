"""Cluster files (Ray's launcher, Kubernetes): strict validation before anything is started. Starts nothing itself."""

from genre_ray.cluster.validation import is_cluster_file, validate

__all__ = ["is_cluster_file", "validate"]
