"""The page for one photograph in a browser, from the upload to the downloaded label.

Debian's chromium through playwright; skipped without them or without gradio.
"""

import io
import shutil
import threading
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from smallest_recipe import SmallestTrunk
from test_serve import NAMES, Grays, as_float, expected_scores

import fcn_jax as fcn
from fcn_jax.app.panes import shown_net
from fcn_jax.app.photographs import Limits
from fcn_jax.app.server import address, listening, make_app
from fcn_jax.data.images import AS_STORED
from fcn_jax.data.scenes import Scenes
from fcn_jax.report.palette import class_palette
from fcn_jax.weights.weights_file import Metadata, save_weights

playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs playwright: pip install playwright"
)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of packages that gradio imports, on import
    pytest.importorskip("gradio", reason="needs gradio: pip install 'fcn-jax[app]'")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install -y chromium"),
    # Gradio counts waiting times with two options that pandas 3 no longer needs.
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated"),
    pytest.mark.filterwarnings("ignore:The copy keyword is deprecated"),
]
NARROW, WIDE = {"width": 360, "height": 740}, {"width": 1280, "height": 900}
PIXELS = Scenes(length=1, seed=3, largest=(90, 120))[0].image
LABEL = expected_scores(PIXELS).argmax(-1)
OF_GRADIO = "Method not implemented."  # its own warning, whenever a stream of events ends
COLOURS = """canvas => {
  const copy = new OffscreenCanvas(canvas.width, canvas.height);
  const context = copy.getContext('2d', {willReadFrequently: true});
  context.drawImage(canvas, 0, 0);
  return [...context.getImageData(0, 0, copy.width, copy.height).data];
}"""


@pytest.fixture(scope="module")
def served(tmp_path_factory, random_variables):
    """The page with two nets; `runs` has the number of those at work, each time that one starts."""
    import uvicorn

    grays = fcn.Model(Grays(), {}, as_float, class_names=NAMES)
    net = fcn.FCN(trunk=SmallestTrunk(), num_classes=7)
    preprocessing = fcn.Preprocessing(channels="RGB", mean=(120.0,) * 3)
    said = Metadata(architecture="FCN", num_classes=7, preprocessing=preprocessing, source="")
    weights = tmp_path_factory.mktemp("weights") / "stored.safetensors"
    save_weights(weights, random_variables(net), said)
    stored = fcn.load(weights, net=net)
    stored.scores(PIXELS)  # compiles
    made = SimpleNamespace(runs=[], active=0, free=threading.Event(), started=threading.Event())
    made.free.set()
    scores = grays.scores

    def counted(rgb):
        made.active += 1
        made.runs.append(made.active)
        made.started.set()
        made.free.wait(30)
        made.active -= 1
        return scores(rgb)

    grays.scores = counted
    nets = [shown_net("grays", grays, AS_STORED), shown_net("stored", stored, AS_STORED)]
    listener = listening("127.0.0.1", 0)
    made.url, made.stored = address(listener), lambda rgb: stored.scores(rgb).argmax(-1)
    made.folder = tmp_path_factory.mktemp("files")
    app = make_app(nets, Limits(megabytes=0.5, megapixels=0.05), made.folder)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield made
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def opened(browser, served):
    """Opens the page; afterwards nothing failed, and nothing was asked of another host."""
    said, asked, tabs = [], [], []

    def open_page(size=WIDE):
        tab = browser.new_page(viewport=size)
        tab.set_default_timeout(90_000)  # of a machine that is busy
        tab.on("console", lambda m: None if m.text == OF_GRADIO else said.append(m.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(served.url)
        tab.wait_for_selector(".welcome")
        tabs.append(tab)
        return tab

    yield open_page
    for tab in tabs:
        tab.close()
    assert said == []
    assert [url for url in asked if not url.startswith((served.url, "data:", "blob:"))] == []


def send(tab, pixels=PIXELS, name="scene.png", **more):
    """Sends a photograph, and waits until both panes are drawn."""
    stored = io.BytesIO()
    Image.fromarray(pixels).save(stored, "PNG", **more)
    tab.set_input_files("input[type=file]", [file(name, stored.getvalue())])
    tab.wait_for_function("document.querySelectorAll('.stage canvas').length === 2")


def file(name, content):
    return {"name": name, "mimeType": "image/png", "buffer": content}


def drawn(tab, pane):
    """What is drawn over the photograph, uint8 RGBA."""
    canvas = tab.locator(".stage canvas").nth(pane)
    size = canvas.evaluate("canvas => [canvas.height, canvas.width]")
    return np.array(canvas.evaluate(COLOURS), np.uint8).reshape(*size, 4)


def painted(label, hidden):
    colours = np.dstack([class_palette(7)[label], np.full(label.shape, 255)])
    return np.where(np.isin(label, hidden)[..., None], 0, colours).astype(np.uint8)


def test_from_the_photograph_to_the_label(opened, served, tmp_path):
    tab, before = opened(), len(served.runs)
    assert tab.title() == "grays, stored · fcn_jax"
    assert "grays knows 7 classes: background, gray 1" in tab.inner_text(".welcome")
    send(tab)
    np.testing.assert_array_equal(drawn(tab, 0), painted(LABEL, [0]))
    np.testing.assert_array_equal(drawn(tab, 1), painted(served.stored(PIXELS), [0]))
    requests = []
    tab.on("request", lambda request: requests.append(request.url))
    tab.locator(".controls input").fill("25")
    assert tab.inner_text(".controls output") == "25 %"
    for pane in (0, 1):
        assert tab.locator(".stage canvas").nth(pane).evaluate("c => c.style.opacity") == "0.25"
    most = int(np.bincount(LABEL.ravel())[1:].argmax()) + 1
    tab.locator(".legend").first.get_by_text(NAMES[most]).click()
    np.testing.assert_array_equal(drawn(tab, 0), painted(LABEL, [0, most]))
    tab.get_by_text("Show all").click()
    np.testing.assert_array_equal(drawn(tab, 0), painted(LABEL, []))
    tab.get_by_text("Hide all").click()
    assert not drawn(tab, 0).any() and not drawn(tab, 1).any()
    assert requests == [] and len(served.runs) == before + 1

    stage = tab.locator(".stage").first
    box = stage.bounding_box()
    row, column = 33, 71
    where = {"x": (column + 0.5) * box["width"] / 120, "y": (row + 0.5) * box["height"] / 90}
    stage.click(position=where)
    tab.wait_for_selector(".probability")
    p = np.exp(expected_scores(PIXELS)[row, column])
    p /= p.sum()
    bars = tab.locator(".bars").first
    assert bars.inner_text().startswith(f"Row {row}, column {column}")
    assert tab.inner_text(".tip") == NAMES[LABEL[row, column]]
    names = bars.locator(".probability > :first-child").all_inner_texts()
    assert len(names) == 5 and names[:2] == [NAMES[k] for k in np.argsort(-p)[:2]]
    numbers = bars.locator(".number").all_inner_texts()
    assert float(numbers[0].split()[0]) == pytest.approx(100 * p.max(), abs=0.2)
    widths = bars.locator(".bar").evaluate_all("all => all.map(x => parseFloat(x.style.width))")
    assert widths == sorted(widths, reverse=True)
    assert widths[0] == pytest.approx(100 * p.max(), abs=0.1)
    assert tab.locator(".cross:visible").count() == tab.locator(".bars:has(.bar)").count() == 2
    stage.press("Shift+ArrowRight")
    tab.wait_for_function(
        f"document.querySelector('.bars').innerText.startsWith('Row {row}, column {column + 1}')"
    )
    assert len(served.runs) == before + 1

    with tab.expect_download() as download:
        tab.get_by_text("Download label: grays").click()
    assert download.value.suggested_filename == "scene_label_grays.png"
    download.value.save_as(tmp_path / "label.png")
    with Image.open(tmp_path / "label.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), LABEL)
        colours = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(colours, class_palette(7)[LABEL])


def test_what_is_no_photograph_gets_a_message_and_the_next_one_is_drawn(opened, capfd):
    tab = opened()
    large = io.BytesIO()
    Image.new("RGB", (300, 200)).save(large, "PNG")
    for content, said in (
        (b"these are words", "holiday.jpg: expected an image"),
        (large.getvalue(), "holiday.jpg: 300x200 pixels are 0.06 megapixels, and at most 0.05"),
    ):
        tab.set_input_files("input[type=file]", [file("holiday.jpg", content)])
        tab.locator("[role=alert]", has_text=said).wait_for()
        assert tab.locator(".stage").count() == 0
        tab.get_by_label("Remove Image").click()
        tab.wait_for_selector(".welcome")
    send(tab)
    np.testing.assert_array_equal(drawn(tab, 0), painted(LABEL, [0]))
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_file_that_is_too_large_is_refused_before_it_is_read(opened, served):
    tab, before = opened(), len(served.runs)
    tab.set_input_files("input[type=file]", [file("large.png", bytes(600_000))])
    tab.get_by_text("maximum allowed size").first.wait_for()
    assert len(served.runs) == before and tab.locator(".welcome").count() == 1


def test_a_photograph_is_shown_upright(opened):
    turned = Image.Exif()
    turned[0x0112] = 6
    tab = opened()
    send(tab, exif=turned)
    np.testing.assert_array_equal(drawn(tab, 0), painted(np.rot90(LABEL, -1), [0]))


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_everything_fits_and_the_keyboard_reaches_it(opened, size):
    tab = opened(size)
    send(tab)
    widths = tab.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert widths[0] <= widths[1]
    boxes = tab.locator(".stage").evaluate_all("all => all.map(x => x.getBoundingClientRect())")
    assert all(box["left"] >= 0 and box["right"] <= size["width"] for box in boxes)
    assert (boxes[0]["top"] == boxes[1]["top"]) == (size is WIDE)  # side by side
    assert all(box["width"] / box["height"] == pytest.approx(120 / 90, abs=0.02) for box in boxes)
    reached = set()
    tab.locator(".controls input").focus()
    for _ in range(30):
        reached.add(tab.evaluate("document.activeElement.className || document.activeElement.type"))
        tab.keyboard.press("Tab")
    assert {"range", "button", "stage", "checkbox"} <= reached


def test_files_of_the_machine_are_not_read(opened, served, tmp_path):
    """Of what a request names, only what was sent counts."""
    secret, before = tmp_path / "secret.png", len(served.runs)
    secret.write_bytes(as_png(PIXELS))
    named = {"path": str(secret), "meta": {"_type": "gradio.FileData"}}
    asked = {"data": [named], "fn_index": 0, "session_hash": "someone"}
    requests = opened().request
    assert requests.post(f"{served.url}/gradio_api/queue/join", data=asked).ok
    events = requests.get(f"{served.url}/gradio_api/queue/data?session_hash=someone").text()
    assert '"success":false' in events and "jpeg" not in events and len(served.runs) == before


def test_users_wait_for_each_other(opened, served):
    """One photograph is computed at a time; the others' users see their place."""
    tabs, before = [opened() for _ in range(3)], len(served.runs)
    served.free.clear()
    try:
        for tab in tabs:
            tab.set_input_files("input[type=file]", [file("a.png", as_png(PIXELS))])
            served.started.wait(30)
        for tab in tabs[1:]:
            tab.get_by_text("queue:").first.wait_for()
        assert len(served.runs) == before + 1
    finally:
        served.free.set()
    for tab in tabs:
        tab.wait_for_selector(".stage canvas")
    assert served.runs[before:] == [1, 1, 1]


def as_png(pixels):
    stored = io.BytesIO()
    Image.fromarray(pixels).save(stored, "PNG")
    return stored.getvalue()
