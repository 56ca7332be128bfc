// What a person does with a page: read a chart, hide, zoom, smooth, save; leaf through sheets; copy a command.
// The page is whole without it: every chart is drawn already, from the numbers that are used here.
const charts = [], bars = [];

// What holds for all charts stays when the page comes anew, as that of a run under way does.
const KEPT = `distillkit ${location.pathname}`;
const keep = () => {
  try { sessionStorage.setItem(KEPT, JSON.stringify({ ...shared, hidden: [...shared.hidden] })); } catch { /* a browser that keeps nothing */ }
};
const recall = () => {
  try {
    const { smooth, time, hidden } = JSON.parse(sessionStorage.getItem(KEPT)) ?? shared;
    Object.assign(shared, { smooth, time, hidden: new Set(hidden) });
  } catch { /* nothing was kept */ }
  return shared.smooth > 0 || shared.time || shared.hidden.size > 0;
};

// The numbers at one place of the x axis, in a box beside it; null: none.
function read(chart, x) {
  chart.at = x;
  chart.cross.replaceChildren();
  chart.told.hidden = x === null;
  if (x === null) return;
  const place = chart.across.at(x), [unit] = clock(chart), lines = [];
  chart.cross.append(shape("line", { x1: place, x2: place, y1: TOP, y2: HEIGHT - BOTTOM }));
  for (const one of chart.curves) {
    const i = one.x.indexOf(x);
    if (i < 0) continue;
    const y = one.line[i], sd = one.sd[i] ? ` \u00b1 ${plain(one.sd[i], 2)}` : "";
    if (known(y)) chart.cross.append(shape("circle", { class: `dot ${one.css}`.trim(), cx: place, cy: chart.upwards.at(y), r: 3.5 }));
    lines.push(`${chart.data.several ? `${one.name}: ` : ""}${known(y) ? number(y) + sd : "not finite"}`);
  }
  chart.told.replaceChildren(...[`${number(Number(x.toPrecision(6)))} ${unit}`, ...lines].map((line) => tag("div", {}, line)));
  chart.told.classList.toggle("left", place > (LEFT + chart.data.right) / 2);
}
const places = (chart) => {
  const [from, to] = chart.zoom ?? [-Infinity, Infinity];
  return [...new Set(chart.curves.flatMap((one) => one.x))].filter((x) => x >= from && x <= to).sort((a, b) => a - b);
};
const zoom = (chart, from, to) => {
  const inside = shown(chart).flatMap((one) => one.x).filter((x) => x >= from && x <= to);
  if (new Set(inside).size < 2) return;  // nothing would be left to see
  chart.zoom = [from, to];
  draw(chart);
};
const whole = (chart) => { chart.zoom = null; draw(chart); };
const closer = (chart, by) => {
  const all = places(chart), from = all[0], to = all.at(-1), middle = chart.at ?? (from + to) / 2;
  if (by > 1 && !chart.zoom) return;
  zoom(chart, middle - (middle - from) * by, middle + (to - middle) * by);
};

function handle(chart) {
  const { svg, plot } = chart;
  const x_of = (event) => {
    const box = svg.getBoundingClientRect();
    const place = Math.min(Math.max((event.clientX - box.left) * WIDTH / box.width, LEFT), chart.data.right);
    return chart.across.back(place);
  };
  const nearest = (x) => places(chart).reduce((best, one) => best === null || Math.abs(one - x) < Math.abs(best - x) ? one : best, null);
  let start = null, band = null;
  svg.addEventListener("pointerdown", (event) => {
    ready(chart);
    start = x_of(event);
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => {
    ready(chart);
    const x = x_of(event);
    read(chart, nearest(x));
    if (start === null) return;
    band?.remove();
    const [a, b] = [start, x].sort((one, other) => one - other).map(chart.across.at);
    band = shape("rect", { class: "zoom", x: a, y: TOP, width: b - a, height: HEIGHT - BOTTOM - TOP });
    svg.append(band);
  });
  const end = (event) => {
    band?.remove();
    const [from, to] = [start, x_of(event)].sort((one, other) => one - other);
    if (start !== null && event.type === "pointerup" && chart.across.at(to) - chart.across.at(from) > 8) zoom(chart, from, to);
    start = band = null;
  };
  svg.addEventListener("pointerup", end);
  svg.addEventListener("pointercancel", end);
  svg.addEventListener("pointerleave", () => { if (start === null && chart.cross) read(chart, null); });
  svg.addEventListener("dblclick", () => whole(chart));
  plot.addEventListener("blur", () => { if (chart.cross) read(chart, null); });
  plot.addEventListener("keydown", (event) => {
    ready(chart);
    const all = places(chart), i = all.indexOf(chart.at), last = all.length - 1;
    const go = { ArrowLeft: i < 0 ? last : Math.max(i - 1, 0), ArrowRight: Math.min(i + 1, last), Home: 0, End: last }[event.key];
    const does = { "+": () => closer(chart, 0.5), "-": () => closer(chart, 2), 0: () => whole(chart), Escape: () => whole(chart) }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || (go === undefined && !does)) return;
    event.preventDefault();
    if (does) does(); else read(chart, all[go]);
  });
}
const ready = (chart) => { if (!chart.cross) draw(chart); };

function csv(chart) {
  const quoted = (text) => /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  const rows = [["curve", chart.data.unit, "seconds", "value", "deviation"]];
  for (const one of chart.data.curves)
    one.x.forEach((x, i) => rows.push([one.name, x, one.seconds[i] ?? "", known(one.y[i]) ? one.y[i] : "nan", one.sd[i] ?? ""]));
  const text = rows.map((row) => row.map((cell) => quoted(String(cell))).join(",")).join("\n") + "\n";
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  tag("a", { href: url, download: `${chart.data.title.replace(/[^\w.=-]+/g, "_")}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

// A button that hides a curve or a line by its name, and shows it again.
const toggle = (name, hidden, redraw) => {
  const one = button(name.replace(/^.* (?=as \w+$)/, ""), `hide or show ${name}`, () => {
    if (!hidden.delete(name)) hidden.add(name);
    pressed(one, !hidden.has(name));
    redraw();
  });
  pressed(one, true);
  return one;
};

function prepare(svg, i) {
  const data = JSON.parse(svg.dataset.chart);
  const chart = { svg, data, number: i, zoom: null, log: null, at: null, cross: null, hidden: new Set() };
  chart.plot = tag("div", { class: "plot", tabindex: 0, role: "group",
    "aria-label": `${data.title}: arrows read values, plus and minus zoom, zero shows all` });
  chart.told = tag("output", { hidden: "" });
  svg.replaceWith(chart.plot);
  chart.plot.append(svg, chart.told);
  chart.logged = button("log", "logarithmic or linear", () => { ready(chart); chart.log = !chart.upwards.log; draw(chart); });
  chart.reset = button("whole", "the whole curve again", () => whole(chart));
  chart.reset.hidden = true;
  const values = [...data.curves.flatMap((one) => one.y), ...Object.values(data.references)].filter(known);
  pressed(chart.logged, up(values, 0, 1, data.log).log);
  chart.logged.hidden = values.some((y) => y <= 0);
  const names = [...Object.keys(data.references), ...(data.behind ? [data.behind.name] : [])];
  if (data.several && !document.querySelector(".legend")) names.unshift(...data.curves.map((one) => one.name));
  const hide = names.map((name) => toggle(name, chart.hidden, () => draw(chart)));
  chart.plot.after(tag("div", { class: "tools" }, ...hide, chart.logged, chart.reset, button("CSV", `${data.title} as a table`, () => csv(chart))));
  handle(chart);
  return chart;
}

// Above the first charts of a section: what holds for all.
function bar(grid) {
  const time = button("over time", "images or time of training along the x axis", () => {
    shared.time = !shared.time;
    for (const chart of charts) chart.zoom = null;
    all();
  });
  const slider = tag("input", { type: "range", min: 0, max: 0.98, step: 0.02, value: 0, "aria-label": "smoothing" });
  slider.addEventListener("input", () => { shared.smooth = Number(slider.value); all(); });
  const all = () => {
    for (const one of bars) { pressed(one.time, shared.time); one.slider.value = shared.smooth; }
    charts.forEach(draw);
    keep();
  };
  pressed(time, shared.time);
  slider.value = shared.smooth;
  time.hidden = !charts.some((chart) => grid.contains(chart.svg) && chart.data.curves.some((one) => one.seconds.length));
  bars.push({ time, slider });
  grid.before(tag("div", { class: "tools bar", role: "group", "aria-label": "all charts" }, time, tag("label", {}, "smooth ", slider)));
}

// One sheet at a time, the last first, in place of all of them.
function leaf(found) {
  const sheets = found.sort((a, b) => Number(a.dataset.kimg) - Number(b.dataset.kimg));
  const image = tag("img"), caption = tag("figcaption", { "aria-live": "polite" });
  const slider = tag("input", { type: "range", min: 0, max: sheets.length - 1, step: 1, "aria-label": "sheet" });
  const show = () => {
    const one = sheets[slider.value], picture = one.querySelector("img");
    put(image, { src: picture.src, alt: picture.alt, class: picture.className, width: picture.getAttribute("width") });
    caption.textContent = one.querySelector("figcaption").textContent;
    slider.setAttribute("aria-valuetext", caption.textContent);
  };
  slider.value = sheets.length - 1;
  slider.addEventListener("input", show);
  show();
  const folded = document.querySelector("details.sheets");
  (folded?.previousElementSibling ?? sheets[0].parentElement).append(tag("figure", { class: "leaf half" }, caption, slider, image));
  for (const one of sheets) one.hidden = true;
  if (folded) folded.hidden = true;
}

function copied(code) {
  const one = button("copy", "copy this line", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      one.textContent = "copied";
    } catch {  // a browser that keeps pages from it: the line is marked, for the keys
      getSelection().selectAllChildren(code);
      one.textContent = "marked";
    }
    setTimeout(() => { one.textContent = "copy"; }, 2000);
  });
  code.after(one);
}

document.documentElement.classList.add("scripted");
const changed = recall();
document.querySelectorAll("svg[data-chart]").forEach((svg, i) => charts.push(prepare(svg, i)));
for (const one of document.querySelectorAll(".legend [data-series]")) {
  const name = one.dataset.series, made = button("", `hide or show ${name}`, () => {
    if (!shared.hidden.delete(name)) shared.hidden.add(name);
    for (const each of document.querySelectorAll(".legend button")) pressed(each, !shared.hidden.has(each.dataset.series));
    charts.forEach(draw);
    keep();
  });
  made.append(...one.childNodes);
  made.dataset.series = name;
  pressed(made, !shared.hidden.has(name));
  one.replaceWith(made);
}
if (changed) charts.forEach(draw);
const sections = new Set();
for (const grid of document.querySelectorAll(".charts")) {
  const section = grid.closest("section");
  if (!sections.has(section) && grid.querySelector("svg[data-chart]")) bar(grid);
  sections.add(section);
}
const sheets = [...document.querySelectorAll("figure.sheet")];
if (sheets.length > 2) leaf(sheets);
document.querySelectorAll(".next code, [data-copy]").forEach(copied);
