// Runs beside the browser's sound: hands on what the microphone hears, 4096 samples at a time.

class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Float32Array(4096);
    this.n = 0;
  }

  process([[channel]]) {
    for (const sample of channel ?? []) {
      this.piece[this.n++] = sample;
      if (this.n === this.piece.length) {
        this.port.postMessage(this.piece.slice());
        this.n = 0;
      }
    }
    return true;
  }
}

registerProcessor("recorder", Recorder);
