// Asks for what is fresh every few seconds, and for the report again when it is another; the page stays where it was.
"use strict";
const live = document.getElementById("live");
const frame = document.querySelector("iframe");
let version = live.querySelector("[data-version]")?.dataset.version;

async function refresh() {
  try {
    const answer = await fetch(live.dataset.url, { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.status);
    live.innerHTML = await answer.text();
    document.body.classList.remove("lost");
    const now = live.querySelector("[data-version]")?.dataset.version;
    if (frame && now !== version) {
      version = now;
      const at = frame.contentWindow.scrollY;
      frame.addEventListener("load", () => frame.contentWindow.scrollTo(0, at), { once: true });
      frame.contentWindow.location.reload();
    }
  } catch {
    document.body.classList.add("lost");
  }
}
setInterval(refresh, 3000);
