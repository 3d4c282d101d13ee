"""Real sops, asked how it would encrypt a new file under a configuration."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fleet import clean_env, sops_path

Encrypt = Callable[[str, str], tuple[str, ...] | str]


@pytest.fixture
def recipients_by_sops(tmp_path: Path) -> Encrypt:
    """Return a function (config, path) -> age recipients, or what sops complains of."""
    (tmp_path / "plain").write_bytes(b"x")
    config = tmp_path / ".sops.yaml"

    def encrypt(text: str, path: str) -> tuple[str, ...] | str:
        config.write_bytes(text.encode())
        done = subprocess.run(
            [
                *(sops_path(), "--disable-version-check", "--config", str(config)),
                *("encrypt", "--input-type", "binary", "--output-type", "json"),
                *("--filename-override", str(tmp_path / path), "plain"),
            ],
            env=clean_env(tmp_path),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            return done.stderr
        entries = json.loads(done.stdout)["sops"]["age"]
        return tuple(entry["recipient"] for entry in entries)

    return encrypt
