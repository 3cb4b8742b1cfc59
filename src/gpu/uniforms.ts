import { USAGE } from './usage.ts';

export interface UniformSlot {
  readonly buffer: GPUBuffer;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

const SLOT_BYTES = 256;
const SLOTS_PER_BUFFER = 256;
const MAX_SLOTS = 65_536;

/**
 * `Params` by content: equal bytes share a slot, and a slot is written once and never again. So a write can go to the queue at
 * once, whatever commands are waiting, and a step whose numbers repeat makes no uniform at all.
 */
export class UniformCache {
  private readonly slots = new Map<string, UniformSlot>();
  private buffer: GPUBuffer | null = null;
  private made = 0;
  private readonly device: GPUDevice;

  constructor(device: GPUDevice) {
    this.device = device;
  }

  /** The slot that holds `words`, at most 64 of them, a multiple of 4. */
  slot(words: Uint32Array): UniformSlot {
    const key = words.join();
    const cached = this.slots.get(key);
    if (cached) return cached;
    // Old buffers live on in the bind groups that name them.
    if (this.slots.size >= MAX_SLOTS) this.slots.clear();
    const inBuffer = this.made++ % SLOTS_PER_BUFFER;
    if (inBuffer === 0 || !this.buffer) {
      const usage = USAGE.UNIFORM | USAGE.COPY_DST;
      this.buffer = this.device.createBuffer({ label: 'uniforms', size: SLOT_BYTES * SLOTS_PER_BUFFER, usage });
    }
    const slot = { buffer: this.buffer, offsetBytes: inBuffer * SLOT_BYTES, sizeBytes: words.byteLength };
    this.device.queue.writeBuffer(slot.buffer, slot.offsetBytes, words as Uint32Array<ArrayBuffer>);
    this.slots.set(key, slot);
    return slot;
  }
}
