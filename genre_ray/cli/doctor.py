"""`genre-ray doctor`: the examination of this machine, printed as it goes.

Parses, calls, prints; knows nothing about the checks.
"""

import argparse
import json
import sys
from dataclasses import asdict

NAME = "doctor"
SUMMARY = "check Python, packages, GPU, Ray, disk, codecs, HAProxy, and say what to do"
DESCRIPTION = "Check what this machine has and lacks. Nothing is changed. Exit status 1 when something must be mended."
EXAMPLES = """examples:
  genre-ray doctor
  genre-ray doctor --no-ray      without starting a local Ray (some seconds faster)
  genre-ray doctor --json        for a bug report
"""

_MARKS = {"ok": "ok      ", "warning": "warning ", "failure": "FAILURE "}


def add_options(options: argparse.ArgumentParser) -> None:
    """The options of this subcommand."""
    options.add_argument("--no-ray", action="store_true", help="do not start a local Ray")
    options.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(options: argparse.Namespace) -> int:
    """Examine and print; 1 when something fails."""
    from genre_ray.doctor import examine

    findings = []
    for finding in examine(start_ray=not options.no_ray):
        findings.append(finding)
        if not options.json:
            print(f"{_MARKS[finding.status]}{finding.name:<29}{finding.found}")
            if finding.remedy:
                print(f"{'':<37}-> {finding.remedy}")
            sys.stdout.flush()
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    failures = sum(finding.status == "failure" for finding in findings)
    if not options.json:
        warnings = sum(finding.status == "warning" for finding in findings)
        print(f"{failures} failures, {warnings} warnings" if failures or warnings else "all is well")
    return 1 if failures else 0
