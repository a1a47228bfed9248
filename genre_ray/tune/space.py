"""The search space as Optuna sees it: defined by run, so that a variant brings its own parameters.

Knows nothing about Ray or training.
"""

import warnings
from typing import Any

import optuna

from genre_ray.tune.config import TuneConfig
from genre_ray.tune.domains import Choice, Domain, Int, LogInt, LogUniform, Uniform
from genre_ray.tune.names import VARIANT


def suggest(config: TuneConfig, trial: optuna.Trial) -> dict[str, Any]:
    """Ask Optuna for the variant, where there are several, and then for each parameter that applies to it."""
    params: dict[str, Any] = {}
    if config.variants:
        params[VARIANT] = trial.suggest_categorical(VARIANT, list(config.variants))
    for name, domain in config.parameters(params.get(VARIANT)).items():
        params[name] = _suggest(trial, name, domain)
    return params


def _suggest(trial: optuna.Trial, name: str, domain: Domain) -> Any:
    if isinstance(domain, Uniform):
        return trial.suggest_float(name, *domain.bounds, step=domain.step)
    if isinstance(domain, LogUniform):
        return trial.suggest_float(name, *domain.bounds, log=True)
    if isinstance(domain, Int):
        return trial.suggest_int(name, *domain.bounds, step=domain.step)
    if isinstance(domain, LogInt):
        return trial.suggest_int(name, *domain.bounds, log=True)
    assert isinstance(domain, Choice)
    return trial.suggest_categorical(name, list(domain.options))


def sampler(config: TuneConfig, finished: int) -> optuna.samplers.TPESampler:
    """Multivariate TPE (Bergstra et al. 2011; Falkner et al. 2018), seeded by the file and the study's length.

    `group` keeps the parameters of different variants apart; `constant_liar` spreads trials that run side by side.
    """
    with warnings.catch_warnings():
        # `group` has been marked experimental since Optuna 2.8.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=(config.search.seed + 7919 * finished) % 2**32,
            multivariate=True,
            group=True,
            constant_liar=True,
            n_startup_trials=config.search.startup_trials,
        )
