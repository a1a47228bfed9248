"""Reports for people: a self-contained HTML page for scores and one for a search, with the same facts as JSON beside.

Knows nothing about Ray, torch, or how predictions came about.
"""

from genre_ray.report.evaluation import write_report
from genre_ray.report.runs import RunResult
from genre_ray.report.search import write_search_report

__all__ = ["RunResult", "write_report", "write_search_report"]
