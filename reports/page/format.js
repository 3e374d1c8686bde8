// Elements, numbers and words. Text goes in as text: nothing here parses markup.
const page = JSON.parse(document.getElementById("data").textContent);
const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

function raised(power) {
  return (power < 0 ? "⁻" : "") + [...String(Math.abs(power))].map((digit) => RAISED[digit]).join("");
}

// As reports.page.words.text_of writes it.
function number(value) {
  if (value == null || Number.isNaN(value)) return "—";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e4) return String(value).replace("-", "−");
  if (size >= 0.01 && size < 9999.5) return String(Number(value.toPrecision(size >= 999.5 ? 4 : 3))).replace("-", "−");
  const [mantissa, power] = value.toExponential(2).split("e");
  const short = String(Number(mantissa)).replace("-", "−");
  return (short === "1" ? "" : `${short}×`) + "10" + raised(Number(power));
}

function several(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

function described(rows) {
  const list = make("dl");
  for (const [term, value] of rows) if (value !== "" && value != null) list.append(make("dt", {}, term), make("dd", {}, value));
  return list;
}

let silence;
function tell(text) {
  const told = document.getElementById("told");
  told.textContent = text;
  told.classList.add("now");
  clearTimeout(silence);
  silence = setTimeout(() => told.classList.remove("now"), 2500);
}

// A page opened as a file may have no clipboard; a selected text area does then.
async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make("textarea", { "aria-hidden": "true", class: "skip", readonly: true });
    area.value = text;
    const before = document.activeElement;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    before?.focus({ preventScroll: true });
    if (!done) return tell("The browser does not let this page copy: select the text instead");
  }
  tell(`${what} copied`);
}
