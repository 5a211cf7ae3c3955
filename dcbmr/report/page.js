"use strict";
// The page's own script: it fills Bokeh's figures, searches, plays, and shows what is near a song.
(() => {
  const $ = (id) => document.getElementById(id);
  const read = (id) => JSON.parse($(id).textContent);
  const songs = read("songs-data");
  const charts = read("charts-data");
  const ROWS = 50;
  const MARKS = 2000; // rings around what was found
  // Okabe and Ito: told apart without colour vision, and each with a shape of its own.
  const LOOKS = [["#0072b2", "circle"], ["#d55e00", "square"], ["#009e73", "triangle"], ["#cc79a7", "diamond"],
    ["#e69f00", "inverted_triangle"], ["#56b4e9", "hex"], ["#8a6d3b", "star"]];
  const OTHERS = ["#8d98a3", "circle"];
  // From dark to bright, so that it is read as grey, too (cividis).
  const SCALE = ["#00306f", "#3c4d6e", "#666970", "#878479", "#aba074", "#d2be61", "#fde737"];
  const PATHS = { circle: "M6 1a5 5 0 1 0 .01 0z", square: "M1.5 1.5h9v9h-9z", triangle: "M6 1l5.5 10h-11z",
    diamond: "M6 0l5 6-5 6-5-6z", inverted_triangle: "M.5 1h11L6 11z", hex: "M3 1h6l3 5-3 5H3L0 6z",
    star: "M6 0l1.6 4H12L8.5 6.7 9.8 11 6 8.4 2.2 11l1.3-4.3L0 4h4.4z" };

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
  const decode = (text, Type) => new Type(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const n = songs.ids.length;
  const x = decode(songs.x, Float32Array), y = decode(songs.y, Float32Array), cold = decode(songs.cold, Uint8Array);
  const labels = songs.labels.map((label) => ({ ...label, codes: decode(label.codes, Int32Array) }));
  const measures = songs.measures.map((one) => ({ ...one, values: decode(one.values, Float32Array) }));
  const near = songs.neighbours.map((one) => ({ ...one, rows: decode(one.rows, Int32Array) }));
  const listeners = songs.listenersPlay &&
    { ...songs.listenersPlay, codes: decode(songs.listenersPlay.codes, Int32Array) };
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
      const of = SCALE.map((colour) => [colour, "circle"]);
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
    const [look, legend] = looksBy($("colour").value);
    const size = Math.max(4, Math.min(10, 1200 / Math.sqrt(n * 4)));
    points.data = { x, y, colour: look.map((one) => one[0]), marker: look.map((one) => one[1]),
      filled: Float32Array.from(cold, (is) => (is ? 0 : 0.75)), size: new Float32Array(n).fill(size),
      title: columns.title, artist: columns.artist, tags: columns.tags };
    $("legend").replaceChildren(...legend.map(([one, text]) => {
      const item = element("li", "", { title: text });
      if (one) {
        const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
        const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
        svg.setAttribute("viewBox", "0 0 12 12");
        svg.setAttribute("aria-hidden", "true");
        path.setAttribute("d", PATHS[one[1]]);
        path.setAttribute("fill", one[0]);
        svg.append(path);
        item.append(svg);
      }
      item.append(element("bdi", text));
      return item;
    }));
  }
  function paintMarks() {
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
  function choose(i) {
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
    play_(i);
    paintMarks();
    bringIntoView(i);
    for (const line of $("table").tBodies[0].rows) line.setAttribute("aria-selected", line.dataset.song === String(i));
  }
  function bringIntoView(i) {
    for (const [range, at] of [[map.x_range, x[i]], [map.y_range, y[i]]]) {
      const half = (range.end - range.start) / 2;
      if (at < range.start || at > range.end) range.setv({ start: at - half, end: at + half });
    }
  }
  function play_(i) {
    const player = $("player"), audio = audioOf(i);
    say("");
    player.hidden = !audio;
    if (!audio) {
      player.removeAttribute("src");
      player.load();
      if (songs.audio) say(`There is no audio of “${titleOf(i)}” with this page.`);
      return;
    }
    player.src = audio;
    player.play().catch(() => {}); // what is wrong with a file comes as an event
  }
  const say = (words) => Object.assign($("trouble"), { textContent: words, hidden: !words });
  $("player").addEventListener("error", () => {
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
    points.selected.properties.indices.change.connect(() => {
      const hit = points.selected.indices;
      if (hit.length) choose(hit[hit.length - 1]);
    });
    document.documentElement.dataset.ready = "";
  });
})();
