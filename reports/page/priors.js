// Error against how wrong a prior is. Both axes are logarithmic; delta = 0 stands apart at the left.
const GAP = 4, FLOOR_GAP = 30; // as in the static figure: how far 0 is from the least delta, and a floor from what was measured
const HOW = { hard: "the told equations alone", fitted: "the told equations, parameters fitted", soft: "with a network" };

function priorRows(found) {
  const deltas = found.steps.map((step) => step.delta), least = Math.min(...deltas.filter((delta) => delta > 0), 1);
  const at = (delta) => delta || least / GAP;
  const rows = { floors: [], told: [], lines: [], boxes: [] };
  const name = page.models[found.model].name;
  for (const { model, error: [value, low, high] } of found.boxes)
    if (state.models.has(model) && value > 0)
      rows.boxes.push({ model, least: !rows.boxes.length, y: value, low: low ?? value, high: high ?? value, name: page.models[model].name, tip: [page.models[model].name, [["error", between(value, low, high)]]] });
  for (const step of found.steps) {
    const x = at(step.delta);
    for (const [how, [value, low, high]] of state.models.has(found.model) ? Object.entries(step.measured) : []) {
      if (!(value > 0)) continue;
      const row = { x, y: value, low: low ?? value, high: high ?? value, how, model: found.model, tip: [`${name}, ${how}: ${HOW[how]}`, [["delta", number(step.delta)], ["error", between(value, low, high)], ["floor", number(step.floor)]]] };
      rows.told.push(row);
      if (step.delta > 0 && how !== "hard") rows.lines.push(row); // along hard ones the floor runs
    }
  }
  const seen = [...rows.told, ...rows.boxes].flatMap(({ low, y, high }) => [low, y, high]).filter((value) => value > 0);
  const bottom = seen.length ? Math.min(...seen) : 0;
  const far = [];
  for (const step of found.steps) {
    if (step.floor == null) continue;
    if (step.floor > bottom / FLOOR_GAP) rows.floors.push({ x: at(step.delta), y: step.floor, tip: ["floor, computed", [["delta", number(step.delta)], ["error", number(step.floor)]]] });
    else far.push(`the floor of delta = ${number(step.delta)}, ${number(step.floor)}`);
  }
  seen.push(...rows.floors.map(({ y }) => y));
  const x = deltas.map(at);
  const domains = { x: [Math.min(...x) / 1.5, Math.max(...x) * 1.5], y: seen.length ? [Math.min(...seen) / 1.6, Math.max(...seen) * 1.6] : [0.1, 1] };
  return { rows, domains, far, ticks: x, least };
}

function between(value, low, high) {
  return low == null || high == null ? number(value) : `${number(value)} [${number(low)}, ${number(high)}]`;
}

function priorSpec(found, { domains, ticks, least }) {
  const x = {
    field: "x", type: "quantitative", scale: { type: "log", domain: domains.x, nice: false },
    axis: { title: "delta, how wrong the prior is", values: ticks, labelExpr: `datum.value < ${least * 0.99} ? '0' : format(datum.value, '~g')`, grid: false },
  };
  const y = { field: "y", type: "quantitative", scale: { type: "log", domain: domains.y, nice: false }, axis: axisOf(`test error (${found.metric})`, domains.y, true) };
  const color = byModel("color"), shape = byModel("shape");
  const only = (test) => [{ filter: test }];
  const soft = only("datum.how === 'soft'"), alone = only("datum.how !== 'soft'"); // where they are equal, a ring around a dot
  return {
    width: "container", height: 300, autosize: { type: "fit", contains: "padding" },
    layer: [
      { data: { name: "boxes" }, mark: { type: "rect", opacity: 0.16, clip: true }, encoding: { y: { ...y, field: "low" }, y2: { field: "high" }, color } },
      { data: { name: "boxes" }, mark: { type: "rule", strokeWidth: 1.3, clip: true }, encoding: { y, color } },
      { data: { name: "boxes" }, transform: only("datum.least"), mark: { type: "text", align: "right", baseline: "top", dy: 4, dx: -4, clip: true }, encoding: { y, x: { value: "width" }, text: { field: "name" } } },
      { data: { name: "boxes" }, transform: only("!datum.least"), mark: { type: "text", align: "right", baseline: "bottom", dy: -2, dx: -4, clip: true }, encoding: { y, x: { value: "width" }, text: { field: "name" } } },
      { data: { name: "floors" }, mark: { type: "line", strokeDash: [5, 4], strokeWidth: 1.6, color: shade("--ink"), clip: true }, encoding: { x, y } },
      { data: { name: "lines" }, mark: { type: "line", strokeWidth: 1.2, clip: true }, encoding: { x, y, color, detail: { field: "how" } } },
      { data: { name: "told" }, mark: { type: "rule", strokeWidth: 1.6, clip: true }, encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" }, color } },
      { data: { name: "told" }, transform: alone, mark: { type: "point", filled: true, size: 130, opacity: 1 }, encoding: { x, y, color, shape } },
      { data: { name: "told" }, transform: alone, mark: { type: "point", filled: true, size: 70, opacity: 1, color: shade("--paper") }, encoding: { x, y, shape } },
      { data: { name: "told" }, transform: soft, mark: { type: "point", filled: true, size: 45, opacity: 1 }, encoding: { x, y, color, shape } },
    ],
  };
}

function priorInWords(found) {
  const steps = found.steps.map((step) => {
    const measured = Object.entries(step.measured).map(([how, [value, low, high]]) => `${how} ${between(value, low, high)}`);
    return `delta ${number(step.delta)}: ${[`floor ${number(step.floor)}`, ...measured].join(", ")}`;
  });
  const boxes = found.boxes.map(({ model, error }) => `${page.models[model].name} ${between(...error)}`);
  return `${found.title}, ${found.metric} against delta. ${steps.join("; ")}. Black boxes: ${boxes.join(", ") || "none"}.`;
}

function drawPriors() {
  const place = document.getElementById("prior-charts");
  if (!place) return;
  for (const old of place.querySelectorAll(".plot")) { charts.get(old)?.view?.finalize(); charts.delete(old); }
  const shown = page.priors.filter((found) => !state.task || found.task === state.task);
  place.replaceChildren(...shown.map((found) => {
    const plot = make("div", { class: "plot" });
    plot.style.minHeight = "300px";
    const made = priorRows(found);
    const below = made.far.length ? make("figcaption", {}, `Below the chart: ${made.far.join(", ")}.`) : null;
    const figure = make("figure", { class: "chart" }, make("h4", {}, `${found.title}, ${found.metric}`), plot, below);
    figure.draw = () => draw(plot, priorSpec(found, made), made.rows, priorInWords(found), null);
    return figure;
  }));
  for (const figure of place.children) waiting.observe(figure);
}
