"""The alerts, the dashboard and the runbook agree with each other, and with what is measured."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from app.config.settings import Settings
from tests.support.metric_names import METRIC_NAMES
from tests.support.repository import COMPOSE, ROOT
from tests.support.tools import output_of, tool

DEPLOY: Final = ROOT / "deploy"
ALERTS: Final = DEPLOY / "prometheus" / "alerts.yml"
TESTS: Final = DEPLOY / "prometheus" / "alerts_test.yml"
CONFIG: Final = DEPLOY / "prometheus" / "prometheus.yml"
RUNBOOK: Final = (DEPLOY / "RUNBOOK.md").read_text()
RULES: Final[list[dict[str, Any]]] = [
    rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
]
DASHBOARD: Final[dict[str, Any]] = json.loads((DEPLOY / "grafana" / "dashboards" / "cdr-forwarder.json").read_text())
PANELS: Final[list[dict[str, Any]]] = DASHBOARD["panels"]
EXPRESSIONS: Final = [target["expr"] for panel in PANELS for target in panel["targets"]]

METRICS: Final = {re.sub("duration_seconds$", "duration_seconds_bucket", name) for name in METRIC_NAMES}
OF_NO_ENDPOINT: Final = {
    *("ready", "redis_up", "redis_memory_used_ratio", "foreign_consumers", "build_info", "log_lines_dropped_total")
}


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r"cdr_forwarder_(\w+)", expression))


def test_the_alerts_pass_their_own_tests() -> None:
    """Each with what fires it, and with what must not."""
    output_of(tool("promtool"), "test", "rules", TESTS)


def test_prometheus_accepts_its_configuration() -> None:
    """And the rules that it names."""
    assert f"{len(RULES)} rules found" in output_of(tool("promtool"), "check", "config", CONFIG)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    """Who is woken by it reads its name, its two lines, and a paragraph of the runbook."""
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    base = '{{ or $externalLabels.runbook "deploy/RUNBOOK.md" }}'
    assert rule["annotations"]["runbook_url"] == f"{base}#{rule['alert'].lower()}"
    assert f"\n## {rule['alert']}\n" in RUNBOOK


def test_the_runbook_speaks_of_no_other_alert() -> None:
    """One that is not there never wakes anybody."""
    assert set(re.findall(r"\n## (CdrForwarder\w+)\n", RUNBOOK)) == {rule["alert"] for rule in RULES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_is_tested_both_ways(rule: dict[str, Any]) -> None:
    """One that never fires passes every test in which it must not."""
    tests = [each for test in yaml.safe_load(TESTS.read_text())["tests"] for each in test["alert_rule_test"]]
    fires = {bool(test.get("exp_alerts")) for test in tests if test["alertname"] == rule["alert"]}
    assert fires == {True, False}


def test_a_link_from_alertmanager_is_a_whole_url() -> None:
    """Its base is an external label, which templates of alerts can read, and which each site sets."""
    base = yaml.safe_load(CONFIG.read_text())["global"]["external_labels"]["runbook"]
    assert re.fullmatch(r"https://\S+/RUNBOOK\.md", base)


def test_no_data_is_an_alert() -> None:
    """All the others are silent where nothing is measured."""
    assert [rule["alert"] for rule in RULES if "absent(" in rule["expr"]] == ["CdrForwarderAbsent"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_looks_at_what_is_measured(rule: dict[str, Any]) -> None:
    """A metric by another name would be silence; and one of a lane says which."""
    metrics = metrics_in(rule["expr"])
    assert metrics
    assert metrics <= METRICS
    # A breaker is the endpoint's own, whatever the source.
    by_endpoint = "endpoint, source)" in rule["expr"] or metrics == {"breaker_open"}
    assert by_endpoint == metrics.isdisjoint(OF_NO_ENDPOINT)


def test_the_dashboard_shows_all_that_is_measured() -> None:
    """And nothing else, which would be an empty panel."""
    assert set().union(*map(metrics_in, EXPRESSIONS)) == METRICS


def test_the_dashboard_asks_what_prometheus_understands(tmp_path: Path) -> None:
    """Grafana would show an error in the panel, to whoever looks at it first."""
    promtool = tool("promtool")
    plain = [re.sub(r"\$__rate_interval", "5m", expression).replace("$", "") for expression in EXPRESSIONS]
    rules = [{"record": f"panel_{number}", "expr": expression} for number, expression in enumerate(plain)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in output_of(promtool, "check", "rules", file)


def test_the_panels_lie_side_by_side() -> None:
    """Grafana moves those that overlap to where nobody looks for them; ids are what links point to."""
    covered = [
        (x, y)
        for panel in PANELS
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(covered) == len(set(covered))
    assert max(x for x, _ in covered) < 24
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


def mounted_in(service: str) -> dict[str, Path]:
    """Return what of this repository the container sees, and where."""
    pairs = [volume.split(":")[:2] for volume in COMPOSE["services"][service]["volumes"]]
    return {inside: ROOT / outside for outside, inside in pairs if outside.startswith("./")}


def test_prometheus_finds_its_files_and_every_forwarder() -> None:
    """By the name of the service, which Docker resolves to all of its containers."""
    assert mounted_in("prometheus") == {"/etc/prometheus": CONFIG.parent}
    [job] = yaml.safe_load(CONFIG.read_text())["scrape_configs"]
    assert job["job_name"] == "cdr-forwarder"
    [lookup] = job["dns_sd_configs"]
    assert lookup["names"] == ["forwarder"]
    assert lookup["type"] == "A"
    assert lookup["port"] == Settings.model_fields["ops_port"].default
    assert [port.rsplit(":", 1)[-1] for port in COMPOSE["services"]["forwarder"]["ports"]] == [str(lookup["port"])]


def test_grafana_finds_its_dashboard_and_its_data() -> None:
    """Mounted where the provisioning says, from the Prometheus that it says."""
    mounts = mounted_in("grafana")
    provisioning = mounts["/etc/grafana/provisioning"]
    [source] = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    [provider] = yaml.safe_load((provisioning / "dashboards" / "cdr-forwarder.yml").read_text())["providers"]
    assert source["url"] == "http://prometheus:9090"
    [choice] = [one for one in DASHBOARD["templating"]["list"] if one["type"] == "datasource"]
    assert choice["current"]["value"] == source["uid"]
    home = COMPOSE["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert Path(home).parent == Path(provider["options"]["path"])
    assert (mounts[provider["options"]["path"]] / Path(home).name).exists()
