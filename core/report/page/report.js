"use strict";
const report = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children; strings become text, never markup. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes))
    if (value !== null && value !== undefined) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}
function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}
const finite = (value) => typeof value === "number";
const tone = (method) => `--tone:var(--m${method % 8})`;
const number = (value, digits = 3) =>
  finite(value) ? value.toFixed(digits).replace("-", "−") : "–";
const short = (value) => finite(value)
  ? (Math.abs(value) >= 100 ? value.toFixed(0) : Number(value.toPrecision(3)).toString()).replace("-", "−")
  : "–";

// A unit: {layer, unit, methods: [{terms, bias, text, status, val, scores} or null]}.
const units = report.units.map(([layer, unit, methods], index) => ({
  index, layer, unit,
  methods: methods.map((m) => m && {terms: m[0], bias: m[1], text: m[2], status: m[3], val: m[4], scores: m[5], intervals: m[6]}),
}));
const key = (unit) => `${report.layers[unit.layer].name}/${unit.unit}`;
const scoreOf = (unit, method, score) => unit.methods[method]?.scores[score] ?? null;
// Methods by their mean score; the best one speaks for a unit where there is room for one only.
const meanScores = report.methods.map((_, m) => meanOf(units.map((u) => scoreOf(u, m, 0)))?.mean ?? -Infinity);
const ranked = report.methods.map((_, m) => m).sort((a, b) => meanScores[b] - meanScores[a] || a - b);
const main = ranked[0];
const of = (method) => report.methods.length > 1 ? ` of ${report.methods[method]}` : "";
const mainOf = (unit) => unit.methods[main] ?? unit.methods.find((m) => m);
const statusOf = (unit) => mainOf(unit)?.status ?? "ok";

function words(method) {
  if (!method) return "";
  if (method.text) return method.text;
  if (!method.terms.length) return "no explanation";
  if (method.terms.length === 1 && method.terms[0][1] === 1 && !method.bias) return method.terms[0][0];
  return method.terms.map(([concept, weight], i) =>
    `${weight < 0 ? (i ? "− " : "−") : i ? "+ " : ""}${Math.abs(weight).toFixed(2)} ${concept}`).join(" ");
}

// ---- overview ----------------------------------------------------------------------------------

function meanOf(values) {
  const some = values.filter(finite);
  if (!some.length) return null;
  const mean = some.reduce((a, b) => a + b, 0) / some.length;
  const squares = some.reduce((a, b) => a + (b - mean) ** 2, 0);
  return {mean, n: some.length, sem: some.length > 1 ? Math.sqrt(squares / (some.length - 1) / some.length) : null};
}

function tile(value, label, style) {
  return make("div", {class: "tile", style}, make("b", {}, value), make("span", {}, label));
}

function showTiles() {
  const tiles = $("tiles");
  tiles.append(tile(units.length.toLocaleString("en"), units.length === 1 ? "unit" : "units"));
  report.methods.forEach((name, method) => {
    const lead = report.scores[0];
    const stats = lead && meanOf(units.map((u) => scoreOf(u, method, 0)));
    if (stats)
      tiles.append(tile(`${number(stats.mean)} ± ${number(stats.sem)}`,
        `${lead} · ${name} · n = ${stats.n}`, tone(method)));
  });
  const lengths = meanOf(units.map((u) => (u.methods[main]?.terms.length || null)));
  if (lengths) tiles.append(tile(lengths.mean.toFixed(2), `concepts in an explanation${of(main)}`));
  const off = units.filter((u) => statusOf(u) === "dead" || statusOf(u) === "constant").length;
  if (off) tiles.append(tile(String(off), "dead or constant units, not in means"));
}

/** A frame with round axis ticks; returns the plotting group and scales. */
function frame(title, width, height, x, y, labels) {
  const pad = {left: 38, right: 8, top: 6, bottom: labels[0] ? 32 : 20};
  const svg = draw("svg", {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title});
  const sx = (v) => pad.left + (v - x[0]) / (x[1] - x[0] || 1) * (width - pad.left - pad.right);
  const sy = (v) => height - pad.bottom - (v - y[0]) / (y[1] - y[0] || 1) * (height - pad.top - pad.bottom);
  for (const v of ticks(x, 5)) {
    svg.append(draw("line", {class: "axis", x1: sx(v), x2: sx(v), y1: sy(y[0]), y2: sy(y[0]) + 4}));
    svg.append(draw("text", {x: sx(v), y: sy(y[0]) + 15, "text-anchor": "middle"}, short(v)));
  }
  for (const v of ticks(y, 4)) {
    svg.append(draw("line", {class: "axis", x1: pad.left, x2: width - pad.right, y1: sy(v), y2: sy(v)}));
    svg.append(draw("text", {x: pad.left - 5, y: sy(v) + 4, "text-anchor": "end"}, short(v)));
  }
  if (labels[0]) svg.append(draw("text", {x: (pad.left + width - pad.right) / 2, y: height - 3, "text-anchor": "middle"}, labels[0]));
  if (labels[1]) svg.append(draw("text", {x: 9, y: (sy(y[0]) + sy(y[1])) / 2, "text-anchor": "middle",
    transform: `rotate(-90 9 ${(sy(y[0]) + sy(y[1])) / 2})`}, labels[1]));
  return {svg, sx, sy};
}
function ticks([low, high], count) {
  const rough = (high - low) / count;
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const all = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + 1e-9 * step; v += step) all.push(Math.abs(v) < step / 1e6 ? 0 : v);
  return all;
}
function figure(title, note, ...content) {
  return make("figure", {class: "chart"},
    make("figcaption", {}, title, note ? make("small", {}, note) : null), ...content);
}
function legend(names) {
  return make("ul", {class: "legend"}, ...names.map((name, i) => make("li", {style: tone(i)}, make("i"), name)));
}
function extent(values, floor) {
  let low = Infinity, high = -Infinity;
  for (const v of values) if (finite(v)) { if (v < low) low = v; if (v > high) high = v; }
  if (low > high) return null;
  if (floor !== undefined) low = Math.min(low, floor);
  return high > low ? [low, high] : [low - .5, high + .5];
}

function histogram(score) {
  const all = report.methods.map((_, m) => units.map((u) => scoreOf(u, m, score)).filter(finite));
  const range = extent(all.flat());
  if (!range) return null;
  const bins = 30, width = (range[1] - range[0]) / bins;
  const counts = all.map((values) => {
    const c = new Array(bins).fill(0);
    for (const v of values) c[Math.min(bins - 1, Math.floor((v - range[0]) / width))]++;
    return c;
  });
  const top = Math.max(...counts.flat(), 1);
  const name = report.scores[score];
  const {svg, sx, sy} = frame(`Histogram of ${name}`, 420, 190, range, [0, top], [name, "units"]);
  counts.forEach((c, m) => {
    let path = `M${sx(range[0])},${sy(0)}`;
    c.forEach((v, i) => { path += `L${sx(range[0] + i * width)},${sy(v)}L${sx(range[0] + (i + 1) * width)},${sy(v)}`; });
    svg.append(draw("path", {d: `${path}L${sx(range[1])},${sy(0)}Z`, fill: `var(--m${m % 8})`,
      "fill-opacity": report.methods.length > 1 ? .16 : .55, stroke: `var(--m${m % 8})`}));
  });
  return figure(name, `${all[0].length} units`, svg, report.methods.length > 1 ? legend(report.methods) : null);
}

function scatter(title, x, y, labels, diagonal) {
  const points = units.map((u) => [x(u), y(u), u]).filter(([a, b]) => finite(a) && finite(b));
  const rx = extent(points.map((p) => p[0])), ry = extent(points.map((p) => p[1]));
  if (points.length < 2) return null;
  const {svg, sx, sy} = frame(title, 420, 260, rx, ry, labels);
  if (diagonal) {
    const low = Math.max(rx[0], ry[0]), high = Math.min(rx[1], ry[1]);
    if (high > low) svg.append(draw("line", {class: "axis", x1: sx(low), y1: sy(low), x2: sx(high), y2: sy(high), "stroke-dasharray": "4 3"}));
  }
  const dots = draw("g", {fill: "var(--m0)", "fill-opacity": Math.max(.25, Math.min(.8, 200 / points.length))});
  for (const [a, b, unit] of points)
    dots.append(draw("circle", {class: "dot", cx: sx(a).toFixed(1), cy: sy(b).toFixed(1), r: points.length > 500 ? 2.2 : 3.2, "data-unit": unit.index}));
  dots.addEventListener("click", (event) => {
    const index = event.target.getAttribute("data-unit");
    if (index !== null) { show(units[index]); $("card").scrollIntoView({block: "nearest"}); }
  });
  dots.addEventListener("mouseover", (event) => {
    const index = event.target.getAttribute("data-unit");
    if (index === null || event.target.firstChild) return;
    const unit = units[index];
    event.target.append(draw("title", {}, `unit ${key(unit)}\n${words(unit.methods.find((m) => m))}`));
  });
  svg.append(dots);
  return {svg, points};
}

function methodScatter() {
  const box = make("div");
  const pick = (label, value) => {
    const select = make("select", {"aria-label": label});
    report.methods.forEach((name, i) => select.append(make("option", {value: i}, name)));
    select.value = value;
    select.addEventListener("change", update);
    return select;
  };
  const a = pick("Method on the horizontal axis", ranked[1]), b = pick("Method on the vertical axis", main);
  const note = make("small");
  function update() {
    const [i, j] = [Number(a.value), Number(b.value)];
    const plot = scatter(`${report.scores[0]} of ${report.methods[i]} and ${report.methods[j]}`,
      (u) => scoreOf(u, i, 0), (u) => scoreOf(u, j, 0), [report.methods[i], report.methods[j]], true);
    box.replaceChildren(plot ? plot.svg : "no unit has both scores");
    const wins = plot ? plot.points.filter(([x, y]) => y > x).length : 0;
    note.textContent = plot ? `${report.methods[j]} is better in ${wins} of ${plot.points.length} units` : "";
  }
  update();
  return make("figure", {class: "chart"},
    make("figcaption", {}, make("span", {}, b, " against ", a), note), box);
}

function conceptBars() {
  const counts = new Map();
  for (const unit of units)
    for (const [concept] of unit.methods[main]?.terms ?? []) counts.set(concept, (counts.get(concept) ?? 0) + 1);
  const top = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, 12);
  if (!top.length) return null;
  const list = make("dl", {class: "terms"});
  for (const [concept, count] of top) {
    const name = make("button", {type: "button", class: "plain", title: "Show these units"}, concept);
    name.addEventListener("click", () => { $("search").value = concept; filter(); $("units").scrollIntoView(); });
    list.append(make("dt", {}, name),
      make("dd", {class: "track", style: tone(main)}, make("i", {style: `left:0;width:${100 * count / top[0][1]}%`})),
      make("dd", {class: "number"}, String(count)));
  }
  return figure(`Most used concepts${of(main)}`, `${counts.size} in all`, list);
}

function showOverview() {
  $("title").textContent = report.title;
  document.title = `${report.title} · linex report`;
  $("facts").textContent = report.facts.join("  ·  ");
  showTiles();
  for (const warning of report.warnings) $("warnings").append(make("p", {class: "warning"}, warning));
  const charts = $("charts");
  const add = (chart) => chart && charts.append(chart);
  report.scores.slice(0, 3).forEach((_, s) => add(histogram(s)));
  if (report.methods.length > 1 && report.scores.length) add(methodScatter());
  else if (report.scores.length) {
    const plot = scatter(`validation correlation and ${report.scores[0]}`, (u) => u.methods[0]?.val ?? null,
      (u) => scoreOf(u, 0, 0), ["validation correlation", report.scores[0]], true);
    if (plot) add(figure("Does validation predict the score?", "a point is a unit", plot.svg));
  }
  add(conceptBars());
  const rows = Object.entries(report.options).flatMap(([section, options]) =>
    Object.entries(options).map(([name, value]) => make("tr", {}, make("th", {scope: "row"}, `${section}.${name}`), make("td", {}, make("code", {}, value)))));
  $("provenance-body").append(make("table", {class: "provenance-table"}, make("tbody", {}, ...rows)));
  if (!rows.length) $("provenance").remove();
}

// ---- list --------------------------------------------------------------------------------------

let shown = [], selected = null;

function setUpList() {
  const sort = $("sort");
  const add = (value, text) => sort.append(make("option", {value}, text));
  report.scores.forEach((name, s) => report.methods.forEach((method, m) =>
    add(`s${s},${m}`, report.methods.length > 1 ? `${name}, ${method}` : name)));
  add("val", "validation correlation");
  add("length", "length");
  add("unit", "unit number");
  sort.value = report.scores.length ? `s0,${main}` : "unit";
  $("layer").append(make("option", {value: ""}, "all"), ...report.layers.map((l, i) => make("option", {value: i}, l.name)));
  $("layer-label").hidden = report.layers.length < 2;
  const statuses = [...new Set(units.map(statusOf))].sort();
  $("status").append(make("option", {value: ""}, "all"), ...statuses.map((s) => make("option", {value: s}, s)));
  for (const unit of units)
    unit.text = `${unit.unit} ${key(unit)} ${unit.methods.map((m) => m ? `${m.text} ${m.terms.map((t) => t[0]).join(" ; ")}` : "").join(" ; ")}`.toLowerCase();
  for (const id of ["sort", "layer", "status"]) $(id).addEventListener("change", filter);
  $("search").addEventListener("input", filter);
  $("list").addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    if (row) show(units[row.dataset.index]);
  });
}

function sortValue(how) {
  if (how === "unit") return (u) => -(u.layer * 1e7 + u.unit);
  if (how === "val") return (u) => u.methods[main]?.val ?? null;
  if (how === "length") return (u) => u.methods[main]?.terms.length ?? null;
  const [s, m] = how.slice(1).split(",").map(Number);
  return (u) => scoreOf(u, m, s);
}

function filter() {
  const terms = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const layer = $("layer").value, status = $("status").value, how = $("sort").value;
  const value = sortValue(how);
  const exact = terms.length === 1 && /^\d+$/.test(terms[0]) ? Number(terms[0]) : null;
  shown = units.filter((u) => (layer === "" || u.layer === Number(layer)) && (status === "" || statusOf(u) === status) &&
    (exact !== null ? u.unit === exact : terms.every((t) => u.text.includes(t))));
  const low = (u) => { const v = value(u); return finite(v) ? v : -Infinity; };
  shown.sort((a, b) => low(b) - low(a) || a.index - b.index);
  const lead = how[0] === "s" ? value : (u) => scoreOf(u, main, 0);
  const shownMethod = how[0] === "s" ? Number(how.split(",")[1]) : main;
  const rows = document.createDocumentFragment();
  for (const unit of shown) {
    const v = lead(unit), method = unit.methods[shownMethod] ?? mainOf(unit);
    const off = statusOf(unit) !== "ok" && statusOf(unit) !== "not_converged";
    rows.append(make("div", {class: off ? "row off" : "row", role: "option", id: `row-${unit.index}`, "data-index": unit.index,
      "aria-selected": unit === selected},
      make("span", {class: "unit"}, report.layers.length > 1 ? key(unit) : String(unit.unit)),
      make("span", {class: "words"}, off && !method?.terms.length ? statusOf(unit).replace("_", " ") : words(method)),
      make("span", {class: "value"}, number(v),
        make("span", {class: "bar", "aria-hidden": "true"}, make("i", {style: `${tone(shownMethod)};width:${finite(v) ? Math.max(0, Math.min(1, v)) * 100 : 0}%`})))));
  }
  if (!shown.length) rows.append(make("p", {class: "empty"}, "No unit matches."));
  $("list").replaceChildren(rows);
  $("count").textContent = `${shown.length.toLocaleString("en")} of ${units.length.toLocaleString("en")} units`;
}

// ---- card --------------------------------------------------------------------------------------

const chunks = new Map();
/** Cards are below this script in a large file, which may still be read from disk. */
const wholePage = document.readyState !== "loading" ? Promise.resolve()
  : new Promise((resolve) => addEventListener("DOMContentLoaded", resolve, {once: true}));
/** Details of a unit, parsed when first needed. */
async function details(unit) {
  if (!report.chunk) return null;
  await wholePage;
  const chunk = Math.floor(unit.index / report.chunk);
  if (!chunks.has(chunk)) chunks.set(chunk, JSON.parse($(`units-${chunk}`).textContent));
  return chunks.get(chunk)[unit.index % report.chunk];
}

function methodBlock(name, method, index) {
  const block = make("section", {class: "method", style: tone(index)});
  const chips = report.scores.map((score, s) => finite(method?.scores[s]) ? make("li", {}, `${score} `, make("b", {}, number(method.scores[s])),
    method.intervals[s] ? ` [${method.intervals[s].map((v) => number(v, 2)).join(", ")}]` : "") : null);
  if (finite(method?.val)) chips.push(make("li", {}, "validation ", make("b", {}, number(method.val))));
  block.append(make("h4", {}, name, method && method.status !== "ok" ? make("span", {class: "badge"}, method.status.replace("_", " ")) : null),
    make("ul", {class: "chips"}, ...chips));
  if (!method) { block.append(make("p", {class: "none"}, "This method does not explain the unit.")); return block; }
  if (method.text) { block.append(make("p", {}, method.text)); return block; }
  if (!method.terms.length) { block.append(make("p", {class: "none"}, "No explanation.")); return block; }
  const weights = method.terms.map((t) => t[1]);
  const most = Math.max(0, ...weights), least = Math.min(0, ...weights), range = most - least || 1;
  const zero = -least / range * 100;
  const list = make("dl", {class: "terms"});
  const row = (concept, weight, quiet) => {
    const size = Math.abs(weight) / range * 100;
    list.append(make("dt", quiet ? {class: "number"} : {}, concept),
      make("dd", {class: "track", style: `--zero:${zero}%`}, quiet ? null :
        make("i", {class: weight < 0 ? "minus" : "plus", style: `left:${weight < 0 ? zero - size : zero}%;width:${size}%`})),
      make("dd", {class: "number"}, number(weight, 2)));
  };
  for (const [concept, weight] of method.terms) row(concept, weight);
  if (method.bias) row("bias", method.bias, true);
  block.append(list);
  return block;
}

/** Darkens an image where the unit's map is low (docs/methods.md §1.14), drawn from a small grid. */
function overlay(map) {
  const [height, width, data] = map;
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const small = make("canvas", {width, height});
  const pixels = small.getContext("2d").createImageData(width, height);
  bytes.forEach((v, i) => { const light = 72 + v * .72; pixels.data.set([light, light, light, 255], 4 * i); });
  small.getContext("2d").putImageData(pixels, 0, 0);
  const canvas = make("canvas", {width: 112, height: 112, "aria-hidden": "true"});
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, 112, 112);
  return canvas;
}

const picture = (image) => `data:image/jpeg;base64,${$(`image-${image}`)?.textContent ?? ""}`;

function imageRow(images) {
  const list = make("ul", {class: "images"});
  for (const [image, activation, label, map] of images) {
    const name = label === null ? `image ${image}` : report.classes[label];
    list.append(make("li", {}, make("figure", {},
      make("div", {class: "shot"},
        make("img", {src: picture(image), decoding: "async", alt: `${name}, activation ${short(activation)}`}),
        map ? overlay(map) : null),
      make("figcaption", {title: `image ${image}: ${name}`}, make("span", {}, name), make("b", {}, short(activation))))));
  }
  return list;
}

function responsePlot(sample) {
  const ry = extent(sample.actual), rx = extent(sample.predicted.flat());
  if (!ry || !rx) return null;
  const {svg, sx, sy} = frame("Predicted and actual activation on test images", 360, 240, rx, ry, ["predicted activation", "actual"]);
  sample.predicted.forEach((values, m) => {
    const dots = draw("g", {fill: `var(--m${m % 8})`, "fill-opacity": .55});
    values.forEach((v, i) => { if (finite(v)) dots.append(draw("circle", {cx: sx(v).toFixed(1), cy: sy(sample.actual[i]).toFixed(1), r: 2.4})); });
    svg.append(dots);
  });
  const low = Math.max(rx[0], ry[0]), high = Math.min(rx[1], ry[1]);
  if (high > low) svg.append(draw("line", {class: "axis", x1: sx(low), y1: sy(low), x2: sx(high), y2: sy(high), "stroke-dasharray": "4 3", style: "stroke:var(--muted)"}));
  return svg;
}

/** Stacked shares of classes over eight equal bins of activation (docs/methods.md §1.12). */
function compositionPlot(composition) {
  const bins = composition.counts.length, step = composition.max / bins;
  const xs = [0, ...Array.from({length: bins}, (_, i) => (i + .5) * step), composition.max];
  const {svg, sx, sy} = frame("Share of classes over the activation range", 360, 240, [0, composition.max], [0, 100], ["activation", "% of images"]);
  const edge = (shares) => [shares[0], ...shares, shares[bins - 1]];
  let below = new Array(bins + 2).fill(0);
  composition.shares.forEach((shares, c) => {
    const above = edge(shares).map((v, i) => below[i] + 100 * v);
    const path = xs.map((x, i) => `${sx(x).toFixed(1)},${sy(above[i]).toFixed(1)}`)
      .concat(xs.map((x, i) => `${sx(x).toFixed(1)},${sy(below[i]).toFixed(1)}`).reverse()).join("L");
    const last = c === composition.shares.length - 1;
    svg.append(draw("path", {d: `M${path}Z`, fill: last ? "var(--sunken)" : `var(--m${c % 8})`, "fill-opacity": last ? 1 : .75},
      draw("title", {}, composition.names[c])));
    below = above;
  });
  const key = legend(composition.names);
  key.lastChild.style = "--tone:var(--line)";
  return make("div", {}, svg, key);
}

async function show(unit) {
  selected = unit;
  for (const row of $("list").querySelectorAll('[aria-selected="true"]')) row.setAttribute("aria-selected", "false");
  const row = $(`row-${unit.index}`);
  if (row) { row.setAttribute("aria-selected", "true"); row.scrollIntoView({block: "nearest"}); }
  $("list").setAttribute("aria-activedescendant", `row-${unit.index}`);
  history.replaceState(null, "", `#${encodeURIComponent(key(unit))}`);
  const card = $("card");
  const step = (by, label, text) => {
    const button = make("button", {type: "button", "aria-label": label}, text);
    button.addEventListener("click", () => move(by));
    return button;
  };
  card.replaceChildren(
    make("header", {}, make("h2", {}, `Unit ${unit.unit}`), make("span", {class: "facts"}, report.layers[unit.layer].name),
      statusOf(unit) === "ok" ? null : make("span", {class: "badge"}, statusOf(unit).replace("_", " ")),
      make("nav", {"aria-label": "Neighbouring units"}, step(-1, "Previous unit", "↑"), step(1, "Next unit", "↓"))),
    ...report.methods.map((name, m) => methodBlock(name, unit.methods[m], m)));
  const more = await details(unit);
  if (selected !== unit || !more) return;
  if (more.bands?.length) {
    const toggle = make("input", {type: "checkbox"});
    toggle.checked = !card.classList.contains("no-maps");
    toggle.addEventListener("change", () => card.classList.toggle("no-maps", !toggle.checked));
    const hasMaps = more.bands.some((b) => b.images.some((i) => i[3]));
    card.append(make("h3", {}, "Images that activate it most", hasMaps ? make("label", {class: "switch"}, toggle, " show where it is active") : null));
    more.bands.forEach((band, b) => {
      const range = `activation ${short(band.low)} to ${short(band.high)}`;
      if (b === 1) card.append(make("h3", {}, "Images over the activation range"));
      card.append(make("p", {class: "band"}, `Ranks ${band.first} to ${band.last}`, make("small", {}, range)), imageRow(band.images));
    });
  }
  const two = make("div", {class: "two"});
  const response = more.sample && responsePlot(more.sample);
  if (response) two.append(make("div", {}, make("h3", {}, "Predicted and actual"), response, report.methods.length > 1 ? legend(report.methods) : null));
  if (more.composition) two.append(make("div", {}, make("h3", {}, "Classes over the activation range"), compositionPlot(more.composition)));
  card.append(two);
}

function move(by) {
  if (!shown.length) return;
  const at = shown.indexOf(selected);
  show(shown[Math.max(0, Math.min(shown.length - 1, at < 0 ? 0 : at + by))]);
}

// ---- page --------------------------------------------------------------------------------------

document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
$("theme").addEventListener("click", () => {
  const root = document.documentElement;
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
});
document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (event.key === "/" && !typing) { event.preventDefault(); $("search").focus(); }
  if (event.key === "Escape" && event.target === $("search")) { $("search").value = ""; filter(); $("list").focus(); }
  const arrows = event.target === $("search") || event.target === $("list");
  if ((typing && !arrows) || (event.key.length > 1 && !arrows)) return;
  const by = {ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10}[event.key] ?? (typing ? 0 : {j: 1, k: -1}[event.key] ?? 0);
  if (by && !event.ctrlKey && !event.metaKey && !event.altKey) { event.preventDefault(); move(by); }
});
showOverview();
setUpList();
filter();
const wanted = decodeURIComponent(location.hash.slice(1));
const first = units.find((u) => key(u) === wanted) ?? shown[0];
if (first) show(first);
document.body.dataset.ready = String(Math.round(performance.now()));
