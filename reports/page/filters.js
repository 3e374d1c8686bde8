// What is shown: read from the form, kept in one place.
const form = document.getElementById("filters");
const state = { axis: page.axes[0].key, task: "", condition: "", device: "", log: true, models: new Set(), panels: 6 };

function readFilters() {
  const values = new FormData(form);
  for (const name of ["axis", "task", "condition", "device"]) state[name] = values.get(name) ?? state[name];
  state.log = values.has("log");
  state.models = new Set(values.getAll("model").map(Number));
}

function axisNow() {
  return page.axes.find((axis) => axis.key === state.axis);
}

function panelShown(panel) {
  return (!state.task || panel.task === state.task) && (!state.condition || panel.condition === state.condition);
}

function runShown(index) {
  const { task, condition, model, device } = page.runs;
  return (
    (!state.task || task[index] === state.task) && (!state.condition || condition[index] === state.condition) &&
    state.models.has(model[index]) && (!state.device || page.devices[device[index]] === state.device)
  );
}

function sayShown() {
  const runs = page.runs.identity ?? page.runs.model.map((_, index) => index); // one may stand for several conditions
  const count = new Set(runs.filter((_, index) => runShown(index))).size;
  const panels = page.panels.filter(panelShown).length;
  const device = state.device ? " Fits are of all devices." : "";
  document.getElementById("shown").textContent =
    `${several(count, "run")} of ${new Set(runs).size.toLocaleString("en")}${page.configurations ? " drawn" : ""} in ${several(panels, "chart")}, ` +
    `${several(state.models.size, "model")}, by ${axisNow().title}.${device}`;
}

// Tables of results: rows are there already; those that do not fit are hidden.
function filterTables() {
  const names = new Set([...state.models].map((index) => page.models[index].name));
  const every = new Set(page.models.map((model) => model.name));
  for (const table of document.querySelectorAll("table.results")) {
    const axes = table.dataset.axes.split(" ");
    const chosen = axes.includes(state.axis) ? state.axis : axes[0];
    for (const row of table.tBodies[0].rows) {
      const { task, condition, axis, models } = row.dataset;
      row.hidden =
        (axis && axis !== chosen) ||
        (task && state.task && task !== state.task) ||
        (task && state.condition && condition !== undefined && condition !== state.condition) ||
        JSON.parse(models).some((name) => every.has(name) && !names.has(name));
    }
  }
}
