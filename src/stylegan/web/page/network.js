// The network, in a worker: from seeds to w, and from w to pixels. It answers one task at a time, in order.

import { RandomState, floatsOfHalves } from "./numbers.js";

const RUNTIMES = { webgpu: "jspi", wasm: "wasm" }; // builds of onnxruntime-web
let ort, model, mapping, synthesis;
let constant = null; // the network's own noise planes, loaded when they are asked for
let planes = { of: null, tensors: null }; // those of the last picture

const tasks = { open, styles, draw };
let queue = Promise.resolve();
self.onmessage = ({ data: { id, task, given } }) => {
  queue = queue
    .then(() => tasks[task](given))
    .then(
      result => self.postMessage({ id, result }),
      error => self.postMessage({ id, error: error instanceof Error ? error.message : String(error) }),
    );
};

/** Load runtime and model. gpu: "1" to insist on WebGPU, "0" to do without. Returns the model and where it runs. */
async function open({ gpu }) {
  model = await (await get("model/model.json")).json();
  const wanted = gpu !== "0" && (await hasGpu(gpu === "1")) ? ["webgpu", "wasm"] : ["wasm"];
  for (const device of wanted) {
    try {
      await start(device);
      return { model, device };
    } catch (error) {
      if (device === wanted.at(-1)) throw error;
    }
  }
}

async function hasGpu(evenSlow) {
  if (!navigator.gpu || !WebAssembly.Suspending) return false; // the build for WebGPU needs both
  const adapter = await navigator.gpu.requestAdapter().catch(() => null);
  return adapter !== null && (evenSlow || !adapter.info?.isFallbackAdapter);
}

async function start(device) {
  const build = RUNTIMES[device];
  const names = [`runtime/${build}.wasm.gz`, "model/mapping.onnx", "model/synthesis.onnx"];
  const total = names.reduce((sum, name) => sum + model.sizes[name], 0);
  let loaded = 0;
  const count = bytes => self.postMessage({ loaded: (loaded += bytes) / total });
  const [script, ...files] = await Promise.all([
    import(`./runtime/${build}.js`),
    ...names.map(name => bytesOf(name, count)),
  ]);
  ort = script;
  ort.env.logLevel = "error";
  ort.env.wasm.wasmBinary = await unpacked(files[0]);
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  const options = { executionProviders: [device] };
  mapping = await ort.InferenceSession.create(files[1], options);
  synthesis = await ort.InferenceSession.create(files[2], options);
}

/** w [w_dim] of each seed, not truncated. */
async function styles({ seeds, label }) {
  const n = seeds.length, z = new Float32Array(n * model.z_dim);
  seeds.forEach((seed, i) => z.set(new RandomState(seed).normals(model.z_dim), i * model.z_dim));
  const feeds = { z: tensor(z, [n, model.z_dim]) };
  if (model.label_count) feeds.labels = new ort.Tensor("int64", new BigInt64Array(n).fill(BigInt(label)), [n]);
  const { w } = await mapping.run(feeds);
  return seeds.map((_, i) => w.data.slice(i * w.dims[1] * w.dims[2], (i * w.dims[1] + 1) * w.dims[2]));
}

/** The picture of w [num_layers * w_dim]. noise: ["random", seed], ["const"] or ["none"]. */
async function draw({ w, noise }) {
  const feeds = { w: tensor(w, [1, model.num_layers, model.w_dim]) };
  if (model.noise.length) (await tensorsOf(noise)).forEach((plane, i) => (feeds[`noise${i}`] = plane));
  const begun = performance.now();
  const { images } = await synthesis.run(feeds);
  const [top, left, height, width] = model.shown;
  return { pixels: pixelsOf(images, top, left, height, width), height, width, took: performance.now() - begun };
}

async function tensorsOf([kind, seed]) {
  const key = `${kind} ${seed}`;
  if (planes.of === key) return planes.tensors;
  if (kind === "const") constant ??= await loadConstant();
  const tensors = model.noise.map((r, layer) => {
    if (kind === "const") return constant[layer];
    const numbers = kind === "random" ? new RandomState([seed, layer]).normals(r * r) : new Float32Array(r * r);
    return tensor(numbers, [1, 1, r, r]);
  });
  planes = { of: key, tensors };
  return tensors;
}

async function loadConstant() {
  const bits = new Uint16Array(await (await get("model/noise.bin")).arrayBuffer());
  let start = 0;
  return model.noise.map(r => tensor(floatsOfHalves(bits.subarray(start, (start += r * r))), [1, 1, r, r]));
}

/** What people see of images [1, C, R, R] in about [-1, 1]: gray, RGB or RGBA as RGBA bytes. */
function pixelsOf(images, top, left, height, width) {
  const [, channels, , r] = images.dims, values = images.data;
  const pixels = new Uint8ClampedArray(4 * height * width).fill(255);
  for (let channel = 0; channel < 4; channel++) {
    if (channel === 3 && channels !== 4) break;
    const plane = (channels === 1 ? 0 : channel) * r * r;
    for (let y = 0, to = channel; y < height; y++)
      for (let x = 0, from = plane + (top + y) * r + left; x < width; x++, to += 4)
        pixels[to] = Math.floor(values[from++] * 127.5 + 128);
  }
  return pixels;
}

const tensor = (numbers, shape) => new ort.Tensor("float32", numbers, shape);

async function get(name) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name} cannot be loaded (${response.status})`);
  return response;
}

async function bytesOf(name, count) {
  const response = await get(name), parts = [];
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) return new Uint8Array(await new Blob(parts).arrayBuffer());
    parts.push(value);
    count(value.length);
  }
}

/** What gzip has packed; some servers unpack it themselves. */
async function unpacked(bytes) {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes.buffer;
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}
