"""Chosen rows of shards in a chosen order, read by Ray Data. Knows nothing about why these rows, or training.

The tasks that read ask for no CPU: a trial waits for them while it holds its own, and where trials hold every CPU, a
reader that asked for one would never start, and both would wait for ever. They are as many as `_READERS` a stream,
and what they have read and nobody has taken yet is bounded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data import ExecutionOptions, ExecutionResources, TaskPoolStrategy

from genre_ray.data.execution import quiet
from genre_ray.data.reading import Rows, Span, ThreadReader, rows_of
from genre_ray.data.store import Store

_READERS = 2
_STORE_BYTES = 128 * 1024**2
"""Object store that one stream may fill."""

_BLOCK_BYTES = 16 * 1024**2
"""About a row group; Ray Data would gather 128 MB, of which reader and trial then hold several at a time."""

_SHARDS_A_BLOCK = 8
"""A task reads so many: what a task costs is then nothing beside what it reads."""


@dataclass(frozen=True, slots=True)
class DatasetReader:
    """Ray Data, in the order that was asked for; rows arrive by `iter_torch_batches`."""

    def read(self, store: Store, spans: Sequence[Span], columns: tuple[str, ...]) -> Iterator[Rows]:
        """See Reader. Where Ray is not up (a checkpoint is only scored, say), a thread reads the same."""
        if not ray.is_initialized():
            yield from ThreadReader().read(store, spans, columns)
            return
        blocks = [_block(spans[i : i + _SHARDS_A_BLOCK]) for i in range(0, len(spans), _SHARDS_A_BLOCK)]
        if not blocks:
            return
        dataset: Any = ray.data.from_blocks(blocks)  # from_arrow starts tasks that ask for a CPU
        context = dataset.context
        context.enable_progress_bars = context.print_on_execution_start = False
        context.target_max_block_size = _BLOCK_BYTES
        context.execution_options = ExecutionOptions(
            preserve_order=True, resource_limits=ExecutionResources(object_store_memory=_STORE_BYTES)
        )
        rows = dataset.map_batches(
            _read,
            fn_kwargs={"store": store, "columns": columns},
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
            num_cpus=0,
            compute=TaskPoolStrategy(size=_READERS),
        )
        with quiet():
            for batch in rows.iter_torch_batches(batch_size=None, prefetch_batches=1):
                yield {name: tensor.numpy() for name, tensor in batch.items()}


def _block(spans: Sequence[Span]) -> pa.Table:
    """Spans as rows, a row a track; which rows are of one span is told by the name of the shard."""
    return pa.table(
        {
            "shard": [span.shard for span in spans for _ in span.first],
            "first": [first for span in spans for first in span.first.tolist()],
            "rows": [rows for span in spans for rows in span.rows.tolist()],
            "number": [number for span in spans for number in span.number.tolist()],
        }
    )


def _read(block: pa.Table, *, store: Store, columns: tuple[str, ...]) -> Iterator[Rows]:
    names = block["shard"].to_pylist()
    edges = [i for i in range(len(names)) if i == 0 or names[i] != names[i - 1]] + [len(names)]
    for start, stop in pairwise(edges):
        part = block.slice(start, stop - start)
        numbers = {name: part[name].to_numpy() for name in ("first", "rows", "number")}
        yield from rows_of(store, Span(names[start], **numbers), columns)
