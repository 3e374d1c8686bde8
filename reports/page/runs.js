// The table of runs (or of configurations, where there are too many runs), and the run that was chosen.
const PAGE = 50;
const search = document.getElementById("search");
const table = document.getElementById("run-table");
const many = page.configurations;
const source = many ? many.rows : page.runs.model.map((_, index) => {
  const row = { index };
  for (const [name, values] of Object.entries(page.runs)) row[name] = values[index];
  return row;
});
source.forEach((row) => {
  row.modelName = page.models[row.model].name;
  row.deviceName = many ? "" : page.devices[row.device];
  row.words = [row.identity, row.status, row.reason, row.task, row.condition, row.modelName, row.configuration, row.role, row.deviceName, row.backend, row.energy_method,
    row.seed == null ? "" : `seed=${row.seed}`, row.draw == null ? "" : `draw=${row.draw}`].join(" ").toLowerCase();
});
const COLUMNS = [
  ...(many ? [["runs", "Runs", "n"], ["finished", "Finished", "n"]] : [["status", "Status", "status"]]),
  ["task", "Task", ""],
  ...(source.some((row) => row.condition) ? [["condition", "Condition", ""]] : []),
  ["modelName", "Model", ""],
  ["configuration", "Configuration", "wrap"],
  ...(many ? [] : [["seed", "Seed", "n"], ["draw", "Draw", "n"]]),
  ["error", many ? "Median error" : "Error", "n"], ["train_flop", "FLOP", "n"], ["train_energy_j", "Joule", "n"], ["train_seconds", "Seconds", "n"],
  ...(!many && page.devices.length > 1 ? [["deviceName", "Device", ""]] : []),
  ...(many ? [] : [["identity", "Identity", "id"]]),
];
const total = many ? source.length : new Set(source.map((row) => row.identity)).size;
const order = { by: null, down: false, first: 0 };
const told = many ? "Query" : "Command";

function textOf(row) {
  return many ? row.query : row.command;
}

function rowsNow() {
  const values = new FormData(search);
  const words = values.get("words").toLowerCase().split(/\s+/).filter(Boolean);
  const status = values.get("status"), filtered = values.has("filtered");
  const seen = new Set();
  const once = (row) => many || !seen.has(row.identity) && seen.add(row.identity); // a run may stand for several conditions
  const rows = source.filter((row) =>
    words.every((word) => row.words.includes(word)) && (!status || row.status === status) &&
    (!filtered || (many ? state.models.has(row.model) && panelShown(row) : runShown(row.index))) && once(row));
  if (order.by) {
    const sign = order.down ? -1 : 1;
    rows.sort((a, b) => {
      const [x, y] = [a[order.by], b[order.by]];
      if (x == null || y == null) return (x == null) - (y == null); // unknown ones last, either way
      return sign * (typeof x === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true }));
    });
  }
  return rows;
}

function cell(row, [name, , kind]) {
  if (kind === "n") return make("td", { class: "n" }, number(row[name]));
  if (kind === "status") {
    const tone = row.status === "finished" ? "good" : row.status === "diverged" ? "bad" : "warn";
    return make("td", {}, make("span", { class: `badge ${tone}` }, row.status), row.reason ? make("span", { class: "why" }, row.reason) : null);
  }
  if (kind === "id") return make("td", {}, make("button", { type: "button", class: "small", "aria-label": `Show run ${row.identity}`, onclick: () => choose(row.index) }, row.identity.slice(0, 8)));
  return make("td", { class: kind }, row[name]);
}

function copyButton(row) {
  if (!textOf(row)) return make("td", {}, "—");
  const name = many ? `${row.modelName} ${row.configuration}` : `run ${row.identity.slice(0, 8)}`;
  return make("td", {}, make("button", { type: "button", class: "small copy", "aria-label": `Copy the ${told.toLowerCase()} of ${name}`, title: textOf(row), onclick: () => copy(textOf(row), told) }, "Copy"));
}

function drawRuns() {
  const rows = rowsNow();
  order.first = Math.max(0, Math.min(order.first, Math.floor((rows.length - 1) / PAGE) * PAGE));
  const last = Math.min(order.first + PAGE, rows.length);
  table.tHead.replaceChildren(make("tr", {}, make("th", { scope: "col" }, told), ...COLUMNS.map(([name, title, kind]) => {
    const sorted = order.by === name ? (order.down ? "descending" : "ascending") : null;
    const button = make("button", { type: "button", "data-by": name, onclick: () => sortBy(name) }, title);
    return make("th", { scope: "col", class: kind === "n" ? "n" : null, "aria-sort": sorted }, button);
  })));
  table.tBodies[0].replaceChildren(...rows.slice(order.first, last).map((row) => make("tr", {}, copyButton(row), ...COLUMNS.map((column) => cell(row, column)))));
  const things = many ? "configuration" : "run";
  const left = many && many.total > source.length ? ` of those listed; ${(many.total - source.length).toLocaleString("en")} more are found by the query above` : "";
  document.getElementById("found").textContent = `${several(rows.length, things)} of ${total.toLocaleString("en")}${left}.`;
  document.getElementById("page").textContent = rows.length ? `${order.first + 1} to ${last} of ${rows.length.toLocaleString("en")}` : "none";
  document.getElementById("previous").disabled = order.first === 0;
  document.getElementById("next").disabled = last >= rows.length;
}

function sortBy(name) {
  order.down = order.by === name && !order.down;
  order.by = name;
  order.first = 0;
  drawRuns();
  table.querySelector(`button[data-by="${name}"]`).focus();
}

function turn(pages) {
  order.first += pages * PAGE;
  drawRuns();
  table.closest(".scroll").scrollTop = 0;
}

let cameFrom;
function choose(index) {
  const { runs } = page, at = (name) => runs[name]?.[index];
  const box = document.getElementById("chosen"), command = at("command");
  cameFrom = document.activeElement;
  const close = make("button", { type: "button", class: "small", onclick: unchoose }, "Close");
  box.replaceChildren(
    make("div", { class: "chart-head" }, make("h2", { tabindex: -1 }, `${page.models[at("model")].name} on ${at("task")}`), close),
    command ? make("pre", { tabindex: 0, "aria-label": "The command that reproduces this point" }, command) : null,
    make("div", { class: "actions" }, command ? make("button", { type: "button", class: "copy", onclick: () => copy(command, "Command") }, "Copy the command that reproduces this point") : null),
    described([
      ["condition", at("condition")], ["configuration", at("configuration")], ["seed, data draw", `${number(at("seed"))}, ${number(at("draw"))}`],
      ["status", at("status")], ["reason", at("reason")], ["test error", number(at("error"))], ["training FLOP", number(at("train_flop"))],
      ["training energy", `${number(at("train_energy_j"))} J ${at("energy_method") ? `(${at("energy_method")})` : ""}`], ["training time", `${number(at("train_seconds"))} s`],
      ["parameters", number(at("parameters"))], ["training windows", number(at("data"))], ["backend, device", `${at("backend") ?? ""}, ${page.devices[at("device")]}`], ["identity", at("identity")],
    ]),
  );
  box.hidden = false;
  box.querySelector("h2").focus({ preventScroll: true });
}

function unchoose() {
  document.getElementById("chosen").hidden = true;
  cameFrom?.focus?.({ preventScroll: true });
}
