"""The connection to Ray: a cluster that exists, or one started here and shut down again.

Knows nothing about what is run on it.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray

import genre_ray
from genre_ray.errors import RunError

logger = logging.getLogger(__name__)

_ATTEMPTS = 3


def check_address(address: str | None) -> None:
    """RunError for Ray's client, which can neither run Tune nor carry our files."""
    if address is not None and address.startswith("ray://"):
        raise RunError(
            f"{address} is Ray's client, through which neither Tune nor Data can be driven from here",
            expected="auto or host:6379, on a machine of the cluster",
            remedy="submit it as a job: ray job submit --address http://head:8265 --working-dir . -- "
            "python -m genre_ray.tune --address auto ...",
        )


@contextmanager
def connect(address: str | None = None, *, num_cpus: int | None = None, num_gpus: int | None = None) -> Iterator[None]:
    """Be connected to Ray inside the block.

    With `address` (`auto` or `host:port`) that cluster is used, and this package is sent to its workers. Without, a
    cluster of this machine alone is started, and stopped at the end. A connection that is already there is used as it
    is and left open. RunError when the address does not answer, or Ray does not start.
    """
    if ray.is_initialized():
        yield
        return
    if address is None:
        _start_here(num_cpus, num_gpus)
    else:
        _join(address)
    try:
        yield
    finally:
        ray.shutdown()


def _start_here(num_cpus: int | None, num_gpus: int | None) -> None:
    """Start Ray on this machine; again when it fails, since on a busy machine its processes can miss Ray's 30 s."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            # "local" and not None: RAY_ADDRESS in the environment must not decide where an explicit local run goes.
            ray.init(
                address="local",
                num_cpus=num_cpus,
                num_gpus=num_gpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.WARNING,
                configure_logging=False,
            )
        except Exception as error:  # Ray raises plain Exception, RuntimeError and its own, as the step was that failed
            ray.shutdown()
            if attempt == _ATTEMPTS:
                raise RunError(
                    "Ray does not start on this machine",
                    found=str(error).splitlines()[0] if str(error) else type(error).__name__,
                    remedy="free memory or processors and try again; `genre-ray doctor` says what else may be missing",
                ) from error
            logger.warning("Ray did not start (%s); trying again", error)
        else:
            return


def _join(address: str) -> None:
    check_address(address)
    package = Path(genre_ray.__file__).parent
    try:
        ray.init(
            address=address,
            runtime_env={"py_modules": [str(package)]},
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise RunError(
            f"no Ray cluster answers at {address}",
            found=str(error).splitlines()[0] if str(error) else type(error).__name__,
            expected="auto or host:6379, on a machine of the cluster",
            remedy="start one with `ray up cluster/aws.yaml`, or leave --address out to run on this machine",
        ) from error
