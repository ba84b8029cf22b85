// A text embedder in the browser: the ids, the graph and the vectors that lingxi computes.
import { Tokenizer } from "./vendor/tokenizers.min.mjs";

const ENGINES = { wasm: "./vendor/ort.wasm.min.mjs", webgpu: "./vendor/ort.webgpu.min.mjs" };

const json = async (path) => (await read(path)).json();

async function read(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer;
}

export async function open(folder, backend) {
  if (!(backend in ENGINES)) throw new Error(`unknown backend ${backend}; choose wasm or webgpu`);
  if (backend === "webgpu" && !(await navigator.gpu?.requestAdapter())) throw new Error("this browser offers no WebGPU");
  const ort = await import(ENGINES[backend]);
  ort.env.wasm.wasmPaths = new URL("./vendor/", import.meta.url).href;
  ort.env.wasm.numThreads = 1;
  const started = performance.now();
  const [about, words, bytes] = await Promise.all([
    json(`${folder}/lingxi.json`),
    json(`${folder}/tokenizer.json`),
    read(`${folder}/model.onnx`).then((answer) => answer.arrayBuffer()),
  ]);
  // User text is plain text: a tokenizer that knows no special tokens cannot be talked into one.
  const tokenizer = new Tokenizer({ ...words, added_tokens: [], post_processor: null }, {});
  const session = await ort.InferenceSession.create(new Uint8Array(bytes), { executionProviders: [backend] });
  const loading = performance.now() - started;
  return { about, session, backend, loading, bytes: bytes.byteLength, ort, ids: (text) => ids(tokenizer, about, text) };
}

function ids(tokenizer, about, text) {
  const found = text ? tokenizer.encode(text, { add_special_tokens: false }).ids : [];
  return [...found.slice(0, about.max_length - 1), about.end];
}

// Vectors of texts, each a Float32Array of unit length, in the order given.
export async function embed(model, texts, prompt = "", done = () => {}) {
  const sequences = texts.map((text) => model.ids(prompt + text));
  const order = sequences.map((_, i) => i).sort((a, b) => sequences[a].length - sequences[b].length);
  const vectors = new Array(texts.length);
  for (let start = 0; start < order.length; start += 8) {
    const at = order.slice(start, start + 8);
    (await run(model, at.map((i) => sequences[i]))).forEach((vector, place) => (vectors[at[place]] = vector));
    done(Math.min(start + 8, order.length));
  }
  return vectors;
}

async function run({ ort, session }, sequences) {
  const width = Math.max(...sequences.map((s) => s.length));
  const given = new BigInt64Array(sequences.length * width);
  const mask = new BigInt64Array(sequences.length * width);
  sequences.forEach((sequence, row) =>
    sequence.forEach((id, column) => {
      given[row * width + column] = BigInt(id);
      mask[row * width + column] = 1n;
    }),
  );
  const shape = [sequences.length, width];
  const feeds = { input_ids: new ort.Tensor("int64", given, shape), attention_mask: new ort.Tensor("int64", mask, shape) };
  const { sentence_embedding: out } = await session.run(feeds, ["sentence_embedding"]);
  const values = await out.getData();
  const hidden = out.dims[1];
  return sequences.map((_, row) => values.slice(row * hidden, (row + 1) * hidden));
}

export const cosine = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
