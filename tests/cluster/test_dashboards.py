"""Every expression of the board and of the alerts speaks of what a run really exports."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import ray.autoscaler._private.prom_metrics as autoscaler_metrics
import ray.dashboard.modules.reporter.reporter_agent as reporter
import yaml

from tests.cluster.manifests import REPO
from tests.fixtures_jobs import Submitted
from vsal.distributed.failures import Fault
from vsal.errors import Reason

DASHBOARDS = REPO / "cluster" / "dashboards"
BOARD = json.loads((DASHBOARDS / "vsal.json").read_text())
ALERTS = yaml.safe_load((DASHBOARDS / "alerts.yaml").read_text())

Labels = dict[str, set[str]]  # values by name

# What labels may say that one run cannot show.
WORDS = {
    "status": {"done", "skipped", "failed"},
    "reason": {*map(str, Reason), ""},
    "fault": set(map(str, Fault)),
    "IsHeadNode": {"true", "false"},
    "State": {"USED", "AVAILABLE"},
}


def board_expressions() -> list[str]:
    return [target["expr"] for panel in BOARD["panels"] for target in panel.get("targets", [])]


def alert_rules() -> list[dict[str, Any]]:
    return [rule for group in ALERTS["spec"]["groups"] for rule in group["rules"]]


def spelt_out(expression: str) -> str:
    """The board's variables as Grafana fills them in."""
    return re.sub(r"\$(SessionName|kind)\b", ".*", expression)


EXPRESSIONS = [*map(spelt_out, board_expressions()), *(rule["expr"] for rule in alert_rules())]


def selectors(node: Any) -> Iterator[promql_parser.VectorSelector]:
    """The metrics that a parsed expression reads, each with its matchers."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    elif isinstance(node, promql_parser.MatrixSelector):
        yield node.vector_selector
    elif isinstance(node, promql_parser.BinaryExpr):
        yield from selectors(node.lhs)
        yield from selectors(node.rhs)
    elif isinstance(node, promql_parser.Call):
        for argument in node.args:
            yield from selectors(argument)
    elif not isinstance(node, promql_parser.NumberLiteral | promql_parser.StringLiteral):
        yield from selectors(node.expr)


def grouped_by(node: Any) -> Iterator[tuple[list[str], list[str]]]:
    """The labels of each `by (...)` or `on (...)`, with the metrics below it."""
    if isinstance(node, promql_parser.AggregateExpr):
        labels = list(node.modifier.labels) if node.modifier else []
        yield labels, [selector.name for selector in selectors(node.expr)]
        yield from grouped_by(node.expr)
    elif isinstance(node, promql_parser.BinaryExpr):
        yield from grouped_by(node.lhs)
        yield from grouped_by(node.rhs)
    elif isinstance(node, promql_parser.Call):
        for argument in node.args:
            yield from grouped_by(argument)
    elif isinstance(node, promql_parser.ParenExpr):
        yield from grouped_by(node.expr)


def exported(text: str) -> dict[str, Labels]:
    """Names in the text that Prometheus reads, with their labels and the values these had."""
    found: dict[str, Labels] = defaultdict(lambda: defaultdict(set))
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, rest = line.partition("{")
            for key, value in re.findall(r'(\w+)="([^"]*)"', rest):
                found[name][key].add(value)
    return found


def not_in_this_run() -> dict[str, Labels]:
    """What a machine without a GPU and a cluster without an autoscaler do not export, as Ray's own modules name it."""
    gpu = {f"ray_{name}" for name in reporter.METRICS_GAUGES if "gpu" in name or "gram" in name}
    registry = autoscaler_metrics.AutoscalerPrometheusMetrics(session_name="s").registry
    scaling = {metric.name for metric in registry.collect()}
    labels = {"SessionName": {"s"}}
    return {name: labels | {"ip": set(), "GpuIndex": set()} for name in gpu} | dict.fromkeys(scaling, labels)


@pytest.fixture(scope="module")
def known(submitted: Submitted) -> dict[str, Labels]:
    return not_in_this_run() | exported(submitted.metrics)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_reads_what_there_is(expression: str, known: dict[str, Labels]) -> None:
    parsed = promql_parser.parse(expression)
    read = list(selectors(parsed))
    assert read, "it reads nothing"
    for selector in read:
        assert selector.name in known, f"no run exports {selector.name}"
        for matcher in selector.matchers.matchers:
            values = known[selector.name].get(matcher.name)
            assert values is not None, f"{selector.name} has no label {matcher.name}"
            if matcher.op in (promql_parser.MatchOp.Equal, promql_parser.MatchOp.NotEqual):
                may = WORDS.get(matcher.name, set()) | values
                assert matcher.value in may, f"{matcher.name} is never {matcher.value!r}"
            elif matcher.value != ".*":
                assert set(matcher.value.split("|")) <= WORDS[matcher.name] | values
    for labels, names in grouped_by(parsed):
        for name in names:
            assert set(labels) <= {*known[name], "le"}, f"{name} has no label {set(labels) - known[name].keys()}"


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("sum(ray_vsal_title_total)", "no run exports"),
        ('sum(ray_vsal_titles_total{state="failed"})', "has no label state"),
        ('sum(ray_vsal_titles_total{status="faild"})', "is never 'faild'"),
        ("sum by (why) (ray_vsal_titles_total)", "has no label"),
    ],
)
def test_an_expression_that_reads_nothing_is_seen(expression: str, said: str, known: dict[str, Labels]) -> None:
    with pytest.raises(AssertionError, match=said):
        test_an_expression_reads_what_there_is(expression, known)


def test_the_board_lets_one_choose_source_and_session() -> None:
    variables = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
    assert variables.keys() == {"datasource", "SessionName", "kind"}
    assert variables["datasource"]["type"] == "datasource"
    for panel in BOARD["panels"]:
        if panel["type"] == "row":
            continue
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["description"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
            # Each metric of each expression is one session's.
            assert target["expr"].count('SessionName=~"$SessionName"') == len(
                list(selectors(promql_parser.parse(spelt_out(target["expr"]))))
            )


def test_panels_lie_beside_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        taken |= cells
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


def test_variables_ask_for_what_there_is(known: dict[str, Labels]) -> None:
    for variable in BOARD["templating"]["list"][1:]:
        found = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", variable["query"]["query"])
        assert found
        assert found[2] in known[found[1]]


def test_alerts_say_what_to_do() -> None:
    names = [rule["alert"] for rule in alert_rules()]
    assert len(names) == len(set(names))
    for rule in alert_rules():
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"].keys() == {"summary", "remedy"}
