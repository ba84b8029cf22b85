// The page: load, embed the documents, answer.
import { cosine, embed, open } from "./model.js";

const $ = (id) => document.getElementById(id);
const backend = new URLSearchParams(location.search).get("backend") ?? "wasm";
const say = (text) => ($("status").textContent = text);
const state = { ready: false, error: null };
window.lingxi = state; // for whoever tests the page

async function start() {
  document.getElementById(backend)?.setAttribute("aria-current", "page");
  const documents = await (await fetch("documents.json")).json();
  const model = await open("model", backend);
  const megabytes = (model.bytes / 1e6).toFixed(1);
  $("about").textContent = `${model.about.name}, ${model.about.precision}, ${megabytes} MB, ${model.about.hidden} numbers a vector`;
  const began = performance.now();
  const texts = documents.map((d) => (d.title && !d.text.startsWith(d.title) ? `${d.title}\n${d.text}` : d.text));
  const vectors = await embed(model, texts, model.about.prompts.document, (n) => {
    $("progress").value = n / texts.length;
    say(`${n} of ${texts.length} documents embedded …`);
  });
  const seconds = (performance.now() - began) / 1000;
  $("progress").hidden = true;
  Object.assign(state, { ready: true, model, documents, vectors, seconds, embed: (...rest) => embed(model, ...rest), search });
  say(`${texts.length} documents embedded in ${seconds.toFixed(1)} s. Ask away.`);
  for (const part of $("form").elements) part.disabled = false;
  $("query").focus();
}

async function search(question) {
  const began = performance.now();
  const [asked] = await embed(state.model, [question], state.model.about.prompts.query);
  const embedded = performance.now() - began;
  const hits = state.vectors.map((vector, i) => ({ score: cosine(asked, vector), ...state.documents[i] }));
  hits.sort((a, b) => b.score - a.score);
  return { hits: hits.slice(0, 10), embedded, milliseconds: performance.now() - began };
}

function show({ hits, embedded, milliseconds }) {
  $("results").replaceChildren(...hits.map(item));
  say(`${hits.length} of ${state.documents.length} in ${milliseconds.toFixed(0)} ms, ${embedded.toFixed(0)} of them for the question's vector.`);
}

function item(hit) {
  const row = document.createElement("li");
  const head = document.createElement("h2");
  const name = document.createElement("span");
  const score = document.createElement("span");
  const body = document.createElement("p");
  name.textContent = hit.place ? `${hit.title || hit.place}` : hit.title;
  score.textContent = hit.score.toFixed(3);
  score.className = "score";
  body.textContent = hit.text.length > 400 ? `${hit.text.slice(0, 400)} …` : hit.text;
  head.append(name, score);
  row.append(head, body);
  return row;
}

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const question = $("query").value.trim();
  if (question && state.ready) show(await search(question));
});

start().catch((error) => {
  state.error = String(error);
  say(`This page cannot run here: ${error.message ?? error}`);
  $("progress").hidden = true;
});
