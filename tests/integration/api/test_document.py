"""docs/python.md: every example in it is run as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import what_is_left

BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[3] / "docs/python.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_an_example_of_the_document(number: int, alpine: str, tmp_path: Path) -> None:
    text = BLOCKS[number].replace('"alpine"', repr(alpine))
    if "def test_" in text:
        (tmp_path / "test_example.py").write_text(text)
        (tmp_path / "pytest.ini").write_text("[pytest]\n")
        words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", str(tmp_path)]
    else:
        words = [sys.executable, "-c", text if "import coso" in text else f"import coso\n{text}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not what_is_left()
