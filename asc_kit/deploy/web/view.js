// What the page shows: a line of status, bars, what was before, the log-mel, and the model with its limits.
const MAGMA = [[0, 0, 4], [59, 15, 112], [140, 41, 129], [222, 73, 104], [254, 159, 109], [252, 253, 191]];
const WIDTH = 640; // pixels of the picture

export const at = (id) => document.getElementById(id);
export const seconds = (count) => `${count.toFixed(1)} s`;
const plain = (name) => name.replaceAll("_", " ");
const drawing = (canvas) => canvas.getContext("2d");
let model, rows;
let scale = null; // features' values that are black and white

export function say(text, warning = false) {
  at("status").textContent = text;
  at("status").classList.toggle("warning", warning);
}

function element(tag, content, more = {}) {
  const made = Object.assign(document.createElement(tag), more);
  made.append(content);
  return made;
}

function row(name) {
  const bar = Object.assign(document.createElement("progress"), { max: 1, value: 0, ariaLabel: name });
  const past = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const number = element("td", "", { className: "number" }), line = document.createElement("tr");
  line.append(element("th", plain(name), { scope: "row" }), element("td", bar), number, element("td", past, { className: "past" }));
  at("scenes").append(line);
  return { bar, past, number, line };
}

/** Lay the page out for a model.json. */
export function layOut(about) {
  [model, rows] = [about, about.classes.map(row)];
  at("spectrogram").height = model.mels;
  caption("what is heard");
  const { origin } = model, from = [origin.run, origin.hash && `settings ${origin.hash}`, origin.data && `recordings ${origin.data}`];
  for (const [name, text] of Object.entries({
    network: `${model.name}, ${model.parameters.toLocaleString("en")} parameters, ${model.mels} mel bins, ${model.rate} Hz`,
    run: from.filter(Boolean).join(", ") || "its file does not tell", licence: model.licence, "run by": model.runtime,
    ...origin.microphone && { microphone: origin.microphone },
    ...origin.temperature && { temperature: origin.temperature },
  })) at("model").append(element("dt", name), element("dd", text));
  for (const text of [
    `It knows these ${rows.length} scenes and takes every sound for one of them.`,
    `Its windows last ${model.window} s; a microphone's first results come from less. Where no scene has ${100 * model.unsure} %, it is unsure.`,
    "Another recorder than those it learned from costs accuracy. Try it on sounds you know before you rely on it.",
  ]) at("limits").append(element("li", text));
}

export function caption(what) {
  at("caption").textContent = `Log-mel of ${what}, as the network gets it: ${model.mels} mel bins, ${model.low} to ${model.high} Hz, low ones below.`;
}

/** Nothing shown; `past` is what the last column will be. */
export function clear(past) {
  [scale, at("scene").textContent, at("time").textContent] = [null, "–", ""];
  if (past) at("past").textContent = past;
  drawing(at("spectrogram")).clearRect(0, 0, WIDTH, model.mels);
  for (const { bar, past, number, line } of rows) {
    [bar.value, number.textContent, line.className, past.width] = [0, "", "", 1]; // which empties it
  }
}

/** Show probabilities, and beside them those of windows in their order; a window without any is []. */
export function show(probabilities, past) {
  const most = Math.max(...probabilities), best = probabilities.indexOf(most);
  const scene = plain(model.classes[best]) + (most < model.unsure ? " – unsure" : "");
  if (at("scene").textContent !== scene) at("scene").textContent = scene; // read out where it changes
  rows.forEach((row, i) => {
    row.bar.value = probabilities[i];
    row.number.textContent = `${(100 * probabilities[i]).toFixed(1)} %`;
    row.line.className = i === best ? "best" : "";
    row.past.width = past.length;
    const pen = drawing(row.past);
    pen.fillStyle = "#3477b8";
    past.forEach((one, k) => { pen.globalAlpha = one[i] ?? 0; pen.fillRect(k, 0, 1, 1); });
  });
}

export function showTime(length, milliseconds) {
  at("time").textContent = `${seconds(length)} classified in ${milliseconds.toFixed(0)} ms on this device`;
}

/** Draw log-mel features, time x mel, from one share of the picture's width to another. */
export function draw(features, from, to) {
  const { mels } = model, time = features.length / mels, sorted = features.slice().sort();
  scale ??= [sorted[Math.floor(0.02 * sorted.length)], sorted[Math.ceil(0.999 * sorted.length) - 1]];
  const image = new ImageData(time, mels), [low, high] = scale;
  features.forEach((value, k) => {
    const place = Math.min(0.9999, Math.max(0, (value - low) / (high - low || 1))) * (MAGMA.length - 1), step = Math.floor(place);
    const pixel = 4 * ((mels - 1 - k % mels) * time + Math.floor(k / mels));
    for (let c = 0; c < 3; c++) image.data[pixel + c] = MAGMA[step][c] + (place - step) * (MAGMA[step + 1][c] - MAGMA[step][c]);
    image.data[pixel + 3] = 255;
  });
  const picture = Object.assign(document.createElement("canvas"), { width: time, height: mels });
  drawing(picture).putImageData(image, 0, 0);
  drawing(at("spectrogram")).drawImage(picture, WIDTH * from, 0, WIDTH * (to - from), mels);
}

/** Draw features that end now, of `share` of the picture's width. */
export function drawRunning(features, share) {
  scale = null;
  drawing(at("spectrogram")).clearRect(0, 0, WIDTH, model.mels);
  draw(features, 1 - share, 1);
}
