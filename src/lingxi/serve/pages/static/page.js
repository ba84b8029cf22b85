"use strict";
// Keys of the pages that ask; without this file the pages work with links and forms alone.
const rows = [...document.querySelectorAll(".hit, .side-a .place-row")];
const query = document.getElementById("q");
const toast = document.getElementById("toast");
let at = -1;

function go(step) {
  if (!rows.length) return;
  at = Math.min(rows.length - 1, Math.max(0, at + step));
  rows[at].focus({ preventScroll: true });
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  rows[at].scrollIntoView({ block: "nearest", behavior: calm ? "auto" : "smooth" });
}

function open() {
  const part = rows[at]?.querySelector("details");
  if (part) part.open = !part.open;
}

async function copy() {
  const place = rows[at]?.dataset.place;
  if (!place || !navigator.clipboard) return;
  await navigator.clipboard.writeText(place);
  toast.textContent = toast.dataset.copied.replace("{place}", () => place);
  setTimeout(() => { toast.textContent = ""; }, 2000);
}

const actions = {
  "/": () => { query.focus(); query.select(); }, j: () => go(1), k: () => go(-1), o: open, y: copy,
  Enter: open,
};

document.addEventListener("keydown", event => {
  const target = event.target;
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  if (target === query && event.key === "Escape") { query.blur(); return; }
  // A query of several lines is sent by Enter too; Shift begins a line.
  if (target.matches(".asking") && event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    form.requestSubmit();
    return;
  }
  if (target.matches("input, select, textarea")) return;
  // Enter on a link, a button or a summary is theirs.
  if (event.key === "Enter" && target.closest("a, button, summary")) return;
  const action = Object.hasOwn(actions, event.key) && actions[event.key];
  if (action) { event.preventDefault(); action(); }
});

document.addEventListener("focusin", event => {
  const row = event.target.closest(".hit, .side-a .place-row");
  if (row) at = rows.indexOf(row);
});

// A text of a comparison is shown on both sides.
function pair(text) {
  for (const part of document.querySelectorAll("[data-text]"))
    part.classList.toggle("same", part.dataset.text === text);
}
for (const row of document.querySelectorAll(".place-row")) {
  row.addEventListener("mouseenter", () => pair(row.dataset.text));
  row.addEventListener("mouseleave", () => pair());
  row.addEventListener("focus", () => pair(row.dataset.text));
}

const form = document.getElementById("ask");
const forms = [...document.querySelectorAll("form.ask")];
for (const one of forms)
  one.addEventListener("submit", event => {
    // After a download the page stays.
    if (!event.submitter?.hasAttribute("formaction")) one.setAttribute("aria-busy", "true");
  });
// A page that comes back from the browser's memory is at rest.
addEventListener("pageshow", () => forms.forEach(one => one.removeAttribute("aria-busy")));
const keys = document.getElementById("keys");
if (keys && rows.length) keys.hidden = false;
