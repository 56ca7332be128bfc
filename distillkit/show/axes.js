// Numbers and axes of charts, as formats.py and axes.py write them. The page's script is axes.js, draw.js and page.js in one.
const LOG_FROM = 100, LEAST = 0.1, ZERO = 0.4;
const least = (values) => values.reduce((one, other) => Math.min(one, other), Infinity);
const most = (values) => values.reduce((one, other) => Math.max(one, other), -Infinity);
const known = (y) => y !== null && y !== undefined;
const plain = (value, digits) => String(Number(value.toPrecision(digits)));
const number = (value) => Number.isInteger(value) && Math.abs(value) < 1e6 ? String(value) : plain(value, 4);
const short = (value) => {
  for (const [size, by, letter] of [[1e9, 1e9, "G"], [1e6, 1e6, "M"], [1e4, 1e3, "k"]])
    if (Math.abs(value) >= size) return plain(value / by, 6) + letter;
  return plain(value, 6);
};
const across = (low, high, start, stop) => {
  if (!(high - low > 1e-9 * Math.max(Math.abs(low), Math.abs(high)))) {
    const margin = Math.abs(low) > 0 ? 0.5 * Math.abs(low) : 0.5;
    [low, high] = [low - margin, high + margin];
  }
  return axis(low, high, start, stop, false);
};
const up = (values, start, stop, asked) => {
  let low = least(values), high = most(values);
  if (!values.length) [low, high] = [0, 1];
  if (low > 0 && (asked ?? high / low > LOG_FROM)) {
    [low, high] = [Math.log10(low), Math.log10(high)];
    const margin = 0.06 * (high - low) || 0.5;
    return axis(low - margin, high + margin, start, stop, true);
  }
  const span = LEAST * Math.max(Math.abs(low), Math.abs(high)) || 1;
  const more = Math.max(0, span - (high - low)) / 2 + 0.06 * Math.max(high - low, span);
  return axis(low >= 0 && low <= Math.max(ZERO * high, more) ? 0 : low - more, high + more, start, stop, false);
};
const axis = (low, high, start, stop, log) => ({
  low, high, log,
  at: (value) => {
    const v = log ? (value > 0 ? Math.log10(value) : low) : value;
    return start + (Math.max(v, low) - low) / (high - low) * (stop - start);
  },
  back: (place) => low + (place - start) / (stop - start) * (high - low),
  ticks: () => {
    if (!log) return ticks(low, high);
    const found = [];
    for (let decade = Math.floor(low); decade <= Math.ceil(high); decade++)
      for (const digit of high - low < 2.2 ? [1, 2, 5] : [1]) {
        const value = digit * 10 ** decade;
        if (Math.log10(value) >= low && Math.log10(value) <= high) found.push(value);
      }
    const every = Math.ceil(found.length / 6) || 1;
    return found.filter((_, i) => i % every === 0);
  },
});
const ticks = (low, high) => {
  const raw = (high - low) / 5, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= raw) ?? 10 * power;
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i <= Math.floor(high / step + 1e-9); i++)
    found.push(Number((i * step).toPrecision(12)));
  return found;
};
