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
const tone = (method) => `--tone:var(--m${method % 8})`;
// A unit: {layer, unit, methods: [{terms, bias, text, status, val, scores} or null]}.
const units = report.units.map(([layer, unit, methods], index) => ({
  index, layer, unit,
  methods: methods.map((m) => m && {terms: m[0], bias: m[1], text: m[2], status: m[3], val: m[4], scores: m[5], intervals: m[6]}),
}));
const key = (unit) => `${report.layers[unit.layer].name}/${unit.unit}`;
/** " of 0.75" after a correlation whose ceiling is known. */
const ofCeiling = (values, s) => {
  const ceiling = values[report.scores.indexOf("sim ceiling")];
  return report.scores[s] === "sim correlation" && finite(ceiling) ? ` of ${number(ceiling)}` : "";
};
const scoreOf = (unit, method, score) => unit.methods[method]?.scores[score] ?? null;
// The method with the best mean speaks for a unit where there is room for one only.
const main = report.lead;
const of = (method) => report.methods.length > 1 ? ` of ${report.methods[method]}` : "";
const mainOf = (unit) => unit.methods[main] ?? unit.methods.find((m) => m);
const statusOf = (unit) => mainOf(unit)?.status ?? "ok";

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
  const several = report.layers.length > 1;
  report.layers.forEach((layer, l) => report.methods.forEach((name, m) => {
    const [mean, sem, n] = report.means[l][m][0] ?? [];
    if (!finite(mean) || (several && m !== main)) return;
    const of = [report.methods.length > 1 ? name : "", several ? layer.name : ""].filter(Boolean).join(", ");
    tiles.append(tile(`${number(mean)} ± ${number(sem)}${ofCeiling(report.means[l][m].map((one) => one[0]), 0)}`, `${report.scores[0]}${of ? `, ${of}` : ""} (n ${n})`, tone(m)));
  }));
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
  const a = pick("Method on the horizontal axis", main === 0 ? 1 : 0), b = pick("Method on the vertical axis", main);
  const note = make("small");
  function update() {
    const [i, j] = [Number(a.value), Number(b.value)];
    const plot = scatter(`${report.scores[0]} of ${report.methods[i]} and ${report.methods[j]}`,
      (u) => scoreOf(u, i, 0), (u) => scoreOf(u, j, 0), [report.methods[i], report.methods[j]], true);
    box.replaceChildren(plot ? plot.svg : "no unit has both scores");
    const won = outcome(report.pairs, j, i);
    note.textContent = plot && won ? `${outcomeText(won)} (wins : ties : losses of ${report.methods[j]})` : "";
  }
  update();
  return make("figure", {class: "chart"},
    make("figcaption", {}, make("span", {}, b, " against ", a), note), box);
}

function table(head, rows) {
  return make("div", {class: "wide"}, make("table", {class: "numbers"},
    make("thead", {}, make("tr", {}, ...head.map((text) => make("th", {scope: "col"}, text)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell)))))));
}
const byLayer = (l, ...cells) => report.layers.length > 1 ? [report.layers[l].name, ...cells] : cells;
const layerHead = report.layers.length > 1 ? ["layer"] : [];

/** Mean number of concepts in an explanation. */
const lengthOf = (l, m) => meanOf(units.filter((u) => u.layer === l).map((u) => u.methods[m]?.terms.length || null))?.mean.toFixed(2) ?? "–";

/** A mean a layer, method and score; bold where the best method stands out. */
function meansTable() {
  if (!report.scores.length || (report.layers.length < 2 && report.methods.length < 2)) return null;
  const rows = report.layers.flatMap((_, l) => report.methods.map((name, m) => byLayer(l, name,
    ...report.means[l][m].map(([mean, sem, n], s) => {
      const text = finite(mean) ? `${number(mean, 4)} ± ${number(sem, 4)} (n ${n})` : "–";
      return s === 0 && report.best[l]?.method === m && report.best[l].stands_out ? make("b", {}, text) : text;
    }), lengthOf(l, m))));
  return figure("Means", "± standard error", table([...layerHead, "method", ...report.scores, "length"], rows));
}

function pairsTable() {
  const rows = report.pairs.filter((p) => [p.first, p.second].includes(report.best[p.layer]?.method))
    .map((p) => seenFrom(p, report.best[p.layer].method))
    .map((p) => byLayer(p.layer, `${report.methods[p.first]} − ${report.methods[p.second]}`,
      `${number(p.difference, 4)} ± ${number(p.sem, 4)}`, outcomeText(p), probability(p.p), String(p.n)));
  if (!rows.length) return null;
  return figure(`Best − other, unit by unit, in ${report.scores[0]}`,
    "differences below 1e-6 are ties; p of two-sided paired t-tests, by Holm’s correction",
    table([...layerHead, "methods", "difference ± SEM", "wins : ties : losses", "p", "n"], rows));
}

function sanityTable() {
  if (!report.sanity.length) return null;
  const percent = (share) => finite(share) ? `${number(100 * share, 1)} %` : "–";
  return figure("Which scores notice spoiled concepts?", "share of units whose score falls",
    table([...layerHead, "score", "missing labels", "extra labels", "reliable"], report.sanity.map((row) =>
      [...(layerHead.length ? [row.layer] : []), row.score, percent(row["missing labels"]), percent(row["extra labels"]), row.reliable ? "yes" : "no"])));
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
  for (const chart of [conceptBars(), meansTable(), pairsTable(), sanityTable()]) add(chart);
  const rows = Object.entries(report.options).flatMap(([section, options]) =>
    Object.entries(options).map(([name, value]) => make("tr", {}, make("th", {scope: "row"}, `${section}.${name}`), make("td", {}, make("code", {}, value)))));
  $("provenance-body").append(make("table", {class: "provenance-table"}, make("tbody", {}, ...rows)));
  if (!rows.length) $("provenance").remove();
}

// ---- list --------------------------------------------------------------------------------------

let shown = [], selected = null, ready = false;

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
  // What no explanation says in words is looked for by meaning, the nearest first.
  const meant = !shown.length && exact === null ? new Map(alike($("search").value, report.near ?? {})) : new Map();
  const says = (u) => saying(mainOf(u)?.terms ?? [], meant);
  if (meant.size)
    shown = units.filter((u) => (layer === "" || u.layer === Number(layer)) && (status === "" || statusOf(u) === status) && says(u) > 0);
  const low = (u) => { const v = value(u); return finite(v) ? v : -Infinity; };
  shown.sort((a, b) => (meant.size ? says(b) * Math.max(low(b), 0) - says(a) * Math.max(low(a), 0) : low(b) - low(a)) || a.index - b.index);
  const lead = how[0] === "s" ? value : (u) => scoreOf(u, main, 0);
  const shownMethod = how[0] === "s" ? Number(how.split(",")[1]) : main;
  const rows = document.createDocumentFragment();
  for (const unit of shown) {
    const v = lead(unit), method = unit.methods[shownMethod] ?? mainOf(unit);
    const off = statusOf(unit) !== "ok" && statusOf(unit) !== "not_converged";
    rows.append(make("div", {class: `row${off ? " off" : ""}${report.layers.length > 1 ? " layered" : ""}`, role: "option", id: `row-${unit.index}`, "data-index": unit.index,
      "aria-selected": unit === selected},
      make("span", {class: "unit", title: key(unit)}, String(unit.unit), report.layers.length > 1 ? make("small", {}, report.layers[unit.layer].name) : null),
      make("span", {class: "words"}, off && !method?.terms.length ? statusOf(unit).replace("_", " ") : words(method)),
      make("span", {class: "value"}, number(v),
        make("span", {class: "bar", "aria-hidden": "true"}, make("i", {style: `${tone(shownMethod)};width:${finite(v) ? Math.max(0, Math.min(1, v)) * 100 : 0}%`})))));
  }
  if (!shown.length) rows.append(make("p", {class: "empty"}, "No unit matches."));
  $("list").replaceChildren(rows);
  if (ready && !shown.includes(selected)) {
    if (shown.length) show(shown[0], false);
    else say("No unit matches.");
  }
  const by = meant.size ? ` like ${[...meant.keys()].slice(0, 3).join(", ")}` : "";
  $("count").textContent = `${shown.length.toLocaleString("en")} of ${units.length.toLocaleString("en")} units${by}`;
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
  const chips = report.scores.map((score, s) => finite(method?.scores[s]) ? make("li", {}, `${score} `, make("b", {}, number(method.scores[s])), ofCeiling(method.scores, s),
    method.intervals[s] ? ` [${method.intervals[s].map((v) => number(v, 2)).join(", ")}]` : "") : null);
  if (finite(method?.val)) chips.push(make("li", {}, "validation ", make("b", {}, number(method.val))));
  block.append(make("h4", {}, name, method && method.status !== "ok" ? make("span", {class: "badge"}, method.status.replace("_", " ")) : null),
    make("ul", {class: "chips"}, ...chips));
  if (!method) { block.append(make("p", {class: "none"}, "This method does not explain the unit.")); return block; }
  if (plain(method)) { block.append(make("p", {class: "sentence"}, plain(method))); return block; }
  if (!method.terms.length) { block.append(make("p", {class: "none"}, "No explanation.")); return block; }
  const weights = method.terms.map((t) => t[1]);
  const most = Math.max(0, ...weights), least = Math.min(0, ...weights), range = most - least || 1;
  const zero = -least / range * 100;
  const list = make("dl", {class: "terms"});
  const row = (concept, weight, quiet, frequency) => {
    const size = Math.abs(weight) / range * 100;
    // A term that does not come back on other images is drawn lighter.
    const doubt = finite(frequency) && frequency < 0.6 ? " doubt" : "";
    const told = finite(frequency) ? {title: `came back in ${number(100 * frequency, 0)} % of resamples`} : {};
    list.append(make("dt", {class: quiet ? "number" : doubt.trim(), ...told}, concept),
      make("dd", {class: "track" + doubt, style: `--zero:${zero}%`, ...told}, quiet ? null :
        make("i", {class: weight < 0 ? "minus" : "plus", style: `left:${weight < 0 ? zero - size : zero}%;width:${size}%`})),
      make("dd", {class: "number"}, significant(weight)));
  };
  for (const [concept, weight, frequency] of method.terms) row(concept, weight, false, frequency);
  if (method.bias) row("bias", method.bias, true);
  block.append(list);
  if (linkOf(method)) block.append(make("p", {class: "none"}, `The unit is predicted by ${linkOf(method)} of this sum.`));
  return block;
}

/** Darkens an image where the unit's map is low (as published), drawn from a small grid. */
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
  for (const [image, activation, label, map, predicted] of images) {
    const name = label === null ? `image ${image}` : report.classes[label];
    list.append(make("li", {}, make("figure", {},
      make("div", {class: "shot"},
        make("img", {src: picture(image), decoding: "async", alt: `${name}, activation ${short(activation)}`}),
        map ? overlay(map) : null),
      make("figcaption", {title: `image ${image}: ${name}`}, make("span", {class: "name"}, name),
        make("span", {}, "actual ", make("b", {}, short(activation))),
        finite(predicted) ? make("span", {}, `predicted ${short(predicted)}`) : null))));
  }
  return list;
}

function responsePlot(sample) {
  let moved = false;
  const spread = sample.predicted.map((values) => {
    const offsets = jitter(values);
    moved = moved || offsets.some((o) => o !== 0);
    return values.map((v, i) => finite(v) ? v + offsets[i] : v);
  });
  const ry = extent(sample.actual), rx = extent(spread.flat());
  if (!ry || !rx) return null;
  const {svg, sx, sy} = frame("Predicted and actual activation on test images", 360, 240, rx, ry, ["predicted activation", "actual"]);
  spread.forEach((values, m) => {
    const dots = draw("g", {fill: `var(--m${m % 8})`, "fill-opacity": .55});
    values.forEach((v, i) => { if (finite(v)) dots.append(draw("circle", {cx: sx(v).toFixed(1), cy: sy(sample.actual[i]).toFixed(1), r: 2.4})); });
    svg.append(dots);
  });
  const low = Math.max(rx[0], ry[0]), high = Math.min(rx[1], ry[1]);
  if (high > low) svg.append(draw("line", {class: "axis", x1: sx(low), y1: sy(low), x2: sx(high), y2: sy(high), "stroke-dasharray": "4 3", style: "stroke:var(--muted)"}));
  return make("div", {}, svg, legend(report.methods.map((name, m) => `${name}: r = ${number(sample.r[m])}`)),
    moved ? make("small", {class: "facts"}, "points of equal prediction are spread sideways") : null);
}

/** Stacked shares of classes over the activation range, drawn before; the last is the rest. */
function compositionPlot(composition) {
  const svg = document.importNode(new DOMParser().parseFromString(composition.svg, "image/svg+xml").documentElement, true);
  const key = legend(composition.names);
  key.lastChild.style = "--tone:var(--line)";
  return make("div", {}, svg, key);
}

/** Instead of a card. */
function say(text) {
  selected = null;
  for (const row of $("list").querySelectorAll('[aria-selected="true"]')) row.setAttribute("aria-selected", "false");
  $("list").removeAttribute("aria-activedescendant");
  $("card").replaceChildren(make("p", {class: "empty"}, text));
}

async function show(unit, scroll = true) {
  selected = unit;
  for (const row of $("list").querySelectorAll('[aria-selected="true"]')) row.setAttribute("aria-selected", "false");
  const row = $(`row-${unit.index}`);
  if (row) { row.setAttribute("aria-selected", "true"); if (scroll) row.scrollIntoView({block: "nearest"}); }
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
  if (more.worst?.length)
    card.append(make("h3", {}, "Test images predicted worst"),
      make("p", {class: "band"}, make("small", {}, `farthest from the best line through predicted and actual values${of(main)}`)), imageRow(more.worst));
  const two = make("div", {class: "two"});
  const response = more.sample && responsePlot(more.sample);
  if (response) two.append(make("div", {}, make("h3", {}, "Predicted and actual"), response));
  if (more.composition) two.append(make("div", {}, make("h3", {}, "Classes over the activation range"), compositionPlot(more.composition)));
  card.append(two);
}

function move(by) {
  if (!shown.length) return;
  const at = shown.indexOf(selected);
  show(shown[Math.max(0, Math.min(shown.length - 1, at < 0 ? 0 : at + by))]);
}

// ---- page --------------------------------------------------------------------------------------

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
/** Shows what the address asks for, or the first unit where it asks for none. */
function followAddress() {
  const wanted = unitOfHash(location.hash, units, key);
  if (wanted?.missing !== undefined) say(`This report has no unit “${wanted.missing}”.`);
  else if (!wanted) { if (!selected && shown.length) show(shown[0], false); }
  else {
    if (!shown.includes(wanted.unit)) {
      ready = false;
      for (const id of ["search", "layer", "status"]) $(id).value = "";
      filter();
      ready = true;
    }
    show(wanted.unit);
  }
}
addEventListener("hashchange", followAddress);
followAddress();
ready = true;
document.body.dataset.ready = String(Math.round(performance.now()));
