"""Findings as text, as SARIF 2.1.0 (OASIS) and as a GitLab Code Quality report.

Both reports have a stable fingerprint for each finding, so that one that stays is not
reported as new.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from nixsecrets.errors import path_text
from nixsecrets.findings.catalogue import CATALOGUE, Finding, Severity

_SARIF = "https://json.schemastore.org/sarif-2.1.0.json"
_GITLAB = {Severity.ERROR: "critical", Severity.WARNING: "minor", Severity.NOTE: "info"}


def text_line(finding: Finding) -> str:
    """Return a finding as one line: `CODE  PATH:LINE: MESSAGE`."""
    line = f":{finding.line}" if finding.line else ""
    return f"{finding.code.value}  {path_text(finding.path)}{line}: {finding.message}"


def sarif(findings: Iterable[Finding], version: str) -> str:
    """Return a SARIF log as JSON text; `version` is that of nixsecrets."""
    found = list(findings)
    codes = sorted({one.code for one in found})
    rules = [
        {
            "id": code.value,
            "name": CATALOGUE[code].slug,
            "shortDescription": {"text": CATALOGUE[code].title},
            "fullDescription": {"text": _plain(CATALOGUE[code].help)},
            "help": {
                "text": _plain(CATALOGUE[code].help),
                "markdown": CATALOGUE[code].help,
            },
            "defaultConfiguration": {"level": code.severity.value},
        }
        for code in codes
    ]
    results = [
        {
            "ruleId": one.code.value,
            "ruleIndex": codes.index(one.code),
            "level": one.code.severity.value,
            "message": {"text": f"{one.path}: {one.message}"},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": _uri(one.path)},
                        "region": {"startLine": max(one.line, 1)},
                    }
                }
            ],
            "partialFingerprints": {"nixsecrets/v1": mark},
        }
        for one, mark in _marked(found)
    ]
    driver = {"name": "nixsecrets", "version": version, "rules": rules}
    log = {
        "$schema": _SARIF,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    return json.dumps(log, indent=2) + "\n"


def gitlab(findings: Iterable[Finding]) -> str:
    """Return a GitLab Code Quality report as JSON text."""
    report = [
        {
            "description": f"{one.code.value}: {one.message}",
            "check_name": CATALOGUE[one.code].slug,
            "fingerprint": mark,
            "severity": _GITLAB[one.code.severity],
            "location": {
                "path": _escaped(one.path),
                "lines": {"begin": max(one.line, 1)},
            },
        }
        for one, mark in _marked(findings)
    ]
    return json.dumps(report, indent=2) + "\n"


def _marked(findings: Iterable[Finding]) -> Iterator[tuple[Finding, str]]:
    """Yield each finding with a unique fingerprint (SHA-256, hex).

    It does not depend on the line, which moves.  Equal findings are numbered.
    """
    seen: Counter[tuple[str, ...]] = Counter()
    for one in findings:
        what = (one.path, one.code.value, one.message)
        text = "\0".join((*what, str(seen[what])))
        seen[what] += 1
        yield one, hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _uri(path: str) -> str:
    return quote(path.encode("utf-8", "surrogateescape"))


def _escaped(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _plain(markdown: str) -> str:
    return markdown.replace("`", "")
