"""The Grafana dashboard reads metrics that exist, with labels that they have, and leaves none of ours out."""

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import genre_ray

PACKAGE = Path(genre_ray.__file__).parent
_KINDS = {"Counter", "Gauge", "Histogram", "LastingGauge"}


@dataclass(frozen=True)
class Metric:
    """As the code declares it."""

    name: str
    kind: str
    labels: frozenset[str]

    def exported(self) -> set[str]:
        """Its names in Prometheus (test_metrics_export.py sees Ray do so)."""
        name = f"ray_{self.name}"
        if self.kind == "Counter":
            return {f"{name}_total"}
        return {f"{name}_bucket", f"{name}_sum", f"{name}_count"} if self.kind == "Histogram" else {name}


def declared() -> list[Metric]:
    """Every metric of the package, from calls such as Counter("genre_ray_...", tag_keys=(...))."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
                continue
            kind = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            name = node.args[0].value
            if kind in _KINDS and isinstance(name, str) and name.startswith("genre_ray_"):
                given = {keyword.arg: keyword.value for keyword in node.keywords}
                labels = ast.literal_eval(given["tag_keys"]) if "tag_keys" in given else ()
                found.append(Metric(name, kind, frozenset(labels)))
    return found


def panels(shipped: Path) -> list[dict[str, Any]]:
    """The panels with queries, of the dashboard as Grafana would import it."""
    dashboard = json.loads((shipped / "grafana" / "genre_ray.json").read_text(encoding="utf-8"))
    assert dashboard["uid"]
    assert dashboard["schemaVersion"] >= 36
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(shipped: Path) -> list[str]:
    return [target["expr"] for panel in panels(shipped) for target in panel["targets"]]


def test_every_metric_of_ours_in_the_dashboard_is_declared(shipped: Path) -> None:
    known = set().union(*(metric.exported() for metric in declared()))
    asked = {name for query in queries(shipped) for name in re.findall(r"ray_genre_ray_\w+", query)}
    assert asked <= known, asked - known


def test_every_declared_metric_is_in_the_dashboard(shipped: Path) -> None:
    text = " ".join(queries(shipped))
    missing = [metric.name for metric in declared() if not any(name in text for name in metric.exported())]
    assert len(declared()) >= 11
    assert missing == []


def test_every_declared_metric_is_fed() -> None:
    """Its attribute is read where it was made: to count, to set or to observe."""
    idle = []
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        read = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is_read(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
                made = ast.unparse(node.value)
                if re.match(r"([\w.]+\.)?(Counter|\w*Gauge|Histogram)\('genre_ray_", made):
                    idle += [made] if node.targets[0].attr not in read else []
    assert idle == []


def _is_read(node: ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Load)


def test_a_query_groups_by_labels_that_its_metric_has(shipped: Path) -> None:
    metrics = declared()
    for query in queries(shipped):
        for metric in metrics:
            if any(re.search(rf"{name}\b", query) for name in metric.exported()):
                asked = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", query)))) - {"le"}
                assert asked <= metric.labels, (query, metric)
                assert set(re.findall(r"(\w+)=\"", query)) <= metric.labels


def test_each_panel_has_a_place_of_its_own(shipped: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels(shipped):
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_metrics_of_ray_itself_are_ones_that_it_exports_whatever_the_configuration(shipped: Path) -> None:
    """So none of `serve/batching.py`: only `serve.batch` feeds those, and on a processor nobody calls it."""
    import ray

    source = Path(ray.__file__).parent
    asked = {name for query in queries(shipped) for name in re.findall(r"\bray_(?!genre_ray)(\w+)", query)}
    assert len(asked) >= 8
    files = [source / "dashboard/modules/reporter/reporter_agent.py"]
    files += [source / "serve/_private/deployment_state.py", source / "serve/_private/router.py"]
    files += [source / "dashboard/modules/metrics/dashboards/default_dashboard_panels.py"]
    text = " ".join(file.read_text(encoding="utf-8") for file in files)
    for name in asked:
        plain = re.sub(r"_(sum|count|bucket)$", "", name)
        assert re.search(rf"\"{plain}\"|\bray_{plain}\b", text), name
