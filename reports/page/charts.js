// Charts: made when they are first seen, fed again when a filter changes, made anew when axes or colours do.
const charts = new Map(); // place -> {view, feed}
const pointsOf = page.panels.map(() => []);
page.points.run.forEach((run, point) => pointsOf[page.runs.panel[run]]?.push(point));

function positive(...values) {
  return values.every((value) => value != null && (!state.log || value > 0));
}

function scalingRows(panel) {
  const axis = state.axis, { points, runs } = page;
  const rows = { points: [], band: [], frontier: [], heldout: [], levels: [] };
  for (const point of points[axis] ? pointsOf[panel] : []) {
    const run = points.run[point];
    if (runShown(run) && positive(points[axis][point], points.error[point]))
      rows.points.push({ x: points[axis][point], y: points.error[point], model: runs.model[run], run, kind: "run" });
  }
  for (const s of page.scalings) {
    if (s.panel !== panel || s.axis !== axis || !state.models.has(s.model)) continue;
    const { model } = s, [cost, error, label] = s.frontier;
    cost.forEach((x, i) => positive(x, error[i]) && rows.frontier.push({ x, y: error[i], model, label: label[i], kind: "frontier" }));
    if (s.band) {
      const [at, middle, low, high] = s.band;
      const split = at.findLastIndex((x) => x <= s.reach);
      at.forEach((x, i) => {
        if (!positive(x, middle[i])) return;
        const row = { x, y: middle[i], low: Math.max(low[i] ?? 0, middle[i] / 1e3), high: Math.min(high[i] ?? Infinity, middle[i] * 1e3), model, kind: "fit", exponent: s.exponent ? `${number(s.exponent[0])} [${number(s.exponent[1])}, ${number(s.exponent[2])}]` : "" };
        if (i <= split) rows.band.push({ ...row, part: "fit" });
        if (i >= split) rows.band.push({ ...row, part: "beyond" });
      });
    }
    if (s.heldout) {
      const [at, seen, low, high] = s.heldout;
      at.forEach((x, i) => positive(x, seen[i], low[i], high[i]) && rows.heldout.push({ x, y: seen[i], low: low[i], high: high[i], model, kind: "held out" }));
    }
  }
  for (const level of page.levels)
    if (level.panel === panel && state.models.has(level.model) && positive(level.error))
      rows.levels.push({ y: level.error, name: page.models[level.model].name, model: level.model, kind: "reference" });
  return rows;
}

// Costs that were run at, and a decade of extrapolation; errors that were seen. What lies far off does not squash them.
function domainsOf(rows) {
  const seen = [...rows.points, ...rows.frontier].filter((row) => page.models[row.model].kind !== "reference");
  const fitted = seen.length ? seen : rows.band;
  if (!fitted.length) return { x: [1, 10], y: [0.1, 1] };
  let [left, right, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const { x, y } of fitted) [left, right, low, high] = [Math.min(left, x), Math.max(right, x), Math.min(low, y), Math.max(high, y)];
  const furthest = rows.band.reduce((most, row) => Math.max(most, row.x), right);
  right = Math.min(furthest, right * (state.log ? 10 : 1));
  for (const { y } of rows.levels) {
    if (y < low && y > low / 30) low = y;
    if (y > high && y < high * 30) high = y;
  }
  for (const row of rows.band) if (row.x <= right) low = Math.min(low, row.y);
  return state.log ? { x: [left / 1.25, right * 1.25], y: [low / 1.35, high * 1.35] } : { x: [0, right * 1.04], y: [0, high * 1.06] };
}

// The point within reach that is nearest to a finger or a mouse: small marks need no steady hand.
const REACH = 14; // pixels

function nearest(place, event) {
  const { view, rows } = charts.get(place);
  const box = place.querySelector("canvas").getBoundingClientRect(), origin = view.origin(), around = view.padding();
  const left = event.clientX - box.left - origin[0] - around.left, top = event.clientY - box.top - origin[1] - around.top;
  if (left < 0 || top < 0 || left > view.width() || top > view.height()) return null;
  const [x, y] = [view.scale("x"), view.scale("y")];
  let [best, found] = [REACH ** 2, null];
  for (const row of [...rows.heldout, ...rows.frontier, ...rows.points]) {
    const distance = (x(row.x) - left) ** 2 + (y(row.y) - top) ** 2;
    if (distance < best) [best, found] = [distance, row];
  }
  return found;
}

function hovered(place, event, item) {
  const row = charts.get(place).rows ? nearest(place, event) : null;
  place.style.cursor = row?.kind === "run" ? "pointer" : "";
  showTip(event, row ?? item?.datum);
}

function clicked(place, event) {
  if (!charts.get(place).rows) return;
  const row = nearest(place, event);
  if (row?.kind === "run") choose(row.run);
  else if (row?.kind === "frontier" || row?.kind === "held out") {
    const run = runAt(row);
    if (run != null) choose(run);
  }
}

// A point of the frontier stands for several seeds: the run of it that is closest.
function runAt(row) {
  const rows = page.runs.model.map((_, index) => index).filter((index) => page.runs.model[index] === row.model && runShown(index));
  const own = rows.filter((index) => !row.label || page.runs.configuration[index] === row.label);
  let [best, found] = [Infinity, null];
  page.points.run.forEach((run, point) => {
    if (!own.includes(run)) return;
    const distance = Math.abs(Math.log(page.points[state.axis][point] / row.x)) + Math.abs(Math.log(page.points.error[point] / row.y));
    if (distance < best) [best, found] = [distance, run];
  });
  return found;
}

function showTip(event, datum) {
  const tip = document.querySelector(".tip");
  const rows = datum && tipRows(datum);
  tip.hidden = !rows;
  if (!rows) return;
  tip.replaceChildren(make("b", {}, rows[0]), described(rows[1]));
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
  tip.style.top = `${event.clientY + 18 + height > innerHeight ? Math.max(8, event.clientY - height - 12) : event.clientY + 18}px`;
}

function tipRows(row) {
  const model = page.models[row.model]?.name, axis = axisNow(), { runs } = page;
  const at = [[axis.title, `${number(row.x)} ${axis.unit}`], ["error", number(row.y)]];
  if (row.kind === "run")
    return [model, [
      ["configuration", runs.configuration[row.run]], ["seed", number(runs.seed?.[row.run])], ["data draw", number(runs.draw?.[row.run])],
      ...at, ["status", runs.status[row.run]], ["device", page.devices[runs.device[row.run]]], ["", "choose it for its command"],
    ]];
  if (row.kind === "frontier") return [`${model}, frontier`, [["configuration", row.label], ...at]];
  if (row.kind === "fit") return [`${model}, fit`, [["exponent α", row.exponent]]];
  if (row.kind === "held out") return [`${model}, held out`, [...at, ["forecast", `${number(row.low)} to ${number(row.high)}`]]];
  if (row.kind === "reference") return [row.name, [["error", number(row.y)]]];
  return row.tip ?? null;
}

// Nothing is loaded: a page with all its data in it has no use for a loader.
const noLoader = { load: () => Promise.reject(new Error("nothing is loaded")), sanitize: () => Promise.reject(new Error("nothing is loaded")) };

async function draw(place, spec, data, label, feed) {
  charts.get(place)?.view?.finalize();
  const rows = data.points ? data : null;
  charts.set(place, { view: null, feed, rows });
  const made = await vegaEmbed(place, { $schema: "https://vega.github.io/schema/vega-lite/v6.json", ...spec, datasets: data, config: look() }, {
    ast: true, actions: false, defaultStyle: false, renderer: "canvas", tooltip: false, loader: noLoader, mode: "vega-lite",
  });
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", label);
  charts.set(place, { view: made.view, feed, rows });
  made.view.addEventListener("pointermove", (event, item) => hovered(place, event, item));
  made.view.addEventListener("pointerout", () => showTip(null, null));
  made.view.addEventListener("click", (event) => clicked(place, event));
  return made.view;
}

function inWords(panel) {
  const said = page.scalings.filter((s) => s.panel === panel && s.axis === state.axis && s.exponent && state.models.has(s.model));
  const exponents = said.map((s) => `${page.models[s.model].name} ${number(s.exponent[0])} (${number(s.exponent[1])} to ${number(s.exponent[2])})`);
  return `${page.panels[panel].label}: error against ${axisNow().title}. ${exponents.length ? `Exponents: ${exponents.join(", ")}.` : "No law could be fitted."} The numbers are in the tables of results and in the table of runs.`;
}

function zoomed(place, factor) {
  const view = charts.get(place)?.view;
  if (!view) return;
  for (const [signal, scale] of [["view_x", "x"], ["view_y", "y"]]) {
    if (factor === 0) { view.signal(signal, null); continue; }
    const ends = view.scale(scale).domain().map((end) => (state.log ? Math.log(end) : end));
    const middle = (ends[0] + ends[1]) / 2, half = ((ends[1] - ends[0]) / 2) * factor;
    view.signal(signal, [middle - half, middle + half].map((end) => (state.log ? Math.exp(end) : end)));
  }
  view.runAsync();
}

function scalingFigure(panel, height) {
  const place = make("div", { class: "plot" });
  place.style.minHeight = `${height}px`; // kept for it, so that nothing jumps when it is drawn
  const { label } = page.panels[panel];
  const button = (sign, factor, what) => make("button", { type: "button", class: "small", "aria-label": `${what}: ${label}`, title: what, onclick: () => zoomed(place, factor) }, sign);
  const zoom = make("span", { class: "zoom" }, button("+", 0.7, "Zoom in"), button("−", 1 / 0.7, "Zoom out"), button("⟲", 0, "Whole chart"));
  const figure = make("figure", { class: "chart" }, make("div", { class: "chart-head" }, make("h4", {}, label), zoom), place);
  const far = make("figcaption");
  figure.append(far);
  figure.draw = () => {
    const rows = scalingRows(panel), domains = domainsOf(rows);
    const off = rows.levels.filter(({ y }) => y < domains.y[0] || y > domains.y[1]).map(({ name, y }) => `${name} ${number(y)}`);
    far.textContent = off.length ? `Off the chart: ${off.join(", ")}.` : "";
    const feed = (view) => {
      const fed = scalingRows(panel);
      charts.get(place).rows = fed;
      for (const [name, values] of Object.entries(fed)) view.data(name, values);
      place.setAttribute("aria-label", inWords(panel));
      return view.runAsync();
    };
    return draw(place, scalingSpec(axisNow(), domains, state.log, height), rows, inWords(panel), feed);
  };
  return figure;
}

const waiting = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) if (isIntersecting) { waiting.unobserve(target); target.draw(); }
}, { rootMargin: "600px" });

function drawScalings() {
  const place = document.getElementById("scaling"), more = document.getElementById("more-charts");
  for (const old of place.querySelectorAll(".plot")) { charts.get(old)?.view?.finalize(); charts.delete(old); }
  const panels = page.panels.map((_, index) => index).filter((index) => panelShown(page.panels[index]));
  const height = panels.length === 1 && innerWidth > 700 ? 460 : 330;
  const figures = panels.slice(0, state.panels).map((panel) => scalingFigure(panel, height));
  place.replaceChildren(...figures);
  if (!figures.length) place.append(make("p", {}, "Nothing to draw: no task has this condition."));
  figures.forEach((figure) => waiting.observe(figure));
  more.hidden = panels.length <= state.panels;
  more.textContent = `Draw ${panels.length - state.panels} more`;
}

// Charts over tasks.
function exponentRows() {
  return page.scalings
    .filter((s) => s.axis === state.axis && s.exponent && state.models.has(s.model) && panelShown(page.panels[s.panel]))
    .map(({ panel, model, sure, exponent: [value, low, high] }) => ({
      row: page.panels[panel].label, model, value, low: low ?? value, high: high ?? value, sure,
      tip: [page.models[model].name, [["task", page.panels[panel].label], ["exponent α", `${number(value)} [${number(low)}, ${number(high)}]`], ["", sure ? "" : "something stands against it: see the table"]]],
    }));
}

function pairRows(found, reading) {
  return found
    .filter((d) => d.axis === state.axis && panelShown(page.panels[d.panel]) && (d.models ?? [d.model]).every((m) => m < 0 || state.models.has(m)))
    .sort((a, b) => a.panel - b.panel)
    .map((d, line) => {
      const [value, low, high] = d.estimate, task = page.panels[d.panel].label;
      return { line, name: `${task}: ${d.pair}`, aside: d.says ?? "", says: d.says ?? "", value, low: low ?? value, high: high ?? value, never: d.never, text: d.text,
        tip: [d.pair, [["task", task], [reading, d.text], ["", d.says ?? ""]]] };
    });
}

function saysColor() {
  const tones = { "escapes the wall": "--good", "offset only": "--calm", "hits a floor: crossed": "--warn", "black box catches up": "--warn", "black box ahead": "--bad", "cannot tell": "--open" };
  return { field: "says", type: "nominal", scale: { domain: Object.keys(tones), range: Object.values(tones).map(shade) }, legend: null };
}

async function overview(id, spec, rows, label) {
  const place = document.getElementById(id);
  if (!place) return;
  place.closest("figure").hidden = !rows.length;
  if (rows.length) await draw(place, spec, { rows }, label, null);
}

function drawOverview() {
  const axis = axisNow();
  const exponents = exponentRows(), differences = pairRows(page.differences, "Δα").filter((row) => row.value != null);
  const pays = pairRows(page.breakEvens, "predictions");
  const later = pays.filter((row) => row.value > 0).map((row) => ({ ...row, aside: row.text, low: Math.max(row.low, row.value / 1e3), high: Math.max(row.high, row.value) }));
  const rest = document.getElementById("break-even-rest");
  if (rest) rest.textContent = `Not drawn: ${pays.filter((row) => row.value === 0).length} that cost less from the start, ${pays.filter((row) => row.never).length} that never do.`;
  const jobs = [
    overview("exponents", exponentSpec(exponents), exponents, `Exponents by ${axis.title}: ${exponents.map((r) => `${r.row}, ${page.models[r.model].name} ${number(r.value)}`).join("; ")}`),
    overview("differences", pairSpec("difference of exponents Δα", differences, saysColor(), { zero: true }), differences,
      `Differences of exponents by ${axis.title}: ${differences.map((r) => `${r.name} ${r.text}, ${r.says}`).join("; ")}`),
    overview("break-evens", pairSpec("predictions until it pays", later, { value: shade("--link") }, { log: true }), later,
      `Break-even by ${axis.title}: ${later.map((r) => `${r.name} ${r.text}`).join("; ")}`),
  ];
  const profiles = document.getElementById("profiles");
  if (profiles) {
    const rows = page.profiles.filter((p) => p.axis === state.axis && state.models.has(p.model))
      .flatMap((p) => p.ratio.map((ratio, i) => ({ ratio, share: p.share[i], model: p.model, tip: [page.models[p.model].name, [["within a factor", number(ratio)], ["share of tasks", number(p.share[i])]]] })));
    profiles.closest("figure").hidden = !rows.length;
    if (rows.length) jobs.push(draw(profiles, profileSpec(), { rows }, `Performance profile by ${axis.title}`, null));
  }
  return Promise.all(jobs);
}

// The phase diagram is over FLOP, as the static figure is; a task's is hidden with the task.
function drawPhases() {
  const place = document.getElementById("phases");
  if (!place) return;
  for (const old of place.querySelectorAll(".plot")) { charts.get(old)?.view?.finalize(); charts.delete(old); }
  const found = page.phases.filter((phase) => !state.task || phase.title.startsWith(state.task));
  place.replaceChildren(...found.map((phase) => {
    const plot = make("div", { class: "plot" });
    const winners = [...new Set(phase.cells.map((cell) => cell.model))].sort((a, b) => a - b);
    const key = make("ul", { class: "cells" }, ...winners.map((model) => {
      const item = make("li", {}, page.models[model].name);
      item.prepend(document.querySelectorAll("#filters .chip .swatch")[model].cloneNode(true));
      return item;
    }));
    const cells = phase.cells.map((cell) => ({ ...cell, tip: [page.models[cell.model].name, [[phase.by, cell.row], ["training FLOP", `${number(cell.from)} to ${number(cell.to)}`], ["", cell.clear ? "below every run of the runner-up" : "runs overlap with the runner-up's"]]] }));
    const shares = phase.rows.map((row) => {
      const mine = cells.filter((cell) => cell.row === row);
      return `${phase.by} ${row}: ${winners.map((model) => `${page.models[model].name} at ${mine.filter((cell) => cell.model === model).length}`).join(", ")} of ${mine.length} costs`;
    });
    const figure = make("figure", { class: "chart" }, make("h4", {}, phase.title), key, plot);
    plot.style.minHeight = `${phase.rows.length * 32 + 45}px`;
    figure.draw = () => draw(plot, phaseSpec(phase), { cells }, `${phase.title}: which model has the least error. ${shares.join("; ")}`, null);
    return figure;
  }));
  for (const figure of place.children) waiting.observe(figure);
}

function feedAll() {
  for (const { view, feed } of charts.values()) if (view && feed) feed(view);
}
