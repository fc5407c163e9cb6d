"""The report as a page, in a real browser: every cell leads to what was tried and seen, and can be seen itself."""

from __future__ import annotations

import json
import re
import subprocess
from html import unescape
from pathlib import Path

import pytest

from coso.errors import ProvisionError
from coso.spawn import find
from coso.verify.checks import CHECKS
from coso.verify.report import Report, html
from coso.verify.run import Result
from provisioning.resource import Change
from provisioning.system import Package
from tests.integration.conftest import machines_network

# Asked of the page by the browser itself, once it has laid everything out.
ASK = """
<script>
addEventListener("load", async () => {
  const wide = document.documentElement.scrollWidth - innerWidth;
  const found = {cells: 0, dead: [], hidden: [], overlapping: 0, wide};
  const places = new Set();
  for (const link of document.querySelectorAll("svg a")) {
    const cell = link.querySelector("rect");
    if (!cell) continue;
    found.cells++;
    const box = cell.getBoundingClientRect();
    if (box.width < 8 || getComputedStyle(cell).fill === "rgb(0, 0, 0)") found.hidden.push(link.getAttribute("href"));
    const place = Math.round(box.x) + "," + Math.round(box.y);
    found.overlapping += places.has(place);
    places.add(place);
    link.dispatchEvent(new MouseEvent("click", {bubbles: true, cancelable: true}));
    await new Promise(done => setTimeout(done, 0));
    const target = document.querySelector(":target");
    if (!target || !target.getBoundingClientRect().height)
      found.dead.push(link.getAttribute("href"));
  }
  document.title = JSON.stringify(found);
});
</script>
"""


@pytest.fixture(scope="module")
def browser() -> str:
    """Chromium, from Debian where it is missing."""
    with machines_network():
        package = Package("chromium", "chromium")
        try:
            if isinstance(plan := package.plan(package.inspect()), Change):
                package.apply(plan)
        except ProvisionError as error:
            pytest.skip(f"no browser can be had: {error.message}")
    return find("chromium")


def test_each_cell_leads_to_what_was_tried_and_seen(browser: str, tmp_path: Path) -> None:
    kinds = ("pass", "fail", "skip", "error")
    reports = [
        Report(
            name,
            "1.0",
            [Result(check, kinds[(at + shift) % 4], f"<seen> {at}", 1.0) for at, check in enumerate(CHECKS)],
        )
        for shift, name in enumerate(("coso", "crun", "runc", "podman", "docker", "bwrap", "nspawn", "lxc", "unshare"))
    ]
    page = tmp_path / "report.html"
    page.write_text(html(reports).replace("</html>", f"{ASK}</html>"))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    words = [browser, *options, "--window-size=1200,900", "--virtual-time-budget=60000", "--dump-dom", page.as_uri()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    title = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert title, done.stderr
    found = json.loads(unescape(title.group(1)))
    assert found == {"cells": 9 * len(CHECKS), "dead": [], "hidden": [], "overlapping": 0, "wide": found["wide"]}
    assert found["wide"] <= 0, "the page is wider than the window"
