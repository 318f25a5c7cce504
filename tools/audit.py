"""Ask the registry for known vulnerabilities of the locked packages, with pip-audit in an environment of its own.

Not every registry answers that question: a mirror often does not. One package is asked for first, and where there is
no answer nothing is audited, which is said; the exit code is 0 then. It is 1 where a locked version has a known
vulnerability.

    python tools/audit.py
"""

import json
import re
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "_build" / "audit"
FIRST = "pillow"


def tool() -> Path | None:
    """pip-audit, installed where it cannot change what is locked; None where it cannot be had."""
    path = WORK / "environment" / "bin" / "pip-audit"
    if not path.exists():
        venv.create(WORK / "environment", with_pip=True)
        pip = [
            str(path.parent / "python"),
            "-m",
            "pip",
            "--disable-pip-version-check",
            "install",
            "--quiet",
            "pip-audit",
        ]
        if subprocess.run(pip, stderr=subprocess.DEVNULL, check=False).returncode:
            return None
    return path


def audit(program: Path, requirements: Path) -> list[dict[str, Any]] | None:
    """What is known of each package of a file: its name, and ``vulns`` or a ``skip_reason``; None without an answer."""
    options = ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    command = [str(program), *options, "--requirement", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return list(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError, TypeError):
        return None


def summary(packages: list[dict[str, Any]] | None) -> tuple[str, bool]:
    """What to say of an audit, and whether a vulnerability was found."""
    answered = [package for package in packages or [] if "vulns" in package]
    if not answered:
        return "The registry says nothing about vulnerabilities: nothing was audited.", False
    found = [
        f"{package['name']} {package['version']}: {known['id']}, mended in {', '.join(known['fix_versions']) or 'none'}"
        for package in answered
        for known in package["vulns"]
    ]
    counts = f"{len(answered)} of {len(packages or [])} locked packages audited, {len(found)} known vulnerabilities"
    return "\n".join([counts, *found]), bool(found)


def main() -> None:
    lock = (ROOT / "requirements.txt").read_text(encoding="utf8")
    WORK.mkdir(parents=True, exist_ok=True)
    probe = WORK / "first.txt"
    probe.write_text("".join(re.findall(rf"^{FIRST}==.*\n", lock, re.MULTILINE)), encoding="utf8")
    program = tool()
    if program is None:
        print("pip-audit cannot be installed here: nothing was audited.")
        return
    packages = audit(program, probe)
    if any("vulns" in package for package in packages or []):
        packages = audit(program, ROOT / "requirements.txt")
    text, found = summary(packages)
    print(text)
    sys.exit(found)


if __name__ == "__main__":
    main()
