// The network, beside the page: a window takes long enough to be felt.
import * as ort from "./ort.wasm.bundle.min.mjs";

ort.env.wasm.numThreads = 1; // more would need headers that a plain server does not send
const session = ort.InferenceSession.create(new URL("model.onnx", import.meta.url).href);
let before = Promise.resolve();

async function run({ wave, port }) {
  try {
    const network = await session, start = performance.now();
    const found = await network.run({ waveform: new ort.Tensor("float32", wave, [1, wave.length]) });
    const [probabilities, features] = [found.probabilities.data, found.features.data];
    port.postMessage({ probabilities, features, milliseconds: performance.now() - start });
  } catch (error) {
    port.postMessage({ error: String(error.message ?? error) });
  }
}

onmessage = ({ data }) => { before = before.then(() => run(data)); }; // one at a time
