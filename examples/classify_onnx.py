"""python examples/classify_onnx.py MODEL.onnx RECORDING: the three likeliest scenes, with onnxruntime and soundfile.

The recording is scored whole, where the kit's command `predict` cuts a long one into windows of 10 s.
"""

import json
import sys

import onnxruntime
import soundfile

if len(sys.argv) != 3:
    print(__doc__.splitlines()[0], file=sys.stderr)
    sys.exit(2)
model, recording = sys.argv[1:]
try:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    samples, rate = soundfile.read(recording, dtype="float32", always_2d=True)
except Exception as error:  # onnxruntime's own have no common class
    sys.exit(f"error: {model} or {recording}: cannot be read ({' '.join(str(error).split())})")
about, wave = session.get_modelmeta().custom_metadata_map, samples.mean(axis=1)
if rate != int(about["sample_rate"]):
    sys.exit(f"error: {recording}: has {rate} Hz; resample it to {about['sample_rate']} Hz")
if len(wave) < rate or not wave.std() > 0:  # NaN is not above 0
    sys.exit(f"error: {recording}: lasts less than 1 s, is silent or holds no numbers; there is nothing to classify")
(probabilities,) = session.run(["probabilities"], {"waveform": wave[None]})
for scene, probability in sorted(zip(json.loads(about["classes"]), probabilities[0]), key=lambda pair: -pair[1])[:3]:
    print(f"{probability:.3f}  {scene}")
