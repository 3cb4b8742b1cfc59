import { PNG } from 'pngjs';
import type { Image } from './image.ts';

/** An image as a PNG file, gray or RGB as it is. */
export function encodePng({ pixels, width, height, channels }: Image): Buffer {
  const png = new PNG({ width, height });
  for (let at = 0; at < width * height; at++) {
    const pixel = pixels.subarray(at * channels, (at + 1) * channels);
    png.data.set(channels === 3 ? pixel : [pixel[0]!, pixel[0]!, pixel[0]!], at * 4);
    png.data[at * 4 + 3] = 255;
  }
  return PNG.sync.write(png, { colorType: channels === 3 ? 2 : 0, inputHasAlpha: true });
}
