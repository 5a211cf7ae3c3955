"use strict";
// The page's own script: it fills Bokeh's figures, searches, plays, and shows what is near a song and speaks for it.
(() => {
  const $ = (id) => document.getElementById(id);
  const ARRAYS = { f4: Float32Array, i4: Int32Array, u1: Uint8Array };
  const read = (id) => JSON.parse($(id).textContent, (_, value) => (value?.base64 === undefined ? value :
    new ARRAYS[value.dtype](Uint8Array.from(atob(value.base64), (c) => c.charCodeAt(0)).buffer)));
  const songs = read("songs-data");
  const charts = read("charts-data");
  const ROWS = 50;
  const MARKS = 2000; // rings around what was found
  // Okabe and Ito: told apart without colour vision, and each with a shape of its own.
  const LOOKS = [["#0072b2", "circle", "●"], ["#d55e00", "square", "■"], ["#009e73", "triangle", "▲"], ["#cc79a7", "diamond", "◆"],
    ["#e69f00", "inverted_triangle", "▼"], ["#56b4e9", "plus", "✚"], ["#8a6d3b", "star", "★"]];
  const OTHERS = ["#8d98a3", "circle", "●"];
  // From dark to bright, so that it is read as grey, too (cividis).
  const SCALE = ["#00306f", "#3c4d6e", "#666970", "#878479", "#aba074", "#d2be61", "#fde737"];

  const element = (name, text = "", properties = {}) => {
    const made = Object.assign(document.createElement(name), properties);
    made.textContent = text; // never as HTML: a title may hold any
    return made;
  };

  // ---- theme
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  const drawn = [];
  function paintTheme() {
    $("theme").textContent = isDark() ? "Light" : "Dark";
    const style = getComputedStyle(document.documentElement);
    const [muted, line] = ["--muted", "--line"].map((name) => style.getPropertyValue(name).trim());
    for (const figure of drawn) {
      for (const axis of [...figure.below, ...figure.left]) {
        Object.assign(axis, { axis_label_text_color: muted, major_label_text_color: muted, axis_line_color: line,
          major_tick_line_color: line, minor_tick_line_color: line });
      }
      for (const grid of figure.center) {
        if (grid.type === "Grid") grid.grid_line_color = line;
        if (grid.type === "Legend") grid.label_text_color = muted;
      }
    }
  }
  $("theme").hidden = false;
  $("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    paintTheme();
  });
  dark.addEventListener("change", paintTheme);

  async function draw(name) {
    await Bokeh.embed.embed_item(charts[name], name);
    const figure = Bokeh.documents.map((one) => one.get_model_by_name(name)).find(Boolean);
    drawn.push(figure);
    paintTheme();
    return figure;
  }
  if (charts.curves) draw("curves");
  paintTheme();
  if (!songs) return;

  // ---- the songs
  const n = songs.ids.length;
  const { x, y, cold, labels, measures, neighbours: near, listenersPlay: listeners, seconds } = songs;
  const row = (of, i) => of.subarray(i * (of.length / n), (i + 1) * (of.length / n));
  const values = (label, i) => (label ? Array.from(row(label.codes, i)).filter((c) => c >= 0).map((c) => label.values[c]) : []);
  const labelled = (name) => labels.find((label) => label.name === name);
  const titleOf = (i) => songs.titles?.[i] || songs.ids[i];
  const artistOf = (i) => values(labelled("artist"), i).join(", ");
  const tagsOf = (i) => values(labelled("tag"), i).join(", ");
  const audioOf = (i) => songs.audio?.[i] ? songs.audioStart + songs.audio[i] : null;
  const fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const number = (value) => Number.isNaN(value) ? "" : Number.isInteger(value) ? value.toLocaleString("en") : value.toFixed(3);

  // ---- the map
  let map, points, marks, chosen = -1, matches = null, page = 0;
  function looksBy(name) {
    const label = labels.find((one) => one.name === name);
    const measure = measures.find((one) => one.name === name);
    const look = new Array(n), legend = [];
    if (label) {
      const count = new Map();
      for (let i = 0; i < n; i++) {
        const code = row(label.codes, i)[0];
        if (code >= 0) count.set(code, (count.get(code) ?? 0) + 1);
      }
      const most = [...count].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, LOOKS.length).map(([code]) => code);
      const of = new Map(most.map((code, k) => [code, LOOKS[k]]));
      for (let i = 0; i < n; i++) look[i] = of.get(row(label.codes, i)[0]) ?? OTHERS;
      most.forEach((code) => legend.push([of.get(code), label.values[code]]));
      if (look.includes(OTHERS)) legend.push([OTHERS, "others"]);
    } else if (measure) {
      const sorted = measure.values.filter((value) => !Number.isNaN(value)).sort();
      const ends = SCALE.map((_, k) => sorted[Math.floor((k * sorted.length) / SCALE.length)]);
      const place = (value) => ends.reduce((found, end, k) => (value >= end ? k : found), 0);
      const of = SCALE.map((colour) => [colour, "circle", "●"]);
      for (let i = 0; i < n; i++) look[i] = Number.isNaN(measure.values[i]) ? OTHERS : of[place(measure.values[i])];
      ends.forEach((end, k) => { if (end !== ends[k + 1]) legend.push([of[k], `from ${number(end)}`]); });
      if (look.includes(OTHERS)) legend.push([OTHERS, "none"]);
      legend.push([null, measure.meaning]);
    } else {
      look.fill(LOOKS[0]);
    }
    return [look, legend];
  }
  function paintMap() {
    if (!map) return; // it is painted once it is drawn
    const [look, legend] = looksBy($("colour").value);
    const size = Math.max(4, Math.min(10, 1200 / Math.sqrt(n * 4)));
    points.data = { x, y, colour: look.map((one) => one[0]), marker: look.map((one) => one[1]),
      filled: Float32Array.from(cold, (is) => (is ? 0 : 0.75)), size: new Float32Array(n).fill(size),
      title: columns.title, artist: columns.artist, tags: columns.tags };
    $("legend").replaceChildren(...legend.map(([one, text]) => {
      const item = element("li", "", { title: text });
      if (one) item.append(element("span", one[2], { className: "mark", style: `color: ${one[0]}`, ariaHidden: "true" }));
      item.append(element("bdi", text));
      return item;
    }));
  }
  function paintMarks() {
    if (!map) return;
    const rings = (matches ?? []).slice(0, MARKS);
    const all = chosen < 0 ? rings : [...rings, chosen];
    marks.data = { x: all.map((i) => x[i]), y: all.map((i) => y[i]), size: all.map((i) => (i === chosen ? 18 : 11)) };
  }
  const columns = {};

  // ---- one song
  const link = (i) => {
    const button = element("button", titleOf(i), { type: "button", className: "link", dir: "auto", title: titleOf(i) });
    button.addEventListener("click", () => choose(i));
    return button;
  };
  function listOf(i) {
    const item = element("li");
    const box = element("span", "", { className: "clamped" });
    box.append(link(i), element("bdi", artistOf(i) ? ` ${artistOf(i)}` : "", { className: "muted" }));
    item.append(box);
    return item;
  }
  function choose(i, piece = {}) {
    chosen = i;
    const parts = [element("h3", titleOf(i), { dir: "auto" }), element("div", artistOf(i), { className: "muted", dir: "auto" }),
      element("div", tagsOf(i), { className: "muted", dir: "auto" })];
    const about = [cold[i] ? "without plays in training" : "with plays in training"];
    for (const one of measures) if (!Number.isNaN(one.values[i])) about.push(`${one.name}: ${number(one.values[i])}`);
    parts.push(element("div", about.join(" · "), { className: "muted" }));
    const both = element("div", "", { className: near.length > 1 ? "near" : "" });
    for (const one of near) {
      const list = element("ol");
      list.append(...Array.from(row(one.rows, i)).filter((j) => j >= 0).map(listOf));
      if (!list.children.length) list.append(element("li", "it does not know this song"));
      const box = element("div");
      box.append(element("h4", `Nearest, ${one.name}`), list);
      both.append(box);
    }
    parts.push(both);
    const play = values(listeners, i);
    if (play.length) parts.push(element("h4", "Who should like it plays"), element("div", play.join(", "), { dir: "auto" }));
    $("song").replaceChildren(...parts);
    hear(i, piece);
    paintMarks();
    bringIntoView(i);
    for (const line of $("table").tBodies[0].rows) line.setAttribute("aria-selected", line.dataset.song === String(i));
  }
  function bringIntoView(i) {
    if (!map) return;
    for (const [range, at] of [[map.x_range, x[i]], [map.y_range, y[i]]]) {
      const half = (range.end - range.start) / 2;
      if (at < range.start || at > range.end) range.setv({ start: at - half, end: at + half });
    }
  }

  // ---- its sound, or a piece of it, and which seconds speak for it
  const clock = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;
  const signed = (score) => `${score < 0 ? "−" : "+"}${Math.abs(score).toPrecision(2)}`;
  const player = $("player"), strip = $("strip");
  let begins = 0; // the second of the song in which what is played begins
  function hear(i, { from, to, clip }) {
    const song = audioOf(i), audio = clip ?? song, isClip = audio?.startsWith("data:");
    const part = paintSpeech(i);
    $("now").hidden = false;
    $("now-title").textContent = [titleOf(i), artistOf(i)].filter(Boolean).join(" · ");
    say("");
    player.hidden = !audio;
    if (!audio) {
      player.removeAttribute("src");
      player.load();
      if (songs.audio) say(`There is no audio of “${titleOf(i)}” with this page.`);
      return;
    }
    begins = clip ? from : isClip ? Math.max(0, (part - songs.clipSeconds) / 2) : 0; // a song's clip is its middle
    player.src = isClip || from === undefined ? audio : `${audio}#t=${from},${to}`;
    player.play().catch(() => {}); // what is wrong with a file comes as an event
  }
  function paintSpeech(i) { // returns where the song ends
    const k = seconds ? seconds.songs.indexOf(i) : -1;
    $("speech").hidden = k < 0;
    if (k < 0) return 0;
    const [starts, ends, scores] = ["starts", "ends", "scores"].map((part) => seconds[part].subarray(seconds.first[k], seconds.first[k + 1]));
    const middle = Array.from(starts, (start, j) => (start + ends[j]) / 2), end = ends[ends.length - 1];
    // Windows may overlap, or leave gaps: each is drawn up to halfway to the middle of the next.
    const edges = [starts[0], ...middle.slice(1).map((at, j) => (at + middle[j]) / 2), end];
    const high = Math.max(1e-9, ...scores), low = Math.min(0, ...scores); // what these listeners give the average song is 0
    const bars = (sign) => Array.from(scores, (score, j) => (score * sign > 0 ? `M${edges[j]} 0V${-score}H${edges[j + 1]}V0z` : "")).join("");
    strip.setAttribute("viewBox", `${starts[0]} ${-high} ${end - starts[0]} ${high - low}`);
    for (const [id, path] of [["for", bars(1)], ["against", bars(-1)], ["usual", `M${starts[0]} 0H${end}`], ["head", ""]]) $(id).setAttribute("d", path);
    const best = scores.indexOf(Math.max(...scores)), [from, to] = [starts[best], ends[best]];
    $("best").textContent = `${clock(from)} to ${clock(to)}`;
    $("score").textContent = `: ${signed(scores[best])}; the whole song: ${signed(scores.reduce((sum, score) => sum + score) / scores.length)}`;
    $("best").onclick = () => hear(i, { from, to });
    return end;
  }
  player.addEventListener("timeupdate", () => {
    const { y, height } = strip.viewBox.baseVal;
    $("head").setAttribute("d", `M${begins + player.currentTime} ${y}v${height}`);
  });
  strip.addEventListener("click", (event) => {
    const box = strip.getBoundingClientRect(), { x: start, width } = strip.viewBox.baseVal;
    if (player.hidden) return;
    player.currentTime = Math.max(0, start + ((event.clientX - box.left) / box.width) * width - begins);
    player.play().catch(() => {});
  });
  document.addEventListener("click", (event) => {
    const { song, from, to, clip } = event.target.closest(".sound")?.dataset ?? {};
    if (song) choose(Number(song), { from: Number(from), to: Number(to), clip });
  });
  const say = (words) => Object.assign($("trouble"), { textContent: words, hidden: !words });
  player.addEventListener("error", () => {
    if (chosen < 0 || !audioOf(chosen)) return;
    const audio = audioOf(chosen);
    say(audio.startsWith("data:") ? "This browser cannot play the clip." :
      `No audio that this browser plays lies at ${decodeURI(audio)}, beside this page. Keep the audio there, or make the page with --embed-audio.`);
  });

  // ---- search and table
  let keys = null;
  function search() {
    const words = fold($("search").value).split(/\s+/).filter(Boolean);
    keys ??= Array.from({ length: n }, (_, i) => fold(`${titleOf(i)} ${artistOf(i)} ${tagsOf(i)} ${songs.ids[i]}`));
    matches = words.length ? order.filter((i) => words.every((word) => keys[i].includes(word))) : null;
    $("found").textContent = matches ? `${matches.length.toLocaleString("en")} of ${n.toLocaleString("en")} songs` : "";
    page = 0;
    paintMarks();
    paintTable();
  }
  const order = Array.from({ length: n }, (_, i) => i);
  function paintTable() {
    const shown = matches ?? order, last = Math.max(0, Math.ceil(shown.length / ROWS) - 1);
    page = Math.min(Math.max(page, 0), last);
    $("table").tBodies[0].replaceChildren(...shown.slice(page * ROWS, (page + 1) * ROWS).map((i) => {
      const line = element("tr");
      line.dataset.song = i;
      line.setAttribute("aria-selected", i === chosen);
      const title = element("td", "", { className: "title left" });
      const box = element("span", "", { className: "clamped" });
      box.append(link(i));
      title.append(box);
      line.append(title);
      for (const label of labels) line.append(element("td", values(label, i).join(", "), { className: "words left", dir: "auto" }));
      for (const one of measures) line.append(element("td", number(one.values[i])));
      line.append(element("td", cold[i] ? "no" : "yes", { className: "left" }));
      return line;
    }));
    $("which").textContent = shown.length ? `${page * ROWS + 1} to ${Math.min((page + 1) * ROWS, shown.length)} of ${shown.length.toLocaleString("en")}` : "no song";
    $("before").disabled = page === 0;
    $("after").disabled = page === last;
  }
  const heads = element("tr");
  for (const [text, left, title] of [["title", true, ""], ...labels.map((label) => [label.name, true, ""]),
    ...measures.map((one) => [one.name, false, one.meaning]), ["plays in training", true, ""]]) {
    heads.append(element("th", text, { scope: "col", className: left ? "left" : "", title }));
  }
  $("table").tHead.append(heads);
  $("search").addEventListener("input", search);
  $("search").addEventListener("keydown", (event) => { if (event.key === "Enter" && matches?.length) choose(matches[0]); });
  $("before").addEventListener("click", () => { page--; paintTable(); });
  $("after").addEventListener("click", () => { page++; paintTable(); });
  for (const one of [...labels, ...measures]) $("colour").append(element("option", one.name, { value: one.name }));
  $("colour").parentElement.hidden = !$("colour").options.length;
  const few = labels.filter((label) => label.values.length > 1).sort((a, b) => a.values.length - b.values.length)[0];
  if (few) $("colour").value = few.name;
  $("colour").addEventListener("change", paintMap);
  paintTable();

  draw("map").then((figure) => {
    map = figure;
    [points, marks] = ["songs", "marks"].map((name) => figure.document.get_model_by_name(name));
    columns.title = order.map(titleOf);
    columns.artist = order.map(artistOf);
    columns.tags = order.map(tagsOf);
    paintMap();
    paintMarks();
    if (chosen >= 0) bringIntoView(chosen);
    points.selected.properties.indices.change.connect(() => {
      const hit = points.selected.indices;
      if (hit.length) choose(hit[hit.length - 1]);
    });
    document.documentElement.dataset.ready = "";
  });
})();
