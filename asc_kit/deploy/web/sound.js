// Sound as the kit's `predict` takes it: mono, at the model's rate, in windows.

/** A sound file's samples at `rate`, mono. The decoder resamples: an AudioBufferSourceNode of another rate than its
 *  context only interpolates in Chromium, which moves probabilities by up to 0.04 from 48 kHz and 0.9 from 22.05 kHz. */
export async function decoded(bytes, rate) {
  const buffer = await new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes);
  return mixed(Array.from({ length: buffer.numberOfChannels }, (_, channel) => buffer.getChannelData(channel)));
}

/** Samples at another rate, by the decoder. */
export const resampled = (wave, from, to) => (from === to ? wave : decoded(wav(wave, from), to));

/** The channels' mean or, where they cancel in it, the loudest. */
function mixed(channels) {
  if (channels.length === 1) return channels[0].slice();
  const mono = channels[0].map((_, i) => channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length);
  const powers = channels.map(variance), power = powers.reduce((sum, one) => sum + one);
  return variance(mono) < 0.1 * power / channels.length ** 2 ? channels[powers.indexOf(Math.max(...powers))].slice() : mono;
}

function variance(wave) {
  let sum = 0, squares = 0;
  for (const sample of wave) { sum += sample; squares += sample * sample; }
  return squares / wave.length - (sum / wave.length) ** 2;
}

/** Level of samples, in dB of full scale. */
export const level = (wave) => 10 * Math.log10(variance(wave) + 1e-12);

/** A WAV file of float samples. */
function wav(wave, rate) {
  const file = new DataView(new ArrayBuffer(44 + 4 * wave.length)), size = 4 * wave.length;
  const text = (place, word) => [...word].forEach((letter, i) => file.setUint8(place + i, letter.charCodeAt()));
  text(0, "RIFF"), file.setUint32(4, 36 + size, true), text(8, "WAVEfmt "), file.setUint32(16, 16, true);
  file.setUint16(20, 3, true), file.setUint16(22, 1, true), file.setUint32(24, rate, true); // float, mono
  file.setUint32(28, 4 * rate, true), file.setUint16(32, 4, true), file.setUint16(34, 32, true);
  text(36, "data"), file.setUint32(40, size, true);
  new Float32Array(file.buffer, 44).set(wave);
  return file.buffer;
}

/** The rate that a WAV or FLAC file's beginning tells; of others undefined. */
export function ownRate(bytes) {
  const file = new DataView(bytes), word = (place) => String.fromCharCode(...new Uint8Array(bytes, place, 4));
  if (bytes.byteLength < 44) return undefined;
  if (word(0) === "RIFF" && word(12) === "fmt ") return file.getUint32(24, true);
  return word(0) === "fLaC" ? file.getUint32(18) >>> 12 : undefined;
}

/** First and last sample of a recording's windows; the last holds from half to one and a half of `size`. */
export function windows(length, size) {
  const count = Math.max(1, Math.floor((2 * length + size) / (2 * size)));
  return Array.from({ length: count }, (_, i) => [i * size, i + 1 < count ? (i + 1) * size : length]);
}

/** Why samples cannot be classified; "" where they can. */
export function fault(wave, rate, shortest) {
  const seconds = wave.length / rate;
  if (seconds < shortest) return `lasts ${seconds.toFixed(2)} s; give ${shortest} s or more`;
  let low = Infinity, high = -Infinity;
  for (const sample of wave) {
    if (!Number.isFinite(sample)) return "holds NaN or infinite samples; export it again";
    low = Math.min(low, sample), high = Math.max(high, sample);
  }
  if (low === high) return "is silent; there is nothing to classify";
  return Math.max(-low, high) > 8 ? "holds samples far beyond full scale, which is 1; export it again" : "";
}
