// What is wrong with how this page lies in its window: one line each.
() => {
  const wrong = [], root = document.documentElement;
  const called = (node) => `${node.tagName.toLowerCase()}.${node.getAttribute("class") ?? ""} ${JSON.stringify(node.textContent.trim().slice(0, 40))}`;
  const shown = (node) => node.checkVisibility({ visibilityProperty: true }) && !node.closest(".only-heard");
  if (root.scrollWidth > innerWidth) wrong.push(`the page is ${root.scrollWidth} wide`);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const parent = text.parentElement;
    if (!text.data.trim() || !shown(parent) || ["SCRIPT", "STYLE", "TITLE", "title"].includes(parent.tagName)) continue;
    const range = document.createRange();
    range.selectNodeContents(text);
    const box = range.getBoundingClientRect();
    if (!box.width) continue;
    const scrolls = parent.closest("pre, .scroll");
    if (!scrolls && (box.right > innerWidth + 0.5 || box.left < -0.5)) wrong.push(`past the window: ${called(parent)}`);
    const svg = parent.closest("svg"), frame = svg?.getBoundingClientRect();
    if (svg && (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1))
      wrong.push(`past its chart: ${called(parent)}`);
    for (let up = parent; up !== document.body && !svg; up = up.parentElement) {
      const style = getComputedStyle(up);
      const hides = style.overflowX === "hidden" || style.overflowX === "clip" || style.textOverflow === "ellipsis";
      if (hides && up.scrollWidth > up.clientWidth + 1) wrong.push(`cut: ${called(up)}`);
    }
  }
  for (const svg of document.querySelectorAll("svg")) {
    const texts = [...svg.querySelectorAll("text")].filter(shown).map((text) => [text, text.getBoundingClientRect()]);
    texts.forEach(([one, a], i) => texts.slice(i + 1).forEach(([other, b]) => {
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (wide > 1 && high > 3) wrong.push(`${called(one)} lies over ${called(other)} in ${svg.getAttribute("aria-label")}`);
    }));
  }
  for (const cell of document.querySelectorAll("td.student")) {
    const box = cell.getBoundingClientRect(), frame = cell.closest(".scroll")?.getBoundingClientRect();
    if (box.right > Math.min(innerWidth, frame?.right ?? innerWidth) + 0.5 || !box.width) wrong.push(`not in sight: ${called(cell)}`);
  }
  for (const box of document.querySelectorAll(".scroll"))
    if (innerWidth >= 1280 && box.scrollWidth > box.clientWidth + 1) wrong.push(`a column is cut: ${called(box.querySelector("tr"))}`);
  return [...new Set(wrong)];
}
