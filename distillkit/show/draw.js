// Draws a chart anew, as svg.py did: zoomed, smoothed, over time, without what is hidden.
const WIDTH = 360, HEIGHT = 220, LEFT = 52, RIGHT = 14, TOP = 30, BOTTOM = 40;
const LINE = 11, SWATCH = 12, END = 16, DOTTED = 40, CHARACTER = 6.2;
const shared = { smooth: 0, time: false, hidden: new Set() };

const put = (element, attributes) => {
  for (const [name, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(name, value);
  return element;
};
const tag = (name, attributes = {}, ...inside) => {
  const made = put(document.createElement(name), attributes);
  made.append(...inside);
  return made;
};
const shape = (name, attributes, text) => {
  const made = put(document.createElementNS(document.querySelector("svg").namespaceURI, name), attributes);
  if (text !== undefined) made.textContent = text;
  return made;
};
const button = (name, told, action) => {
  const made = tag("button", { type: "button", title: told }, name);
  made.addEventListener("click", action);
  return made;
};
const pressed = (one, on) => one.setAttribute("aria-pressed", String(on));

// An average over the points before, weights falling by `w`, without the pull of a start at zero.
const smoothed = (ys, w) => {
  let sum = 0, weight = 0;
  return ys.map((y) => {
    if (!known(y)) return null;
    [sum, weight] = [w * sum + (1 - w) * y, w * weight + (1 - w)];
    return sum / weight;
  });
};
const spread = (places) => {
  const found = [...places];
  for (let round = 0; round < 2 * found.length; round++)
    for (let i = 0; i + 1 < found.length; i++)
      if (found[i + 1] - found[i] < LINE) {
        const middle = (found[i] + found[i + 1]) / 2;
        [found[i], found[i + 1]] = [middle - LINE / 2, middle + LINE / 2];
      }
  for (let i = 0; i < found.length; i++) found[i] = Math.max(found[i], i ? found[i - 1] + LINE : TOP);
  for (let i = found.length - 1; i >= 0; i--) found[i] = Math.min(found[i], i + 1 < found.length ? found[i + 1] - LINE : HEIGHT - BOTTOM);
  return found;
};
const shortened = (name) => name.length <= END ? name : `${name.slice(0, 5)}\u2026${name.slice(6 - END)}`;

const timed = (chart) => shared.time && chart.data.curves.every((one) => one.seconds.length === one.x.length);
const clock = (chart) => {
  if (!timed(chart)) return [chart.data.unit, 1];
  const end = most(chart.data.curves.flatMap((one) => one.seconds));
  return end > 7200 ? ["hours", 3600] : end > 120 ? ["minutes", 60] : ["seconds", 1];
};
// Curves as they are shown: in the unit of the x axis, smoothed, without those that are hidden.
const shown = (chart) => {
  const [, by] = clock(chart);
  return chart.data.curves
    .filter((one) => !shared.hidden.has(one.name) && !chart.hidden.has(one.name))
    .map((one) => ({ ...one, x: timed(chart) ? one.seconds.map((s) => s / by) : one.x,
      line: shared.smooth ? smoothed(one.y, shared.smooth) : one.y }));
};

function draw(chart) {
  const { data, svg } = chart, curves = shown(chart), parts = [], bottom = HEIGHT - BOTTOM, right = data.right;
  const behind = data.behind && !timed(chart) && !chart.hidden.has(data.behind.name) ? data.behind : null;
  const references = Object.entries(data.references).map(([name, y], i) => [name, y, i]).filter(([name]) => !chart.hidden.has(name));
  const all = [...curves, ...(behind ? [{ ...behind, line: behind.y, sd: [] }] : [])];
  const xs = all.flatMap((one) => one.x);
  const [from, to] = chart.zoom ?? [least(xs), most(xs)];
  const within = (x) => x >= from && x <= to;
  const values = all.flatMap((one) => one.y.filter((y, i) => known(y) && within(one.x[i])));
  values.push(...references.map(([, y]) => y));
  const edges = curves.flatMap((one) => one.y.flatMap((y, i) => one.sd[i] && known(y) && within(one.x[i]) ? [y - one.sd[i], y + one.sd[i]] : []));
  const asked = chart.log ?? data.log, wide = up(values, 0, 1, asked).log, low = least(values) / 2;
  const across_ = across(from, to, LEFT, right);
  const upwards = up([...values, ...edges.filter((edge) => !wide || edge > low)], bottom, TOP, asked);
  Object.assign(chart, { across: across_, upwards, curves });
  const add = (...given) => parts.push(shape(...given));
  const f = (value) => value.toFixed(1), at = (x, y) => `${f(across_.at(x))},${f(upwards.at(y))}`;

  for (const value of upwards.ticks()) {
    const y = upwards.at(value);
    add("line", { class: "grid", x1: LEFT, x2: right, y1: f(y), y2: f(y) });
    add("text", { class: "label", "text-anchor": "end", x: LEFT - 6, y: f(y + 4) }, short(value));
  }
  for (const value of across_.ticks()) {
    const x = f(across_.at(value));
    add("line", { class: "axis", x1: x, x2: x, y1: bottom, y2: bottom + 4 });
    add("text", { class: "label", "text-anchor": "middle", x, y: bottom + 16 }, short(value));
  }
  for (const x of timed(chart) ? [] : data.marks)
    if (within(x)) add("path", { class: "mark", d: `M${f(across_.at(x))} ${bottom}l-3 -5h6z` });
  add("line", { class: "axis", x1: LEFT, x2: right, y1: bottom, y2: bottom });
  let place = LEFT;
  for (const [name, value, i] of references) {
    const y = f(upwards.at(value)), told = `${name} ${number(value)}`;
    add("line", { class: `ref${i}`, x1: LEFT, x2: right, y1: y, y2: y });
    add("line", { class: `ref${i}`, x1: place, x2: place + 18, y1: HEIGHT - 9, y2: HEIGHT - 9 });
    add("text", { class: "label", x: place + 23, y: HEIGHT - 5 }, told);
    place += Math.round(34 + CHARACTER * told.length);
  }
  const [unit] = clock(chart);
  if (place < WIDTH - RIGHT - 6 * unit.length) add("text", { class: "label", "text-anchor": "end", x: WIDTH - RIGHT, y: HEIGHT - 5 }, unit);

  const plot = shape("g", { "clip-path": `url(#plot${chart.number})` });
  const line = (css, one, ys) => {
    for (const piece of pieces(ys))
      if (piece.length > 1) plot.append(shape("polyline", { class: css, points: piece.map((i) => at(one.x[i], ys[i])).join(" ") }));
  };
  if (behind) {
    line("behind", behind, behind.y);
    const left = Math.round(WIDTH - RIGHT - 5.7 * behind.name.length) - 24;
    add("line", { class: "behind", x1: left, x2: left + 18, y1: TOP - 7, y2: TOP - 7 });
    add("text", { class: "behind", "text-anchor": "end", x: WIDTH - RIGHT, y: TOP - 3 }, behind.name);
  }
  for (const one of curves) {
    for (const piece of pieces(one.y)) {
      const around = [...piece.map((i) => at(one.x[i], one.y[i] + one.sd[i])), ...piece.map((i) => at(one.x[i], one.y[i] - one.sd[i])).reverse()];
      if (piece.some((i) => one.sd[i])) plot.append(shape("polygon", { class: `band ${one.css}`.trim(), points: around.join(" ") }));
    }
    if (shared.smooth) line(`curve raw ${one.css}`.trim(), one, one.y);
    line(`curve ${one.css}`.trim(), one, one.line);
    for (const piece of pieces(one.line))
      for (const i of one.x.length <= DOTTED ? piece : piece.slice(-1))
        plot.append(shape("circle", { class: `dot ${one.css}`.trim(), cx: f(across_.at(one.x[i])), cy: f(upwards.at(one.line[i])), r: i === piece.at(-1) ? 3 : 2 }));
    one.y.forEach((y, i) => {
      if (!known(y) && within(one.x[i])) plot.append(shape("path", { class: "bad", d: `M${f(across_.at(one.x[i]) - 4)} ${TOP}l8 8m0 -8l-8 8` }));
    });
  }
  const ends = curves.map((one) => [one, one.line.filter((y, i) => known(y) && within(one.x[i])).at(-1)]).filter(([, y]) => known(y));
  ends.sort((a, b) => upwards.at(a[1]) - upwards.at(b[1]));
  const places = data.several ? spread(ends.map(([, y]) => upwards.at(y))) : [];
  places.forEach((y, i) => {
    add("line", { class: `curve ${ends[i][0].css}`, x1: right + 7, x2: right + 7 + SWATCH, y1: f(y), y2: f(y) });
    add("text", { class: "end", x: f(right + 11 + SWATCH), y: f(y + 3.5) }, shortened(ends[i][0].name));
  });
  const clip = shape("clipPath", { id: `plot${chart.number}` });
  clip.append(shape("rect", { x: LEFT, y: TOP - 4, width: right - LEFT + 3, height: bottom - TOP + 6 }));
  chart.cross = shape("g", { class: "cross" });
  svg.replaceChildren(...svg.querySelectorAll(":scope > desc, :scope > .title"), clip, ...parts, plot, chart.cross);
  chart.reset.hidden = !chart.zoom;
  pressed(chart.logged, upwards.log);
  read(chart, null);
}
const pieces = (ys) => {
  const found = [[]];
  ys.forEach((y, i) => known(y) ? found.at(-1).push(i) : found.push([]));
  return found.filter((piece) => piece.length);
};
