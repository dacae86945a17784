"""python examples/classify_onnx.py MODEL.onnx RECORDING: the three likeliest scenes, with onnxruntime and soundfile."""

import json
import sys

import onnxruntime
import soundfile

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = session.get_modelmeta().custom_metadata_map
samples, rate = soundfile.read(sys.argv[2], dtype="float32", always_2d=True)
if rate != int(about["sample_rate"]):
    sys.exit(f"error: {sys.argv[2]}: has {rate} Hz; resample it to {about['sample_rate']} Hz")
(probabilities,) = session.run(["probabilities"], {"waveform": samples.mean(axis=1)[None]})
for scene, probability in sorted(zip(json.loads(about["classes"]), probabilities[0]), key=lambda pair: -pair[1])[:3]:
    print(f"{probability:.3f}  {scene}")
