// What the charts look like, in Vega-Lite. Data come by name, so that filters need no new chart.
// 10⁹ for powers of ten, plain where that is shorter; 2 and 5 only where there is room.
const POWER = "abs(log(datum.value) / LN10 - round(log(datum.value) / LN10)) < 1e-6";
const POWERS = `${POWER}
  ? (datum.value > 0.0005 && datum.value < 5000 ? format(datum.value, "~g")
     : "10" + (datum.value < 1 ? "⁻" : "")
       + (abs(round(log(datum.value) / LN10)) >= 10
          ? slice("${RAISED}", floor(abs(round(log(datum.value) / LN10)) / 10), floor(abs(round(log(datum.value) / LN10)) / 10) + 1) : "")
       + slice("${RAISED}", abs(round(log(datum.value) / LN10)) % 10, abs(round(log(datum.value) / LN10)) % 10 + 1))
  : (NARROW && indexof([2, 5], round(datum.value / pow(10, floor(log(datum.value) / LN10 + 1e-9)))) >= 0
     ? format(datum.value, datum.value > 0.0005 && datum.value < 5000 ? "~r" : "~e") : "")`;

function paper(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name);
}

// Custom properties keep light-dark() as it is written: a real element knows its colour.
const probe = make("span", { hidden: true });
document.documentElement.append(probe);
function shade(name) {
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}

function isDark() {
  const set = document.documentElement.dataset.theme;
  return set ? set === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function look() {
  const [ink, soft, line, grid] = ["--ink", "--soft", "--line", "--grid"].map(shade);
  const font = getComputedStyle(document.body).fontFamily;
  return {
    background: null,
    font,
    view: { stroke: null },
    axis: {
      labelColor: soft, titleColor: soft, gridColor: grid, domainColor: line, tickColor: line, labelFontSize: 11.5,
      titleFontSize: 12, titleFontWeight: "normal", titlePadding: 10, labelPadding: 5, tickSize: 4, domain: true,
    },
    text: { color: soft, fontSize: 11 },
    rule: { color: soft },
    legend: { labelColor: ink, titleColor: soft },
  };
}

function axisOf(title, domain, log, extra = {}) {
  if (!log) return { title, labelExpr: 'format(datum.value, ".3~s")', tickCount: 6, ...extra };
  const plain = Object.fromEntries(["gridOpacity", "tickOpacity"].map((name) => [name, { condition: { test: POWER, value: 1 }, value: 0 }]));
  const narrow = Math.log10(domain[1] / domain[0]) < 1.7;
  return { title, labelExpr: POWERS.replaceAll("NARROW", String(narrow)), tickCount: narrow ? 10 : 6, labelOverlap: "greedy", ...plain, ...extra };
}

function titleOf(axis) {
  return axis.title.includes(axis.unit) ? axis.title : `${axis.title} (${axis.unit})`;
}

function byModel(channel) {
  const names = page.models.map((_, index) => index);
  const range = channel === "shape" ? page.models.map((m) => m.shape) : page.models.map((m) => (isDark() ? m.dark : m.light));
  return { field: "model", type: "nominal", scale: { domain: names, range }, legend: null };
}

function scalingSpec(axis, domains, log, height) {
  const scale = (domain) => ({ type: log ? "log" : "linear", domain, nice: false, ...(log ? {} : { zero: false }) });
  const x = { field: "x", type: "quantitative", scale: scale(domains.x), axis: axisOf(titleOf(axis), domains.x, log) };
  const y = { field: "y", type: "quantitative", scale: scale(domains.y), axis: axisOf(`test error (${page.metric})`, domains.y, log) };
  const color = byModel("color"), shape = byModel("shape");
  const parts = { field: "part", type: "nominal", scale: { domain: ["fit", "beyond"], range: [[1, 0], [5, 4]] }, legend: null };
  return {
    width: "container", height, autosize: { type: "fit", contains: "padding" },
    layer: [
      { data: { name: "levels" }, mark: { type: "rule", strokeDash: [1.5, 3], strokeWidth: 1.2, clip: true }, encoding: { y } },
      {
        data: { name: "levels" }, mark: { type: "text", align: "right", baseline: "bottom", dy: -2, dx: -4, clip: true },
        encoding: { y, x: { value: "width" }, text: { field: "name" } },
      },
      { data: { name: "band" }, mark: { type: "area", opacity: 0.14, clip: true }, encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" }, color } },
      { data: { name: "band" }, mark: { type: "line", strokeWidth: 1.8, clip: true }, encoding: { x, y, color, strokeDash: parts } },
      { data: { name: "points" }, mark: { type: "point", filled: true, size: 30, opacity: 0.38, clip: true, cursor: "pointer" }, encoding: { x, y, color, shape } },
      { data: { name: "heldout" }, mark: { type: "rule", strokeWidth: 1.2, opacity: 0.6, clip: true }, encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" }, color } },
      {
        params: [{
          name: "view", bind: "scales",
          select: {
            type: "interval",
            zoom: "wheel![event.ctrlKey || event.metaKey]",
            translate: "[pointerdown[event.pointerType === 'mouse'], window:pointerup] > window:pointermove!",
          },
        }],
        data: { name: "frontier" }, mark: { type: "point", filled: true, size: 62, opacity: 1, stroke: shade("--paper"), strokeWidth: 1, clip: true }, encoding: { x, y, color, shape },
      },
      { data: { name: "heldout" }, mark: { type: "point", shape: "diamond", size: 58, filled: true, fill: shade("--paper"), strokeWidth: 1.5, clip: true }, encoding: { x, y, stroke: { ...color } } },
    ],
  };
}

// Intervals by task, in each one line a model.
function exponentSpec(rows) {
  const [tasks, models] = ["row", "model"].map((name) => new Set(rows.map((row) => row[name])).size);
  const y = { field: "row", type: "nominal", sort: null, axis: { title: null, labelLimit: 150, ticks: false, domain: false, grid: true, tickBand: "extent" } };
  const yOffset = { field: "model", type: "nominal", sort: null };
  const x = { field: "value", type: "quantitative", scale: { zero: false }, axis: { title: "exponent α", tickCount: 6 } };
  const opacity = { condition: { test: "datum.sure", value: 1 }, value: 0.4 };
  return {
    width: "container", height: tasks * Math.max(models * 17, 22), data: { name: "rows" },
    layer: [
      { mark: { type: "rule", strokeWidth: 1.8 }, encoding: { y, yOffset, x: { ...x, field: "low" }, x2: { field: "high" }, color: byModel("color"), opacity } },
      { mark: { type: "point", filled: true, size: 62 }, encoding: { y, yOffset, x, color: byModel("color"), shape: byModel("shape"), opacity } },
    ],
  };
}

const NAMED = 40; // pairs that are named one by one

// Intervals of pairs: the pair is written above its interval, so that it needs no margin on a phone.
function pairSpec(title, rows, color, { log = false, zero = false }) {
  const named = rows.length <= NAMED;
  const y = { field: "line", type: "ordinal", sort: null, axis: null };
  const ends = [Math.min(...rows.map((row) => row.low)), Math.max(...rows.map((row) => row.high))];
  const scale = log ? { type: "log", nice: false, padding: 14 } : { zero };
  const x = { field: "value", type: "quantitative", scale, axis: log ? axisOf(title, ends, true) : { title, tickCount: 6 } };
  const down = named ? 7 : 0;
  const words = { type: "text", baseline: "middle", fontSize: 11, dy: -7 };
  return {
    width: "container", height: rows.length * (named ? 36 : 12), data: { name: "rows" },
    layer: [
      ...(zero ? [{ data: { values: [{ at: 0 }] }, mark: { type: "rule", strokeDash: [4, 3], strokeWidth: 1, color: shade("--edge") }, encoding: { x: { field: "at", type: "quantitative" } } }] : []),
      { mark: { type: "rule", strokeWidth: 1.8, yOffset: down }, encoding: { y, x: { ...x, field: "low" }, x2: { field: "high" }, color } },
      { mark: { type: "point", filled: true, opacity: 1, size: 62, yOffset: down }, encoding: { y, x, color } },
      ...(named ? [
        { mark: { ...words, align: "left", limit: { expr: "width - 130" } }, encoding: { y, x: { value: 0 }, text: { field: "name" } } },
        { mark: { ...words, align: "right", fontWeight: 600 }, encoding: { y, x: { value: "width" }, text: { field: "aside" }, color } },
      ] : []),
    ],
  };
}

function phaseSpec(found) {
  return {
    width: "container", height: found.rows.length * 32, data: { name: "cells" },
    mark: { type: "rect", clip: true },
    encoding: {
      x: { field: "from", type: "quantitative", scale: { type: "log", nice: false }, axis: axisOf("training FLOP", [1, 1e9], true, { grid: false }) },
      x2: { field: "to" },
      y: { field: "row", type: "nominal", sort: found.rows, axis: { title: found.by, labelLimit: 150, ticks: false, domain: false, grid: false } },
      color: byModel("color"),
      opacity: { condition: { test: "datum.clear", value: 1 }, value: 0.4 },
    },
  };
}

function profileSpec() {
  return {
    width: "container", height: 240, autosize: { type: "fit", contains: "padding" }, data: { name: "rows" },
    mark: { type: "line", interpolate: "step-after", strokeWidth: 1.8 },
    encoding: {
      x: { field: "ratio", type: "quantitative", scale: { type: "log", nice: false }, axis: axisOf("error over the best, within a factor of", [1, 9], true, { grid: false }) },
      y: { field: "share", type: "quantitative", scale: { domain: [0, 1] }, axis: { title: "share of tasks", format: "%", tickCount: 5 } },
      color: byModel("color"),
    },
  };
}
