// Where sound comes from, a file or the microphone, and its way through the network. It never leaves the page.
import { decoded, fault, level, ownRate, resampled, windows } from "./sound.js";
import { at, caption, clear, draw, drawRunning, layOut, say, seconds, show, showTime } from "./view.js";

const LARGEST = 64e6; // bytes of a file; decoded it may take twenty times that
const EVERY = 1; // seconds between the microphone's results
const PAST = 10; // of them that are shown
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];
const RAW = { echoCancellation: false, noiseSuppression: false, autoGainControl: false }; // made for speech, they take the scene away
const REFUSED = {
  NotAllowedError: "The microphone was refused. Allow it in the browser's settings of this page, or choose a file.",
  NotFoundError: "There is no microphone. Connect one, or choose a file.",
  NotReadableError: "The microphone cannot be read; does another program use it?",
};

let model, worker, microphone = null;
let turn = 0; // of the source at work; what an earlier one still gives is dropped
export let last = null; // what was scored last, whole

function begin(past) {
  clear(past);
  return ++turn;
}

/** Start the network; the promise only ever fails. A worker has its own file's rules, but one of a blob the page's. */
function startWorker() {
  const code = `import ${JSON.stringify(new URL("worker.js", import.meta.url).href)};`;
  worker = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })), { type: "module" });
  return new Promise((_, reject) => { worker.onerror = (event) => reject(new Error(event.message || "are all its files here?")); });
}

/** The network's { probabilities, features, milliseconds } of samples, which are gone then. */
function score(wave) {
  return new Promise((resolve, reject) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = ({ data }) => { port1.close(); data.error ? reject(new Error(data.error)) : resolve(data); };
    worker.postMessage({ wave, port: port2 }, [port2, wave.buffer]);
  });
}

async function open(files) {
  const file = files[0];
  if (!file) return;
  await stop();
  const mine = begin("10 s windows"), refuse = (why) => mine === turn && say(`${file.name}: ${why}.`, true);
  if (file.size > LARGEST) return refuse(`has more than ${LARGEST / 1e6} MB; cut it, or use asc-kit predict`);
  say(`${file.name}: decoding …`);
  let wave, rate;
  try {
    const bytes = await file.arrayBuffer();
    [rate, wave] = [ownRate(bytes), await decoded(bytes, model.rate)];
  } catch {
    return refuse("is no sound that this browser can decode; convert it to wav");
  }
  const wrong = fault(wave, model.rate, model.shortest), length = wave.length;
  if (wrong) return refuse(wrong);
  if (mine !== turn) return;
  caption(`${seconds(length / model.rate)} of ${file.name}`);
  const parts = windows(length, Math.round(model.window * model.rate)), past = parts.map(() => []), sum = new Float64Array(model.classes.length);
  for (const [number, [from, to]] of parts.entries()) {
    const { probabilities, features, milliseconds } = await score(wave.slice(from, to));
    if (mine !== turn) return;
    past[number] = probabilities;
    probabilities.forEach((one, i) => { sum[i] += one * (to - from); });
    draw(features, from / length, to / length);
    show(sum.map((one) => one / to), past);
    showTime((to - from) / model.rate, milliseconds);
    say(`${file.name}: ${number + 1} of ${parts.length} windows.`);
  }
  last = { name: file.name, probabilities: [...sum].map((one) => one / length) };
  const notes = [`${file.name}: ${seconds(length / model.rate)}`], deaf = rate < 2 * model.high;
  if (files.length > 1) notes.push(`the first of ${files.length} files`);
  if (rate && rate !== model.rate) notes.push(`${rate} Hz resampled to ${model.rate} Hz`);
  if (deaf) notes.push(`doubtful, since it holds nothing above ${rate / 2} Hz, where the network hears up to ${model.high}`);
  say(`${notes.join("; ")}.`, deaf);
}

async function listen() {
  if (!navigator.mediaDevices?.getUserMedia)
    return say("Browsers give a microphone to https addresses and http://localhost alone. Choose a file.", true);
  const mine = begin("last 10 s"), context = new AudioContext(); // at once: some start it in answer to a click alone
  say("Asking for the microphone …");
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: RAW });
  } catch (error) {
    context.close();
    return mine === turn && say(REFUSED[error.name] ?? `The microphone cannot be used: ${error.message}.`, true);
  }
  const [track] = stream.getAudioTracks();
  await context.audioWorklet.addModule("capture.js");
  if (mine !== turn) return release({ stream, context }); // a file came meanwhile
  const source = context.createMediaStreamSource(stream), node = new AudioWorkletNode(context, "capture");
  source.connect(node).connect(context.destination); // silence, which keeps the node at work
  microphone = { stream, context, source, node }; // all of it: while it pauses, what nobody holds would be collected
  at("listen").textContent = "Stop", at("listen").setAttribute("aria-pressed", "true");
  caption("the last 10 s");
  say("Waiting for the first second …");
  track.onended = () => stop("The microphone went away. Connect it again and press Listen.");
  hear(mine, node, context, doubts(track));
  context.resume();
  keepAwake();
}

/** What is wrong with a microphone's sound, and cannot be helped. */
function doubts(track) {
  const set = track.getSettings(), altered = Object.keys(RAW).filter((name) => set[name]), found = [];
  if (altered.length) found.push(`the browser alters the sound (${altered.join(", ")})`);
  if (set.sampleRate < 2 * model.high) found.push(`it holds nothing above ${set.sampleRate / 2} Hz, where the network hears up to ${model.high}`);
  return found.length ? ` Doubtful: ${found.join("; ")}.` : "";
}

/** Score the last seconds that a node heard, once a second, or as often as the network can. */
function hear(mine, node, context, doubt) {
  const rate = context.sampleRate, held = new Float32Array(Math.round(model.window * rate)), past = Array(PAST).fill([]);
  let count = 0, fresh = 0, busy = false; // samples held, and not yet scored
  const live = () => mine === turn && context.state === "running";

  async function update() {
    const wave = await resampled(held.slice(-count), rate, model.rate), length = wave.length / model.rate, samples = wave.slice();
    const loud = level(held.slice(-Math.round(rate)));
    if (fault(wave, model.rate, 0)) return live() && (clear(), say(`The microphone gives silence. Is it muted?${doubt}`, true));
    const { probabilities, features, milliseconds } = await score(wave);
    if (!live()) return;
    past.push(probabilities), past.shift();
    drawRunning(features, Math.min(1, length / model.window));
    show(probabilities, past);
    showTime(length, milliseconds);
    say(`Listening: ${seconds(length)} heard, level ${loud.toFixed(0)} dB.${doubt}`, doubt !== "");
    last = { name: "microphone", probabilities: [...probabilities], samples, rate };
  }

  node.port.onmessage = ({ data }) => {
    held.copyWithin(0, data.length);
    held.set(data, held.length - data.length);
    [count, fresh] = [Math.min(count + data.length, held.length), fresh + data.length];
    if (busy || !live() || fresh < EVERY * rate || count < model.shortest * rate) return;
    [fresh, busy] = [0, true];
    update().catch(failed).finally(() => { busy = false; });
  };
  context.onstatechange = () => { // out of sight, or a call that comes in
    if (mine !== turn) return;
    if (context.state === "running") [count, fresh] = [0, 0], past.fill([]); // no window across the pause
    else say("Paused: nothing is heard while this page is out of sight, or another program has the sound.");
  };
}

function failed(error) {
  stop();
  say(`It cannot be classified: ${error.message}.`, true);
}

function release({ stream, context, lock }) {
  for (const track of stream.getTracks()) track.onended = null, track.stop();
  lock?.release();
  return context.close();
}

async function stop(why) {
  turn++;
  if (!microphone) return;
  const held = microphone;
  microphone = null;
  at("listen").textContent = "Listen", at("listen").setAttribute("aria-pressed", "false");
  say(why ?? "Stopped.", Boolean(why));
  await release(held);
}

/** The screen stays on: dark, it would put the page out of sight. */
async function keepAwake() {
  const held = microphone;
  held.lock = await navigator.wakeLock?.request("screen").catch(() => null);
  if (held !== microphone) held.lock?.release();
}

async function main() {
  if (!globalThis.WebAssembly || !WebAssembly.validate(new Uint8Array(SIMD)))
    return say("This browser has no WebAssembly with SIMD, which the network needs. Use one of 2023 or later.", true);
  say("Loading the network …");
  model = await (await fetch("model.json")).json();
  layOut(model);
  await Promise.race([startWorker(), score(new Float32Array(model.rate * model.window))]); // the first is the slowest
  at("listen").onclick = () => (microphone ? stop() : listen()).catch(failed);
  at("file").onchange = ({ target }) => open([...target.files]).catch(failed).finally(() => { target.value = ""; });
  document.ondragover = (event) => { event.preventDefault(), document.body.classList.add("over"); };
  document.ondragleave = () => document.body.classList.remove("over");
  document.ondrop = (event) => {
    event.preventDefault(), document.body.classList.remove("over");
    open([...event.dataTransfer.files]).catch(failed);
  };
  document.onvisibilitychange = () => {
    microphone?.context[document.hidden ? "suspend" : "resume"]();
    if (microphone && !document.hidden) keepAwake();
  };
  at("listen").disabled = at("file").disabled = false;
  say("Ready.");
  navigator.serviceWorker?.register("sw.js").catch(() => {}); // as where a browser keeps nothing
  if (await navigator.serviceWorker?.ready) at("offline").textContent = "The page is kept here: it works without a network.";
}

main().catch((error) => say(`The page cannot start: ${error.message}.`, true));
