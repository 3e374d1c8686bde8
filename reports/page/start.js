// Everything is wired here.
function drawAll() {
  drawScalings();
  drawPhases();
  drawPriors();
  drawOverview();
}

function changed(event) {
  const before = { ...state };
  readFilters();
  const same = ["axis", "log", "task", "condition"].every((name) => before[name] === state[name]);
  if (same) { feedAll(); drawPriors(); drawOverview(); } else drawAll();
  sayShown();
  filterTables();
  order.first = 0;
  drawRuns();
}

function themed() {
  const button = document.getElementById("theme");
  button.textContent = isDark() ? "Light" : "Dark";
  button.setAttribute("aria-label", `Change to ${isDark() ? "light" : "dark"} colours`);
}

function remembered(value) {
  try { // a page opened as a file may have no storage
    if (value === undefined) return localStorage.getItem("report-theme");
    localStorage.setItem("report-theme", value);
  } catch { /* then the choice lasts as long as the page */ }
  return null;
}

const before = remembered();
if (before === "light" || before === "dark") document.documentElement.dataset.theme = before;
document.getElementById("theme").hidden = false;
document.getElementById("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  remembered(document.documentElement.dataset.theme);
  themed();
  drawAll();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { themed(); drawAll(); });
document.body.append(make("div", { class: "tip", role: "presentation", hidden: true }));
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && !document.getElementById("chosen").hidden) unchoose(); });
form.addEventListener("change", changed);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(changed));
document.getElementById("more-charts").addEventListener("click", () => { state.panels += 12; drawScalings(); });

for (const status of [...new Set(page.runs.status)].sort()) search.elements.status.append(make("option", {}, status));
search.elements.status.closest("label").hidden = Boolean(many);
search.addEventListener("input", () => { order.first = 0; drawRuns(); });
search.addEventListener("submit", (event) => event.preventDefault());
document.getElementById("previous").addEventListener("click", () => turn(-1));
document.getElementById("next").addEventListener("click", () => turn(1));

themed();
readFilters();
sayShown();
filterTables();
drawRuns();
drawAll();
// What tests and curious people may look at.
window.report = { page, state, charts, scalingRows, rowsNow };
