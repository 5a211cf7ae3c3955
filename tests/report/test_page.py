"""The page in a real browser: found, chosen, heard, read aloud, by night, and with names of all kinds."""

import base64
import io
import json

import numpy as np
import pytest
import soundfile
from browser import Browser, find_browser
from scipy.sparse import csr_array

from dcbmr.factorization.factors import Factors
from dcbmr.models.explain import WindowScores
from dcbmr.plays.songs import SongTable
from dcbmr.recommendation.recommender import Recommender
from dcbmr.report.hearing import Hearing, Sound
from dcbmr.report.page import Page
from dcbmr.report.report import save_page
from dcbmr.report.song_map import Measure, map_songs

pytest.importorskip("bokeh")
pytest.importorskip("openTSNE")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_browser() is None, reason="no chromium, nor Chrome: the page is not tried"),
]

N_SONGS = 120
TITLES = {
    0: "<b>bold</b> & <img src=x onerror=\"document.title='broken'\">",
    1: "شارع الحب",
    2: "夜に駆ける",
    3: "long " * 60,
    4: "Été à Montréal",
    5: "",
}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    rng = np.random.default_rng(0)
    users, songs = rng.standard_normal((40, 5)), rng.standard_normal((N_SONGS, 5))
    plays = (rng.random((40, N_SONGS)) < 0.2).astype(np.float32)
    ids = [f"s{i}" for i in range(N_SONGS)]
    factors = Factors(user_factors=users, song_factors=songs, counts=csr_array(plays), song_ids=ids)
    table = SongTable(
        ids,
        [f"artist {i % 9}" for i in range(N_SONGS)],
        [TITLES.get(i, f"title {i}") for i in range(N_SONGS)],
    )
    (folder / "audio").mkdir()
    soundfile.write(folder / "audio" / "a song.wav", 0.1 * rng.standard_normal(64000), 8000)  # eight seconds
    clip = io.BytesIO()
    soundfile.write(clip, 0.1 * rng.standard_normal(16000), 8000, format="WAV")
    clip_url = f"data:audio/wav;base64,{base64.b64encode(clip.getvalue()).decode()}"
    starts = np.array([0.0, 2.0, 4.0])
    heard = Hearing(
        model="cnn",
        n_songs=2,
        factors={},
        units={3: [Sound(0, TITLES[0], 2.0, 6.0), Sound(7, "title 7", 1.0, 3.0, clip=clip_url)]},
        n_units=9,
        seconds={0: WindowScores("s0", starts, starts + 4, np.array([-1.0, 2.0, 0.5]))},
    )
    cold = np.arange(N_SONGS) >= 100
    first = Recommender(factors, ids, songs, is_predicted=cold)
    page = Page(
        "A page",
        curves={"cnn": [(0.5, 0.1), (1.0, 0.2)]},
        hearing=heard,
        songs=map_songs(
            {"first": first, "second": Recommender(factors, ids, rng.standard_normal((N_SONGS, 5)))},
            songs=table,
            measures=[Measure("listeners", "users who play it", first.n_listeners.astype(np.float32))],
            audio={"s0": "audio/a%20song.wav", "s1": "audio/gone.wav"},
        ),
    )
    save_page(folder / "report.html", page)
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser():
    with Browser(find_browser()) as one:
        yield one


@pytest.fixture
def opened(browser, file):
    browser.resize(1200, 900)
    browser.open(file)
    browser.wait("'ready' in document.documentElement.dataset")
    browser.errors.clear()
    return browser


def text(browser, selector):
    return browser.js(f"document.querySelector({json.dumps(selector)}).innerText")


def search(browser, words):
    browser.js("document.getElementById('search').focus()")
    browser.js("document.getElementById('search').select()")
    for letter in words:
        browser.key(letter)


def titles(browser):
    return browser.js("[...document.querySelectorAll('#table .link')].map((one) => one.textContent)")


def test_nothing_is_fetched_and_nothing_goes_wrong(browser, file):
    browser.errors.clear()
    browser.open(file)
    browser.wait("'ready' in document.documentElement.dataset")
    assert browser.errors == []
    assert browser.fetched == []
    assert (
        browser.js("(() => { try { eval('1'); return 'evaluates' } catch { return 'refuses' } })()")
        == "refuses"
    )
    assert browser.js("fetch('https://example.org').then(() => 'fetched', () => 'refused')") == "refused"


@pytest.mark.parametrize(
    ("words", "found"),
    [("ete a mon", [4]), ("شارع", [1]), ("駆け", [2]), ("s117", [117]), ("artist 3 title 12", [12])],
)
def test_songs_are_found(opened, words, found):
    search(opened, words)
    wanted = [TITLES.get(i, f"title {i}") for i in found if i < N_SONGS]
    assert titles(opened) == wanted
    assert f"{len(wanted)} of 120" in text(opened, "#found")
    search(opened, "zzz")
    assert titles(opened) == []
    assert "0 of 120" in text(opened, "#found")


def test_a_song_is_chosen_with_the_keyboard_and_heard(opened):
    search(opened, "bold")
    opened.key("Enter")
    assert text(opened, "#song h3") == TITLES[0]
    opened.wait("document.getElementById('player').currentTime > 0")
    assert opened.js("document.title") == "A page"  # its title is text
    lists = opened.js("[...document.querySelectorAll('#song ol')].map((one) => one.children.length)")
    assert lists == [10, 10]
    assert "Nearest, first" in text(opened, "#song")
    opened.js("document.querySelector('#song ol .link').click()")
    assert text(opened, "#song h3") != TITLES[0]
    assert opened.js("document.querySelector('tr[aria-selected=true] .link') === null")  # not among the found


def test_audio_that_is_not_there_is_told(opened):
    search(opened, "s1")
    opened.js("document.querySelector('#table tr[data-song=\"1\"] .link').click()")
    opened.wait("!document.getElementById('trouble').hidden")
    assert "audio/gone.wav, beside this page" in text(opened, "#trouble")
    search(opened, "s7")
    opened.key("Enter")
    assert "There is no audio of “title 7”" in text(opened, "#trouble")
    assert opened.js("document.getElementById('player').hidden")


def test_seconds_that_speak_for_a_song_are_shown_and_heard(opened):
    search(opened, "bold")
    opened.key("Enter")
    assert not opened.js("document.getElementById('speech').hidden")
    # What speaks for it stands above the average, what speaks against it below, each up to the next.
    assert opened.js("document.getElementById('for').getAttribute('d')") == "M3 0V-2H5V0zM5 0V-0.5H8V0z"
    assert opened.js("document.getElementById('against').getAttribute('d')") == "M0 0V1H3V0z"
    assert text(opened, "#best") == "0:02 to 0:06"
    assert "+2.0; the whole song: +0.50" in text(opened, "#speaks")
    opened.js("document.getElementById('best').click()")
    opened.wait("document.getElementById('player').currentTime >= 2")
    assert opened.js("document.getElementById('player').src").endswith("audio/a%20song.wav#t=2,6")
    box = opened.js(
        "(({x, y, width, height}) => [x, y, width, height])("
        "document.getElementById('strip').getBoundingClientRect())"
    )
    opened.click(box[0] + 0.75 * box[2], box[1] + box[3] / 2)
    opened.wait("Math.abs(document.getElementById('player').currentTime - 6) < 1.5")
    opened.wait("document.getElementById('head').getAttribute('d').startsWith('M')")
    search(opened, "s7")
    opened.key("Enter")
    assert opened.js("document.getElementById('speech').hidden")


def test_windows_of_units_are_heard(opened):
    opened.js("document.querySelector('.units').closest('details').open = true")
    first, second = "document.querySelectorAll('.sound')[0]", "document.querySelectorAll('.sound')[1]"
    opened.js(f"{first}.click()")
    assert text(opened, "#song h3") == TITLES[0]
    assert opened.js("document.getElementById('player').src").endswith("#t=2,6")
    opened.js(f"{second}.click()")
    assert text(opened, "#now-title").startswith("title 7")
    assert opened.js("document.getElementById('player').src").startswith("data:audio/wav")
    opened.wait("document.getElementById('player').currentTime > 0")
    assert opened.errors == []


def test_a_song_is_chosen_before_the_map_is_drawn(browser, file):
    source = """
    new MutationObserver((_, observer) => {
      const link = document.querySelector('#table .link');
      if (!link) return;
      observer.disconnect();
      window.drawnBefore = 'ready' in document.documentElement.dataset;
      link.click();
    }).observe(document, { childList: true, subtree: true });
    """
    script = browser.call("Page.addScriptToEvaluateOnNewDocument", source=source)["identifier"]
    browser.errors.clear()
    browser.open(file)
    browser.wait("'ready' in document.documentElement.dataset")
    browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
    assert browser.js("window.drawnBefore") is False
    assert browser.errors == []
    assert text(browser, "#song h3") == titles(browser)[0].strip()


def test_a_click_on_the_map_chooses_the_song(opened):
    at = opened.js("""(() => {
      const figure = Bokeh.documents.map((one) => one.get_model_by_name('map')).find(Boolean);
      const view = Bokeh.index.get_one ? Bokeh.index.get_by_id(figure.id) : Bokeh.index[figure.id];
      const data = figure.document.get_model_by_name('songs').data;
      document.getElementById('map').scrollIntoView({block: 'center'});
      const box = view.canvas_view.el.getBoundingClientRect();
      return [box.x + view.frame.x_scale.compute(data.x[50]), box.y + view.frame.y_scale.compute(data.y[50])];
    })()""")
    opened.click(*at)
    opened.wait("document.querySelector('#song h3') !== null")
    assert text(opened, "#song h3") == "title 50"
    assert "with plays in training" in text(opened, "#song")


def test_colours_have_shapes_and_a_legend(opened):
    looks = """(({data}) => [new Set(data.marker).size, new Set(data.colour).size,
        data.filled.filter((part) => part === 0).length]
    )(Bokeh.documents.map((one) => one.get_model_by_name('songs')).find(Boolean))"""
    by = (
        "(s => {{ s.value = '{}'; s.dispatchEvent(new Event('change')) }})(document.getElementById('colour'))"
    )
    opened.js(by.format("artist"))
    assert opened.js(looks) == [7, 8, 20]  # the others are circles, too, and grey
    assert opened.js("document.querySelectorAll('#legend li').length") == 8
    opened.js(by.format("listeners"))
    n_shapes, n_colours, _ = opened.js(looks)
    assert n_shapes == 1
    assert n_colours >= 5
    assert "users who play it" in text(opened, "#legend")


def test_the_table_has_all_songs_page_by_page(opened):
    assert len(titles(opened)) == 50
    for _ in range(2):
        opened.js("document.getElementById('after').click()")
    assert len(titles(opened)) == 20
    assert opened.js("document.getElementById('after').disabled")
    assert text(opened, "#which") == "101 to 120 of 120"
    tree = opened.call("Accessibility.getFullAXTree")["nodes"]
    names = {
        node["name"]["value"]
        for node in tree
        if node.get("role", {}).get("value") == "button" and "name" in node
    }
    assert {"title 119", "Previous", "Next"} <= names


def test_a_theme_by_the_system_and_by_hand(browser, file):
    def colours():
        return browser.js(
            "[getComputedStyle(document.body).backgroundColor, Bokeh.documents.map((one) => "
            "one.get_model_by_name('curves')).find(Boolean).below[0].major_label_text_color]"
        )

    seen = {}
    for scheme in ("light", "dark"):
        browser.open(file, scheme=scheme)
        browser.wait("'ready' in document.documentElement.dataset")
        seen[scheme] = colours()
    assert seen["light"][0] != seen["dark"][0]
    assert seen["light"][1] != seen["dark"][1]
    browser.js("document.getElementById('theme').click()")
    assert colours() == seen["light"]


@pytest.mark.parametrize("width", [400, 1200])
def test_nothing_is_wider_than_the_screen(browser, file, width):
    browser.resize(width, 800)
    browser.open(file)
    browser.wait("'ready' in document.documentElement.dataset")
    search(browser, "long")
    browser.key("Enter")
    assert text(browser, "#song h3") == TITLES[3].strip()
    assert browser.js("document.documentElement.scrollWidth") <= width
    search(browser, "شارع")
    assert browser.js("getComputedStyle(document.querySelector('#table .link')).direction") == "rtl"
