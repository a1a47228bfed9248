"""When a collection is streamed instead of held in memory, and how. Knows nothing about how it is done."""

from typing import Literal

from pydantic import Field

from genre_ray.config import Config


class StreamingConfig(Config):
    """Whether clips come as a stream from the prepared shards, so that no machine holds the collection."""

    mode: Literal["auto", "always", "never"] = "auto"
    """`auto`: a collection whose clips take more than `above_mb` in memory is streamed, a smaller one is held."""

    above_mb: int = Field(2048, ge=1)
    """Where `auto` turns, in MB; the driver, the object store and each trial hold such a collection once."""

    reader: Literal["ray", "arrow"] = "ray"
    """`ray`: Ray Data reads ahead in processes of its own (`iter_torch_batches`). `arrow`: a thread of the trial reads.
    Both give the same clips in the same order."""

    buffer_mb: int = Field(256, ge=1)
    """Clips that each training process holds to shuffle among; the shards themselves come in random order."""

    vectors_mb: int = Field(512, ge=1)
    """Features and descriptors of a part are gathered up to this size for models that look at nothing else; a support
    vector machine or boosting needs them all, others are streamed beyond it."""
