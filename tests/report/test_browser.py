"""The page in a real browser: nothing asked of the network, no error, no axe finding, nothing wider than a phone.

Skipped, visibly, where no Chromium is installed (Debian: apt-get install chromium).
"""

import functools
import html
import http.server
import importlib.util
import json
import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from sample_reports import HOSTILE, renamed_report, whole_report

from patience import patience
from safecompress.report import to_html

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)
PHONE, DESK = 390, 1280
SCHEMES = {"light": [], "dark": ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"]}

pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"no browser: none of {', '.join(BROWSERS)} is installed")


class Site:
    """A folder served to the browser. It is also the browser's proxy, so that it hears of every address asked for."""

    def __init__(self, folder):
        site, self.folder, self.asked = self, folder, []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self):
                site.asked.append(self.path)
                self.path = re.sub(r"^http://[^/]*", "", self.path)
                super().do_GET()

            def do_CONNECT(self):
                site.asked.append(self.path)
                self.send_error(502)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
        )
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def open(self, page, *, width=DESK, flags=()):
        """The page's document once all has run (``page`` is a file of the folder), and what the console said."""
        (self.folder / "page.html").write_text(page)
        done = subprocess.run(
            [
                BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
                "--disable-features=OptimizationHints,MediaRouter", "--disable-extensions",
                f"--user-data-dir={self.folder / 'profile'}", f"--proxy-server={self.address}",
                "--proxy-bypass-list=<-loopback>", "--enable-logging=stderr", "--v=0", f"--window-size={width},900",
                "--virtual-time-budget=8000", *flags, "--dump-dom", "http://report.invalid/page.html",
            ],
            capture_output=True, text=True, timeout=patience(30), check=False,
        )  # fmt: skip
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(scope="module")
def page():
    return to_html(whole_report())


def asked_for(site):
    """What the page asked for: the browser's own errands go to its maker's hosts."""
    return [url for url in site.asked if not re.search(r"google|gstatic|gvt1|chromium", url)]


def without_policy(page):
    """The page as it would be without its policy, so that a test's own script may look at it."""
    return re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", page)


def result_of(dom):
    """What a test's script left in the document."""
    return json.loads(html.unescape(re.search(r'<pre id="result">(.*?)</pre>', dom, flags=re.S).group(1)))


LEAVE = """
  const result = document.createElement('pre');
  result.id = 'result';
  result.textContent = JSON.stringify(found);
  document.body.append(result);
"""


def test_nothing_is_asked_and_nothing_goes_wrong(site, page):
    dom, said = site.open(page)
    assert "All 4 requirements hold" in dom or "requirements are broken" in dom or "<h1>" in dom
    assert said == []
    assert asked_for(site) == ["http://report.invalid/page.html"]


def test_the_test_hears_of_what_a_page_asks_for(site, page):
    """The check above can fail: without the policy a picture is fetched and a script runs; with it neither."""
    harm = '<img src="http://elsewhere.invalid/x.png"><script>console.error("ran")</script></body>'
    _, said = site.open(page.replace("</body>", harm))  # first: what the other page asks for may come in late
    assert asked_for(site) == ["http://report.invalid/page.html"]
    assert said and not any('"ran"' in line for line in said)  # the policy says what it stopped
    _, said = site.open(without_policy(page).replace("</body>", harm))
    assert any("elsewhere.invalid" in url for url in site.asked) and any("ran" in line for line in said)


def test_hostile_names_run_nothing(site):
    dom, said = site.open(to_html(renamed_report(HOSTILE)))
    assert said == [] and asked_for(site) == ["http://report.invalid/page.html"]
    assert "&lt;script&gt;alert(1)" in dom


MEASURE = """<script>addEventListener('load', () => {
  const frame = document.querySelector('iframe'), inside = frame.contentDocument, view = frame.contentWindow;
  const box = (one) => one.getBoundingClientRect();
  const pictures = [...inside.querySelectorAll('svg')].filter((one) => one.checkVisibility());
  const colour = view.getComputedStyle(inside.body).backgroundColor;
  const found = {
    overflow: inside.documentElement.scrollWidth - inside.documentElement.clientWidth,
    pictures: pictures.map((one) => [box(one).width, box(one).height]),
    small: pictures.flatMap((one) => [...one.querySelectorAll('text')])
      .map((one) => [one.textContent, parseFloat(view.getComputedStyle(one).fontSize) * one.getScreenCTM().a])
      .filter((one) => one[1] < 8.5),
    colour, words: inside.querySelector('h1').innerText,
  };
  LEAVE
})</script>""".replace("LEAVE", LEAVE)


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_a_desk_in_both_schemes(width, scheme, site, page):
    """In a frame as wide as the screen: nothing sticks out, every picture has a size, letters can be read."""
    (site.folder / "inner.html").write_text(page)
    frame = f'<iframe src="inner.html" width="{width}" height="900" style="border:0"></iframe>'
    dom, said = site.open(f"<!doctype html><body>{frame}{MEASURE}", flags=SCHEMES[scheme])
    found = result_of(dom)
    assert said == []
    assert found["overflow"] == 0
    assert len(found["pictures"]) >= 12 and min(min(size) for size in found["pictures"]) >= 25
    assert found["small"] == []
    assert found["words"].split()[0] == "digits"
    assert found["colour"] == {"light": "rgb(255, 255, 255)", "dark": "rgb(17, 22, 28)"}[scheme]


def test_hostile_names_do_not_widen_it(site):
    (site.folder / "inner.html").write_text(to_html(renamed_report(HOSTILE * 3)))
    frame = f'<iframe src="inner.html" width="{PHONE}" height="900" style="border:0"></iframe>'
    found = result_of(site.open(f"<!doctype html><body>{frame}{MEASURE}")[0])
    assert found["overflow"] == 0


def axe():
    """axe-core's source, from whichever package brings it."""
    for name in ("axe_core_python", "axe_playwright_python"):
        package = importlib.util.find_spec(name)
        if package is not None:
            return (Path(package.origin).parent / "axe.min.js").read_text(encoding="utf-8")
    pytest.skip("no axe-core: pip install axe-core-python")


AXE = """<script>SOURCE</script><script>addEventListener('load', async () => {
  document.querySelectorAll('details').forEach((one) => { one.open = true; });
  const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'];
  const told = await axe.run(document, { runOnly: rules });
  const where = (one) => one.nodes.map((node) => node.html.slice(0, 160));
  const found = { passes: told.passes.length, violations: told.violations.map((one) => [one.id, where(one)]) };
  LEAVE
})</script></body>""".replace("LEAVE", LEAVE)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(scheme, site, page):
    source = axe().replace("</script", "<\\/script")
    dom, _ = site.open(without_policy(page).replace("</body>", AXE.replace("SOURCE", source)), flags=SCHEMES[scheme])
    found = result_of(dom)
    assert found["violations"] == []
    assert found["passes"] > 15


def test_it_prints_with_everything_open(site, page):
    (site.folder / "inner.html").write_text(page)
    printed = site.folder / "report.pdf"
    site.open(page, flags=[f"--print-to-pdf={printed}", "--no-pdf-header-footer"])
    assert printed.read_bytes().startswith(b"%PDF") and printed.stat().st_size > 20_000
