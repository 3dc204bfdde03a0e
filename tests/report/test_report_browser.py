"""The page in a real browser: nothing complains, nothing sticks out, everything answers."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pages import SECTIONS

from cli_samples import call

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on the PATH"),
    pytest.mark.slow,
]
WIDTHS = (1280, 390)

# Run outside of the page, in a frame of the wanted width: the page itself stays as it was written.
PROBE = """
const seen = {};
function luminance(color) {
  const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function contrast(a, b) {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}
function measure(frame) {
  const page = frame.contentDocument, style = frame.contentWindow.getComputedStyle;
  const paper = style(page.body).backgroundColor;
  const shown = (e) => e.getClientRects().length > 0 && !e.closest("details:not([open]) > :not(summary)");
  const kinds = "p, dd, dt, td, th, h1, h2, h3, figcaption, .status, small, summary, button";
  const pale = [...page.querySelectorAll(kinds)].filter(shown)
    .filter((e) => contrast(style(e).color, paper) < 4.5).map((e) => e.textContent.slice(0, 40));
  const outside = [...page.querySelectorAll("body *")].filter((e) => shown(e) && !e.closest("svg, .wide"))
    .filter((e) => e.getBoundingClientRect().right > frame.clientWidth + 1)
    .map((e) => e.tagName + " " + e.className);
  const pictures = [...page.querySelectorAll("svg")].filter(shown);
  const labels = pictures.flatMap((svg) => [...svg.querySelectorAll("text")]);
  const small = labels.filter((label) => label.getBoundingClientRect().height < 9);
  return {
    scroll: page.documentElement.scrollWidth, paper, pale, outside, small: small.length, pictures: pictures.length,
    unnamed: pictures.filter((svg) => !svg.getAttribute("aria-label")).length,
    sections: [...page.querySelectorAll("section")].filter(shown).map((e) => e.id),
  };
}
function act(frame) {
  const page = frame.contentDocument, button = page.getElementById("theme");
  const found = { first: measure(frame), label: button.textContent };
  button.click();
  found.second = measure(frame);
  found.after = button.textContent;
  const strip = page.querySelector(".strip"), tokens = [...strip.children];
  const panel = page.getElementById(strip.id + "-guesses");
  const view = frame.contentWindow;
  const pressed = (key) => new view.KeyboardEvent("keydown", { key, bubbles: true });
  found.waiting = panel.textContent;
  found.reachable = tokens.filter((t) => t.tabIndex === 0).length;
  tokens[3].dispatchEvent(new view.MouseEvent("mouseenter"));
  found.hovered = panel.textContent;
  tokens[3].click();
  page.activeElement.dispatchEvent(pressed("ArrowRight"));
  found.focused = tokens.indexOf(page.activeElement);
  found.moved = panel.textContent;
  found.guesses = panel.querySelectorAll("li").length;
  found.images = page.images.length;
  return found;
}
addEventListener("load", () => {
  for (const frame of document.querySelectorAll("iframe")) seen[frame.id] = act(frame);
  document.body.innerHTML = "";
  const out = document.createElement("pre");
  out.textContent = JSON.stringify(seen);
  document.body.append(out);
});
"""


def browse(path: Path, profile: Path) -> tuple[str, str]:
    """The page as the browser has it after its scripts ran, and what the browser logged."""
    words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"]
    words += [f"--user-data-dir={profile}", "--enable-logging=stderr", "--v=0", "--virtual-time-budget=4000"]
    done = subprocess.run(
        [str(CHROMIUM), *words, "--window-size=1400,900", path.as_uri()],
        capture_output=True, text=True, timeout=240, check=False, env={**os.environ, "HOME": str(profile)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, done.stderr


def complaints(log: str) -> list[str]:
    return [line for line in log.splitlines() if "CONSOLE" in line]


def frames(source: str) -> str:
    one = '<iframe id="w{0}" style="border:0;width:{0}px;height:900px" srcdoc="{1}"></iframe>'
    both = "".join(one.format(width, html.escape(source)) for width in WIDTHS)
    return f"<!DOCTYPE html><body>{both}<script>{PROBE}</script>"


@pytest.fixture(scope="module")
def found(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("browser")
    assert call("report", whole, "-o", root / "one.html").code == 0
    (root / "host.html").write_text(frames((root / "one.html").read_text(encoding="utf-8")), encoding="utf-8")
    dom, log = browse(root / "host.html", root / "profile")
    assert complaints(log) == []
    answer = re.search(r"<pre>(.*?)</pre>", dom, re.DOTALL)
    assert answer, dom[-2000:]
    facts: dict[str, Any] = json.loads(html.unescape(answer[1]))
    return facts


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", ["first", "second"])
def test_it_fits_and_can_be_read(found: dict[str, Any], width: int, theme: str) -> None:
    page = found[f"w{width}"][theme]
    assert page["scroll"] <= width
    assert page["outside"] == []
    assert page["pale"] == [], "text has a contrast of 4.5 at least"
    assert page["sections"] == [*SECTIONS, "tried"]
    assert (page["pictures"], page["unnamed"], page["small"]) == (4, 0, 0)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_button_changes_the_theme(found: dict[str, Any], width: int) -> None:
    page = found[f"w{width}"]
    assert {page["label"], page["after"]} == {"Switch to dark", "Switch to light"}
    assert page["first"]["paper"] != page["second"]["paper"]


@pytest.mark.parametrize("width", WIDTHS)
def test_tokens_answer_to_the_pointer_and_to_keys(found: dict[str, Any], width: int) -> None:
    page = found[f"w{width}"]
    assert page["reachable"] == 1, "one stop of the tab key, arrows from there"
    assert "bits for" in page["waiting"], "before anything is pointed at, the dearest token is shown"
    assert "bits for" in page["hovered"]
    assert page["focused"] == 4
    assert page["moved"] != page["hovered"]
    assert page["guesses"] in (5, 6)
    assert page["images"] == 0


def test_by_itself_it_opens_without_a_complaint(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "both.html"
    assert call("report", whole, whole.parent / "plain", "-o", out).code == 0
    dom, log = browse(out, tmp_path / "profile")
    assert complaints(log) == []
    assert "Switch to" in dom, "the script ran: its hash is the one that the page allows"


def test_a_page_that_breaks_its_own_rules_is_found_out(whole: Path, tmp_path: Path) -> None:
    """The browser's complaints are seen: another script than the one allowed is one."""
    out = tmp_path / "one.html"
    assert call("report", whole, "--no-passage", "-o", out).code == 0
    out.write_text(
        out.read_text(encoding="utf-8").replace('"use strict";', '"use strict"; '), encoding="utf-8"
    )
    dom, log = browse(out, tmp_path / "profile")
    assert complaints(log)
    assert "Switch theme" in dom
