"""How a part is cut into batches, and a batch into the slices of data-parallel workers. Knows nothing about data."""

import itertools

import torch
from torch import Tensor


def even_batches(n: int, size: int) -> list[tuple[int, int]]:
    """Bounds of the fewest batches of at most `size` over `n` rows; they differ by at most one row.

    So no step rests on one or two leftover rows, on which batch normalisation would fail.
    """
    edges = torch.linspace(0, n, -(-n // size) + 1, dtype=torch.float64).round().to(torch.int64).tolist()
    return list(itertools.pairwise(edges))


def shard_rows(n: int, shard: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """The rows of a batch of `n` that worker `shard` = (rank, size) takes, and the weight of each.

    All workers take equally many, at least two (batch normalisation needs them); rows that fill up weigh 0, so that
    over all workers each row of the batch weighs 1.
    """
    rank, size = shard
    if size == 1:
        return torch.arange(n, device=device), torch.ones(n, device=device)
    length = max(2, -(-n // size))
    place = torch.arange(rank * length, (rank + 1) * length, device=device)
    return place % n, (place < n).float()
