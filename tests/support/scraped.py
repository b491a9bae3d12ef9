"""The numbers that a scrape of /metrics has told."""

import re
from collections.abc import Mapping
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

SUFFIXES = ("_bucket", "_sum", "_count")


class Scraped:
    """The text of a scrape, parsed."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
        self.samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = sample.name, frozenset(sample.labels.items())
                assert key not in self.samples, key
                self.samples[key] = sample.value

    def value(self, name: str, **labels: str) -> float:
        return self.samples[name, frozenset(labels.items())]

    def labels(self, name: str, of: str) -> set[str]:
        """The labels of the samples of a metric."""
        names = {f"{name}{suffix}" for suffix in SUFFIXES} if of == "histogram" else {name}
        found = {label for key, labels in self.samples for label, _ in labels if key in names}
        return found - {"le"}

    def rows(self, name: str) -> Mapping[frozenset[tuple[str, str]], float]:
        return {labels: value for (key, labels), value in self.samples.items() if key == name}


def metrics_asked_for(file: Path) -> set[str]:
    """The metrics that a file for Prometheus or Grafana names in its queries."""
    queries = re.sub(r"(annotations|labels|for|summary): .*", "", file.read_text())
    names = re.findall(r"\b((?:wakumail|mailserver|waku|p2p|process)_\w+)", queries)
    return {re.sub(r"_bucket$", "", name) for name in names}
