"use strict";
// Looks at the figures every few seconds while the page is seen.
const page = document.getElementById("status");
const state = document.getElementById("state");
const every = 1000 * Number(page.dataset.every);
const speeds = [];
let last = null;

const thousands = number => String(Math.round(number)).replace(/\B(?=(\d{3})+$)/g, "\u202f");
const two = number => String(number).padStart(2, "0");
function clock(seconds) {
  const days = Math.floor(seconds / 86400), hours = Math.floor(seconds / 3600) % 24;
  return (days ? days + " d " : "") + hours + ":" + two(Math.floor(seconds / 60) % 60) + ":" + two(seconds % 60);
}
function put(name, text) {
  for (const part of page.querySelectorAll("[data-show]")) if (part.dataset.show === name) part.textContent = text;
}

function draw() {
  const most = Math.max(1, ...speeds), step = 120 / 59, from = 60 - speeds.length;
  const points = speeds.map((v, i) => ((from + i) * step).toFixed(2) + " " + (29 - 27 * v / most).toFixed(2));
  page.querySelector(".spark .edge").setAttribute("d", "M" + points.join("L"));
  page.querySelector(".spark .area").setAttribute("d",
    "M" + (from * step).toFixed(2) + " 30L" + points.join("L") + "L120 30Z");
}

function show(found) {
  state.textContent = state.dataset[found.state];
  state.className = "state state-" + found.state;
  put("uptime", clock(found.uptime));
  for (const name of ["waiting", "waiting_tokens", "sequences", "tokens", "failures"]) put(name, thousands(found[name]));
  for (const part of page.querySelectorAll("[data-load]")) {
    const load = Object.hasOwn(found.loads, part.dataset.load) && found.loads[part.dataset.load];
    if (load) part.textContent = thousands(load[part.dataset.part]);
  }
  const now = performance.now();
  if (last) {
    speeds.push(Math.max(0, 1000 * (found.tokens - last.tokens) / (now - last.now)));
    if (speeds.length > 60) speeds.shift();
    put("pulse", thousands(speeds[speeds.length - 1]));
    page.querySelector(".pulse").hidden = false;
    draw();
  }
  last = { now, tokens: found.tokens };
}

async function look() {
  if (document.hidden) return;
  try {
    const answer = await fetch(page.dataset.from, { cache: "no-store", signal: AbortSignal.timeout(10000) });
    if (!answer.ok) throw new Error(answer.statusText);
    show(await answer.json());
  } catch {
    if (state.classList.contains("state-gone")) return;
    state.className = "state state-gone";
    state.textContent = page.dataset.gone.replace("{time}", () => new Date().toLocaleTimeString());
    last = null;
  }
}
const hint = document.getElementById("hint");
hint.textContent = hint.dataset.live;
look();
setInterval(look, every);
document.addEventListener("visibilitychange", () => { last = null; look(); });
