"use strict";
// What the page says and computes, without the page itself.
const finite = (value) => typeof value === "number" && Number.isFinite(value);
const number = (value, digits = 3) =>
  finite(value) ? value.toFixed(digits).replace("-", "−") : "–";

/** At most `digits` significant digits, whatever the scale. */
function significant(value, digits = 4) {
  if (!finite(value)) return "–";
  const rounded = Number(value.toPrecision(digits)), size = Math.abs(rounded);
  const text = size === 0 || (size >= 1e-4 && size < 1e6) ? String(rounded) : rounded.toExponential();
  return text.replaceAll("-", "−");
}
const short = (value) => significant(value, 3);
const probability = (p) => finite(p) && p < 1e-4 ? "< 0.0001" : significant(p, 2);

/** One concept or sentence as it stands, without a weight to show. */
/** "relu" or "softplus(0.25)" where the sum of the terms goes through it. */
const linkOf = (method) => method.terms.length && /^(relu|softplus\(.*\))$/.test(method.text) ? method.text : "";
const plain = (method) => linkOf(method) ? "" : method.text ? method.text
  : method.terms.length === 1 && method.terms[0][1] === 1 && !method.bias ? method.terms[0][0] : "";

/** As the console has it (in_words): "2.32·frog - 0.954·horse + 0.372". */
function words(method) {
  if (!method) return "";
  if (plain(method)) return plain(method);
  if (!method.terms.length) return "no explanation";
  const sum = method.terms.map(([concept, weight], i) =>
    `${weight < 0 ? (i ? "- " : "-") : i ? "+ " : ""}${short(Math.abs(weight))}·${concept}`);
  const text = [...sum, `${method.bias < 0 ? "-" : "+"} ${short(Math.abs(method.bias))}`].join(" ");
  return linkOf(method) ? `${linkOf(method).replace(/\(.*/, "")}(${text})` : text;
}

/** The unit that an address' hash names: {unit}, {missing: name}, or null where it names none. */
function unitOfHash(hash, units, key) {
  const raw = hash.replace(/^#/, "");
  if (!raw || raw === "units") return null;  // #units is the skip link
  let name = raw;
  try { name = decodeURIComponent(raw); } catch { /* no escape: the text itself */ }
  const unit = units.find((u) => key(u) === name);
  return unit ? {unit} : {missing: name};
}

/** Offsets that part points of equal value where values are few; 0 where they are many. The same every time. */
function jitter(values) {
  const distinct = [...new Set(values.filter(finite))].sort((a, b) => a - b);
  if (!distinct.length || distinct.length > 12 || values.length < 2 * distinct.length) return values.map(() => 0);
  const range = distinct[distinct.length - 1] - distinct[0];
  let gap = range || 1;
  for (let i = 1; i < distinct.length; i++) gap = Math.min(gap, distinct[i] - distinct[i - 1]);
  gap = Math.max(gap, range / 60);
  return values.map((_, i) => ((i * .6180339887498949) % 1 - .5) * .6 * gap);
}

/** A pair of methods as `first` sees it. */
const seenFrom = (pair, first) => pair.first === first ? pair
  : {...pair, first: pair.second, second: pair.first, wins: pair.losses, losses: pair.wins,
    difference: finite(pair.difference) ? -pair.difference : pair.difference};

/** Wins, ties and losses of `first` against `second` over all layers, as the pairs tell them; null without any. */
function outcome(pairs, first, second) {
  const found = pairs.filter((p) => (p.first === first && p.second === second) || (p.first === second && p.second === first))
    .map((p) => seenFrom(p, first));
  if (!found.length) return null;
  const sum = (name) => found.reduce((total, p) => total + p[name], 0);
  return {wins: sum("wins"), ties: sum("ties"), losses: sum("losses"), n: sum("n")};
}
const outcomeText = (o) => `${o.wins} : ${o.ties} : ${o.losses}`;

/** Concepts that explain units and are most like a text that explains none: [[concept, likeness], …] from `near` (report.near), or []. */
function alike(text, near) {
  const plainly = (name) => name.toLowerCase().replaceAll("_", " ").trim();
  const wanted = plainly(text);
  const found = wanted ? Object.keys(near).find((name) => plainly(name) === wanted) : undefined;
  return found === undefined ? [] : near[found];
}

/** How much a unit's explanation says concepts of given likeness: the likeness times the share of the positive weights. */
function saying(terms, likeness) {
  const total = terms.reduce((sum, [, weight]) => sum + Math.max(weight, 0), 0);
  return Math.max(0, ...terms.map(([concept, weight]) => weight > 0 ? (likeness.get(concept) ?? 0) * weight / total : 0));
}
