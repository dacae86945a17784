// The microphone's samples, mono, in blocks of about a tenth of a second.
const BLOCK = 4096;

registerProcessor("capture", class extends AudioWorkletProcessor {
  block = new Float32Array(BLOCK);
  filled = 0;

  process([channels]) {
    const length = channels.length ? channels[0].length : 0; // none while the microphone is not there
    for (let i = 0; i < length; i++) {
      this.block[this.filled++] = channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length;
      if (this.filled === BLOCK) {
        this.port.postMessage(this.block, [this.block.buffer]);
        [this.block, this.filled] = [new Float32Array(BLOCK), 0];
      }
    }
    return true;
  }
});
