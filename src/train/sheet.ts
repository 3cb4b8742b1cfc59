import { PNG } from 'pngjs';
import { ShapeError } from '../core/errors.ts';
import { encodePng, writePng } from '../data/encode.ts';
import { type Lettering, letter, letterWithin, lineHeight } from './font.ts';

/** A square image: side·side·channels bytes, row by row, channels last. */
export interface Picture {
  pixels: Uint8Array;
  side: number;
  channels: 1 | 3;
}

export type Rgb = readonly [number, number, number];

/** The colours of a sheet. `wrong` and `right` differ in lightness too. */
export const inks = {
  ground: [255, 255, 255],
  ink: [31, 41, 51],
  muted: [95, 107, 122],
  wrong: [181, 71, 0],
  right: [0, 96, 158],
} as const satisfies Readonly<Record<string, Rgb>>;

// In pixels. A dot of the font is 2 by 2, so a line of text is 18 high.
const dot = 2;
/** From one line of text to the next. */
export const lineStep = (lineHeight + 3) * dot;

/** A page of pictures with captions, for a PNG file. */
export class Sheet {
  private readonly png: PNG;

  constructor(width: number, height: number) {
    this.png = new PNG({ width, height, colorType: 2 });
    this.fill(0, 0, width, height, inks.ground);
  }

  /** A rectangle of one colour. */
  fill(left: number, top: number, width: number, height: number, [r, g, b]: Rgb): void {
    const { png } = this;
    const pixel = Buffer.from([r, g, b, 255]);
    for (let y = top; y < top + height; y++) {
      const start = (y * png.width + left) * 4;
      png.data.fill(pixel, start, start + 4 * width);
    }
  }

  /** A line of text, cut where it is wider than `room`. Returns its width. All in pixels. */
  text(text: string, left: number, top: number, room: number, colour: Rgb = inks.ink): number {
    const { rows, width }: Lettering = letterWithin(text, Math.floor(room / dot));
    for (const [y, row] of rows.entries()) {
      for (const [x, inked] of row.entries()) {
        if (inked) this.fill(left + x * dot, top + y * dot, dot, dot, colour);
      }
    }
    return width * dot;
  }

  /** A picture, scaled to `side`. */
  picture(picture: Picture, left: number, top: number, side: number): void {
    const { png } = this;
    const { pixels, channels } = resized(picture, side);
    for (let y = 0; y < side; y++) {
      for (let x = 0; x < side; x++) {
        const at = (y * side + x) * channels;
        for (let c = 0; c < 3; c++) {
          png.data[((top + y) * png.width + left + x) * 4 + c] = pixels[at + (channels === 3 ? c : 0)]!;
        }
      }
    }
  }

  /** The file. */
  encode(): Uint8Array {
    return writePng(this.png, 3);
  }
}

/** Width of a text in pixels. */
export const textWidth = (text: string): number => letter(text).width * dot;

/** One picture alone, in its own size, as a PNG file. Throws ShapeError where pixels are not side·side·channels. */
export function picturePng(picture: Picture): Uint8Array {
  checkPicture(picture);
  return encodePng({ ...picture, width: picture.side, height: picture.side });
}

/** A PNG file as the address of an image in a page. */
export const pngUrl = (file: Uint8Array): string => `data:image/png;base64,${Buffer.from(file).toString('base64')}`;

/** Throws ShapeError where pixels are not side·side·channels. */
export function checkPicture({ pixels, side, channels }: Picture): void {
  if (side >= 1 && pixels.length === side * side * channels) return;
  throw new ShapeError(`a picture has ${pixels.length} bytes, expected ${side}·${side}·${channels}.`);
}

/**
 * A picture in another size: each pixel is the mean of the source area that it covers, and small pictures are enlarged without
 * smoothing, so that their pixels can be seen as the network sees them.
 */
export function resized({ pixels, side: own, channels }: Picture, side: number): Picture {
  const covered = Array.from({ length: side }, (_, at) => {
    const from = Math.floor((at * own) / side);
    return { from, to: Math.max(from + 1, Math.floor(((at + 1) * own) / side)) };
  });
  const result = new Uint8Array(side * side * channels);
  for (const [y, rows] of covered.entries()) {
    for (const [x, columns] of covered.entries()) {
      const area = (rows.to - rows.from) * (columns.to - columns.from);
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        for (let row = rows.from; row < rows.to; row++) {
          for (let column = columns.from; column < columns.to; column++) {
            sum += pixels[(row * own + column) * channels + c]!;
          }
        }
        result[(y * side + x) * channels + c] = Math.round(sum / area);
      }
    }
  }
  return { pixels: result, side, channels };
}
