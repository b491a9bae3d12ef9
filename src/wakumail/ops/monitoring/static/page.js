// Asks for the page again while somebody looks, takes over what has changed, and draws what the
// numbers did meanwhile. The server keeps no history: it lies here, and in this tab's storage.

const INTERVAL = 2000; // milliseconds between two pages
const PATIENCE = 15000; // milliseconds until a page that does not come is given up
const KEPT = 900; // samples: half an hour
const FRESH = 60; // seconds after which the samples of an earlier visit are dropped
const LEAST_SPAN = 120; // seconds that a plot shows at least
const SMOOTHING = 10; // seconds over which a rate is taken
const QUANTILE_SPAN = 30; // seconds over which a quantile is taken
const UNBOUNDED = "wakumail_archive_max_bytes"; // if it is 0
const STORE = "wakumail samples";

const shown = new Map(); // the HTML of each part, as the server sent it
let samples = [];
let lastSeen = Date.now();
let pending = 0;

// -- numbers --------------------------------------------------------------------------------------

function sampleOf(page) {
  const values = {}, buckets = {};
  for (const cell of page.querySelectorAll("[data-metric]"))
    values[cell.dataset.metric] = Number(cell.dataset.value);
  for (const row of page.querySelectorAll("[data-buckets]")) {
    const name = row.querySelector("[data-histogram]").dataset.histogram;
    buckets[name] = JSON.parse(row.dataset.buckets).map(([bound, count]) =>
      [bound === "inf" ? Infinity : Number(bound), count]);
  }
  return { time: Date.now() / 1000, values, counts: column(buckets, 1), bounds: column(buckets, 0) };
}

const column = (buckets, i) =>
  Object.fromEntries(Object.entries(buckets).map(([name, rows]) => [name, rows.map((row) => row[i])]));

function earlier(index, span) {
  let before = index;
  while (before > 0 && samples[index].time - samples[before].time < span) before--;
  return before;
}

function rate(index, metric) {
  const now = samples[index], then = samples[earlier(index, SMOOTHING)];
  const change = now.values[metric] - then.values[metric];
  return now === then || !(change >= 0) ? null : change / (now.time - then.time);
}

function quantile(index, histogram, part, bounds) {
  const now = samples[index].counts[histogram];
  const then = samples[earlier(index, QUANTILE_SPAN)].counts[histogram];
  if (!now || !then || now.length !== then.length) return null;
  const counts = now.map((count, i) => count - then[i]);
  const rank = part * counts[counts.length - 1];
  if (!(rank > 0)) return null;
  const i = counts.findIndex((count) => count >= rank);
  const lower = i ? bounds[i - 1] : 0, before = i ? counts[i - 1] : 0;
  if (bounds[i] === Infinity) return lower;
  return lower + (bounds[i] - lower) * (rank - before) / (counts[i] - before);
}

function valuesOf(figure, key) {
  const { kind, of } = figure.dataset;
  const bounds = samples[samples.length - 1].bounds[of];
  return samples.map((sample, i) => {
    if (kind === "rate") return rate(i, key);
    if (kind === "quantile") return bounds ? quantile(i, of, Number(key), bounds) : null;
    if (key === UNBOUNDED && !sample.values[key]) return null;
    return sample.values[key] ?? null;
  });
}

const short = (number) => (number >= 9.95 || Number.isInteger(number) ? Math.round(number).toLocaleString("en")
  : number.toFixed(number < 0.095 ? 2 : 1));

function told(number, unit) {
  if (number === null) return "–";
  if (unit === "s") return number < 0.9995 ? `${short(number * 1000)} ms` : `${short(number)} s`;
  if (unit === "CPU") return number.toFixed(2);
  if (unit !== "B") return short(number) + unit;
  let power = 0;
  for (; number >= 999.5 && power < 4; power++) number /= 1000;
  return `${short(number)} ${["B", "kB", "MB", "GB", "TB"][power]}`;
}

// -- plots ----------------------------------------------------------------------------------------

const SVG = "http://www.w3.org/2000/svg";

function draw(parent, name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

function top(values) {
  const most = Math.max(0, ...values.flat().filter((value) => value !== null));
  if (!most) return 1;
  const step = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((n) => n * step).find((n) => n >= most * 1.0001) ?? 10 * step;
}

function line(values, x, y) {
  let path = "", pen = false;
  values.forEach((value, i) => {
    if (value !== null) path += `${pen ? "L" : "M"}${x(samples[i].time).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = value !== null;
  });
  return path;
}

function plot(figure) {
  const series = JSON.parse(figure.dataset.series), unit = figure.dataset.unit;
  const width = figure.clientWidth, height = 110, bottom = height - 16;
  const values = series.map(([, key]) => valuesOf(figure, key));
  const last = samples[samples.length - 1].time;
  const span = Math.max(LEAST_SPAN, last - samples[0].time);
  const most = top(values);
  const x = (time) => width - (last - time) / span * width;
  const y = (value) => bottom - value / most * (bottom - 12);

  const caption = document.createElement("figcaption");
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("aria-hidden", "true");
  for (const value of [0, most]) {
    draw(svg, "line", { class: "axis", x1: 0, x2: width, y1: y(value), y2: y(value) });
    if (value) draw(svg, "text", { x: 0, y: y(value) - 3 }, told(value, unit));
  }
  draw(svg, "text", { x: 0, y: height - 2 }, `${Math.round(span / 60)} min ago`);
  draw(svg, "text", { x: width, y: height - 2, "text-anchor": "end" }, "now");
  values.map((row, i) => [row, i]).reverse().forEach(([row, i]) => {
    const path = line(row, x, y);
    if (i === 0 && path && !path.slice(1).includes("M"))
      draw(svg, "path", { class: "area", d: areaBelow(path, bottom) });
    draw(svg, "path", { class: `s${i}`, d: path });
  });
  const at = figure.pointer;
  let index = samples.length - 1;
  if (at !== undefined) {
    index = samples.reduce((best, sample, i) =>
      Math.abs(x(sample.time) - at) < Math.abs(x(samples[best].time) - at) ? i : best, 0);
    const place = x(samples[index].time);
    draw(svg, "line", { class: "cursor", x1: place, x2: place, y1: 12, y2: bottom });
  }
  series.forEach(([name], i) => {
    const label = document.createElement("span"), number = document.createElement("b");
    label.className = `n${i}`;
    number.textContent = told(values[i][index], unit);
    label.append(number, i ? `┄ ${name}` : `― ${name}`);
    caption.append(label);
  });
  if (at !== undefined) {
    const when = document.createElement("span");
    when.textContent = new Date(samples[index].time * 1000).toLocaleTimeString();
    caption.append(when);
  }
  figure.classList.add("live");
  figure.replaceChildren(caption, svg);
}

function areaBelow(path, bottom) {
  const points = path.slice(1).split("L");
  const left = points[0].split(" ")[0], right = points[points.length - 1].split(" ")[0];
  return `${path}L${right} ${bottom}L${left} ${bottom}Z`;
}

function plotAll() {
  for (const figure of document.querySelectorAll(".plot")) {
    figure.classList.add("live"); // it has a width only when it is there
    plot(figure);
  }
}

// -- the page -------------------------------------------------------------------------------------

const partsOf = (page) => [...page.querySelectorAll("[data-part]")];

function takeOver(page) {
  const parts = partsOf(page);
  if (parts.map((part) => part.id).join() !== partsOf(document).map((part) => part.id).join()) {
    location.reload(); // a card has come or gone
    return;
  }
  for (const part of parts) {
    if (shown.get(part.id) === part.innerHTML) continue;
    shown.set(part.id, part.innerHTML);
    const own = document.getElementById(part.id);
    const open = own.querySelector("details")?.open ?? false;
    own.replaceChildren(...part.childNodes);
    if (open) own.querySelector("details").open = true;
    addButtons(own);
  }
  document.title = page.title;
}

async function refresh() {
  try {
    const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) throw new Error(answer.statusText);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const sample = sampleOf(page); // before its parts move
    takeOver(page);
    take(sample);
    lastSeen = Date.now();
  } catch {
    // The line below tells it.
  }
  const silent = Math.round((Date.now() - lastSeen) / 1000);
  const silence = document.getElementById("silence");
  silence.hidden = silent < 2 * INTERVAL / 1000;
  silence.textContent = silence.hidden ? "" : `■ The server has not answered for ${silent} s`;
}

function take(sample) {
  const before = samples[samples.length - 1];
  const started = "process_start_time_seconds";
  if (before && before.values[started] !== sample.values[started]) samples = [];
  samples.push(sample);
  samples = samples.slice(-KEPT);
  samples.slice(0, -1).forEach((old) => delete old.bounds);
  plotAll();
}

function addButtons(part) {
  for (const code of part.querySelectorAll("[data-copy]")) {
    const button = document.createElement("button");
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      button.textContent = (await copy(code)) ? "Copied" : "Select and copy";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    code.after(button);
  }
}

async function copy(code) {
  if (navigator.clipboard) // only over HTTPS and on this machine
    return navigator.clipboard.writeText(code.textContent).then(() => true, () => select(code));
  return select(code);
}

function select(code) {
  getSelection().selectAllChildren(code);
  return document.execCommand("copy");
}

function schedule() {
  clearTimeout(pending);
  if (document.visibilityState === "visible")
    pending = setTimeout(() => refresh().finally(schedule), INTERVAL);
}

function remembered() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(STORE)) ?? [];
    const last = kept[kept.length - 1];
    return last && Date.now() / 1000 - last.time < FRESH ? kept : [];
  } catch {
    return [];
  }
}

function remember() {
  try {
    sessionStorage.setItem(STORE, JSON.stringify(samples.map(({ time, values, counts }) =>
      ({ time, values, counts }))));
  } catch {
    // No room, or not allowed: the plots begin anew at the next visit.
  }
}

for (const part of partsOf(document)) {
  shown.set(part.id, part.innerHTML);
  addButtons(part);
}
for (const figure of document.querySelectorAll(".plot")) {
  figure.addEventListener("pointermove", (event) => {
    figure.pointer = event.clientX - figure.getBoundingClientRect().left;
    plot(figure);
  });
  figure.addEventListener("pointerleave", () => {
    delete figure.pointer;
    plot(figure);
  });
}
samples = remembered();
take(sampleOf(document));
addEventListener("resize", plotAll);
addEventListener("pagehide", remember);
document.addEventListener("visibilitychange", schedule);
schedule();
