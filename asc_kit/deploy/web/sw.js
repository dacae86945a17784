// Keeps the page's files, for when there is no network; with one, they come from where the page is.
const FILES = ["./", "style.css", "app.js", "view.js", "sound.js", "worker.js", "capture.js", "icon.svg", "manifest.webmanifest", "model.json",
  "model.onnx", "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"].map((name) => new URL(name, location).href);
const kept = caches.open("asc_kit");

addEventListener("install", (event) => event.waitUntil(kept.then((cache) => cache.addAll(FILES)).then(() => skipWaiting())));
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("fetch", (event) => {
  if (FILES.includes(event.request.url)) event.respondWith(answer(event.request)); // nothing else of this address
});

async function answer(request) {
  try {
    const fresh = await fetch(request);
    if (fresh.ok) (await kept).put(request.url, fresh.clone());
    return fresh;
  } catch (error) {
    return (await (await kept).match(request.url)) ?? Response.error();
  }
}
