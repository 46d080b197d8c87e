"""The page of a run in a browser: Debian's chromium through playwright; skipped without them."""

import dataclasses
import shutil
from pathlib import Path

import pytest
from smallest_recipe import RECIPE

from fcn_jax.commands.evaluate import evaluate
from fcn_jax.runs.place import Place
from fcn_jax.runs.report import write_report
from fcn_jax.runs.run import run

playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs playwright: pip install playwright"
)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs a browser: apt-get install -y chromium"
)
NARROW, WIDE = {"width": 360, "height": 740}, {"width": 1280, "height": 900}
FOCUSED = """() => {
  const on = document.activeElement;
  return [on.tagName, on.getAttribute('href') || on.getAttribute('aria-label') || on.textContent];
}"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The page of a run that was evaluated with details, and of two runs side by side."""
    folder = tmp_path_factory.mktemp("runs")
    for name, steps in (("one", 4), ("other", 2)):
        changes = {"steps": steps, "evaluate_every": 2}
        recipe = dataclasses.replace(RECIPE, **changes)
        origin = {"module": "smallest_recipe", "arguments": {}, "overrides": changes}
        run(recipe, Place(workdir=folder / name), origin=origin, say=lambda _: None)
    evaluate(folder / "one", recipe="smallest_recipe")
    both = write_report([folder / "one", folder / "other"], folder / "both.html")
    return [folder / "one" / "report.html", both]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(params=["light", "dark"])
def opened(browser, pages, request):
    """Opens one of the pages; afterwards nothing was asked of a network, and nothing failed."""
    said, asked, tabs = [], [], []

    def open_page(which: Path, size):
        tab = browser.new_page(viewport=size, color_scheme=request.param)
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda r: None if r.url.startswith("data:") else asked.append(r.url))
        tab.goto(which.as_uri())
        tabs.append(tab)
        return tab

    yield open_page
    assert said == [] and asked == [tab.url.split("#")[0] for tab in tabs]
    for tab in tabs:
        tab.close()


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_every_picture_loads_and_the_page_does_not_scroll_sideways(pages, opened, which, size):
    tab = opened(pages[which], size)
    widths = tab.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert widths[0] <= widths[1]
    images = tab.evaluate("[...document.images].map(x => [x.complete, x.naturalWidth])")
    assert len(images) >= 15 and all(done and width for done, width in images)
    plots = tab.evaluate(
        "[...document.querySelectorAll('svg')].map(x => x.getBoundingClientRect().width)"
    )
    assert len(plots) >= 4 and all(200 < width <= size["width"] for width in plots)
    small = tab.evaluate(
        "[...document.querySelectorAll('td, th, p, a, summary')]"
        ".filter(x => parseFloat(getComputedStyle(x).fontSize) < 12).length"
    )
    assert small == 0


def test_text_can_be_read_on_its_background(pages, opened):
    """WCAG 2.1, 1.4.3: a contrast of 4.5 for text, in the light and in the dark."""
    tab = opened(pages[0], WIDE)
    worst = tab.evaluate("""() => {
      const light = c => {
        const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
          .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const behind = x => {
        const c = getComputedStyle(x).backgroundColor;
        return c === 'rgba(0, 0, 0, 0)' && x.parentElement ? behind(x.parentElement) : c;
      };
      let found = [99, ''];
      for (const x of document.querySelectorAll('h1,h2,h3,p,td,th,a,summary,b,span,svg text')) {
        if (!x.textContent.trim()) continue;
        const style = getComputedStyle(x), inSvg = x.tagName === 'text';
        if (inSvg && /^rgb\\((255, 255, 255|17, 17, 17)\\)/.test(style.fill)) continue;
        const a = light(inSvg ? style.fill : style.color), b = light(behind(x));
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < found[0]) found = [contrast, x.tagName + ' ' + x.textContent.slice(0, 40)];
      }
      return found;
    }""")
    assert worst[0] >= 4.5, worst


def test_the_keyboard_reaches_everything(pages, opened):
    tab = opened(pages[0], NARROW)
    reached = []
    for _ in range(60):
        tab.keyboard.press("Tab")
        now = tab.evaluate(FOCUSED)
        if now[0] == "BODY" or now in reached:
            break
        reached.append(now)
    links = tab.evaluate("[...document.querySelectorAll('nav a')].map(x => x.getAttribute('href'))")
    assert len(links) >= 6 and [what for tag, what in reached if tag == "A"] == links
    regions = [what for tag, what in reached if tag == "DIV"]
    assert {"classes", "confusion matrix", "what was run"} <= set(regions)
    assert reached[-1][0] == "SUMMARY"
    shut = "document.querySelector('details').open"
    assert tab.evaluate(shut) is False
    tab.focus("summary")
    tab.keyboard.press("Enter")
    assert tab.evaluate(shut) is True
    tab.focus("nav a[href='#classes']")
    tab.keyboard.press("Enter")
    top = tab.evaluate("document.getElementById('classes').getBoundingClientRect().top")
    assert abs(top) < 5
