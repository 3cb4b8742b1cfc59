import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import * as jsquash from '@jsquash/jpeg/encode.js';

/** The encoder of the package whose decoder is under test; its `colorSpace` 1 is gray, 3 is YCbCr (mozjpeg's numbers). */
const encoder = jsquash as unknown as {
  init(wasm: object): Promise<void>;
  default(image: object, options: object): Promise<ArrayBuffer>;
};
const { WebAssembly } = globalThis as unknown as { WebAssembly: { Module: new (bytes: Uint8Array) => object } };
const wasmPath = createRequire(import.meta.url).resolve('@jsquash/jpeg/codec/enc/mozjpeg_enc.wasm');

/** A JPEG of the colours [r, g, b, 255] that `colour` gives. */
export async function makeJpeg(
  width: number,
  height: number,
  colour: (x: number, y: number) => readonly number[],
  options: object = {},
): Promise<Uint8Array> {
  await encoder.init(new WebAssembly.Module(readFileSync(wasmPath)));
  const data = new Uint8ClampedArray(width * height * 4);
  for (let i = 0; i < width * height; i++) data.set(colour(i % width, Math.floor(i / width)), i * 4);
  return new Uint8Array(await encoder.default({ data, width, height }, { quality: 95, ...options }));
}
