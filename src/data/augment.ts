import { ConfigError } from '../core/errors.ts';
import { kernel } from '../core/kernel.ts';
import { nextDraw, stepStorage } from '../core/stepbuffer.ts';
import { Tensor } from '../core/tensor.ts';

/**
 * What of a stored image the input shows where nothing is drawn, which is also what augmentation starts from.
 *
 * - whole: all of it, resized by areas (pixel centres lie at (i + ½)·scale − ½: PyTorch's align_corners=False)
 * - corners: all of it, resized so that the centres of the corner pixels stay where they are (align_corners=True)
 * - centre: five sixths of the side from the middle
 */
export type Framing = 'whole' | 'corners' | 'centre';

/** Nothing is drawn. */
interface Plain {
  draw: 'none';
}

/** Half of the images are mirrored; all are shifted by up to `shift` of the side, into their own mirror image. */
interface Shift {
  draw: 'shift';
  shift: number;
}

/** fast.ai's aug_transforms; `zoom` is the largest, `lighting`, `warp` and the probabilities are as there. */
interface AugTransforms {
  draw: 'fastai';
  rotateRad: number;
  zoom: number;
  warp: number;
  lighting: number;
  pAffine: number;
  pLighting: number;
}

/** What Khaireddin and Chen do; areas are shares of the image's, ratios are sides by sides. */
interface KhaireddinChen {
  draw: 'fer';
  area: readonly [number, number];
  ratio: number;
  shift: number;
  rotateRad: number;
  erasedArea: readonly [number, number];
  erasedRatio: readonly [number, number];
}

/** What training images go through, drawn anew each time. */
export type Augmentation = { framing: Framing } & (Plain | Shift | AugTransforms | KhaireddinChen);

const TEN_DEGREES = (10 * Math.PI) / 180;

/** Augmentations by the names of `--augment`. */
export const AUGMENTATIONS = {
  none: { draw: 'none', framing: 'whole' },
  flip: { draw: 'shift', framing: 'whole', shift: 0 },
  crop: { draw: 'shift', framing: 'whole', shift: 1 / 12 },
  fer: {
    ...{ draw: 'fer', framing: 'centre' },
    ...{ area: [0.8, 1.2], ratio: 4 / 3, shift: 0.2, rotateRad: TEN_DEGREES },
    ...{ erasedArea: [0.02, 0.33], erasedRatio: [0.3, 3.3] },
  },
  fastai: {
    ...{ draw: 'fastai', framing: 'corners' },
    ...{ rotateRad: TEN_DEGREES, zoom: 1.1, warp: 0.2, lighting: 0.2, pAffine: 0.75, pLighting: 0.75 },
  },
} as const satisfies Readonly<Record<string, Augmentation>>;

export type AugmentationName = keyof typeof AUGMENTATIONS;

/** Throws ConfigError for a name that there is not. */
export function augmentationNamed(name: string): Augmentation {
  const names = Object.keys(AUGMENTATIONS);
  if (names.includes(name)) return AUGMENTATIONS[name as AugmentationName];
  throw new ConfigError(`unknown augmentation '${name}'; there are ${names.join(', ')}.`);
}

/** Where an output pixel comes from, the same for all images: stored column = scaleX·column + offsetX, and so for rows. */
export interface Frame {
  scaleX: number;
  offsetX: number;
  scaleY: number;
  offsetY: number;
}

/** The share of the side that `centre` shows: 40 of 48 pixels. */
const windowOf = (side: number): number => Math.max(1, Math.round((5 / 6) * side));

/** Side of the input for images of a stored side, where nobody asks for another: as many pixels as are shown. */
export const inputSide = ({ framing }: Augmentation, storedSide: number): number =>
  framing === 'centre' ? windowOf(storedSide) : storedSide;

/** A window of the stored image, from its corner pixel on, as `size` output pixels a side. */
function windowFrame(window: number, left: number, top: number, size: number): Frame {
  const scale = window / size;
  const offset = 0.5 * scale - 0.5;
  return { scaleX: scale, offsetX: left + offset, scaleY: scale, offsetY: top + offset };
}

/** The square of a stored image that is shown: its first row and column, and its side. */
export function shownSquare(framing: Framing, side: number): { first: number; window: number } {
  const window = framing === 'centre' ? windowOf(side) : side;
  return { first: Math.floor((side - window) / 2), window };
}

/** The frame that shows a stored image of `side` pixels as `size`. */
export function frameOf(framing: Framing, side: number, size: number): Frame {
  if (framing === 'corners') {
    const scale = (side - 1) / Math.max(1, size - 1);
    return { scaleX: scale, offsetX: 0, scaleY: scale, offsetY: 0 };
  }
  const { first, window } = shownSquare(framing, side);
  return windowFrame(window, first, first, size);
}

/** What the frame shows, the other way round. */
const mirrored = (frame: Frame, size: number): Frame => ({
  ...frame,
  scaleX: -frame.scaleX,
  offsetX: frame.offsetX + (size - 1) * frame.scaleX,
});

/**
 * Ten frames: the four corners and the centre, and their mirror images. A crop has five sixths of the stored side, 40 of 48 pixels, at
 * whatever size the network takes it: what `fer` trains with. Source: torchvision's `TenCrop`.
 */
export function tenCrops(side: number, size: number): Frame[] {
  const window = windowOf(side);
  const far = side - window;
  const middle = Math.floor(far / 2);
  const corners = [
    [0, 0],
    [far, 0],
    [0, far],
    [far, far],
    [middle, middle],
  ] as const;
  const frames = corners.map(([left, top]) => windowFrame(window, left, top, size));
  return [...frames, ...frames.map((frame) => mirrored(frame, size))];
}

/** True where a frame leads to whole pixels. */
export const isExact = ({ scaleX, offsetX, scaleY, offsetY }: Frame): boolean =>
  Math.abs(scaleX) === 1 && scaleY === 1 && Number.isInteger(offsetX) && Number.isInteger(offsetY);

/** Numbers that `shaders/lib/view.wgsl` has for one image. */
export const VIEW_FLOATS = 20;

/** Draws that each kernel takes of a step's. */
const DRAWS = { shift: 1, fastai: 4, fer: 23 };

const kernels = {
  shift: kernel('views_shift', 'draw'),
  fastai: kernel('views_fastai', 'draw'),
  fer: kernel('views_fer', 'draw'),
};

/** Draws how each of `n` images is seen: [n, VIEW_FLOATS]; null where nothing is drawn. */
export function drawViews(augmentation: Augmentation, n: number, side: number, size: number): Tensor | null {
  if (augmentation.draw === 'none') return null;
  const views = Tensor.empty([n, VIEW_FLOATS]);
  const draws = Array.from({ length: DRAWS[augmentation.draw] }, () => nextDraw());
  const params = { n, draw: draws[0]!, side, ...amounts(augmentation, side, size) };
  kernels[augmentation.draw]({}, { step: stepStorage(), views }, params, n);
  return views;
}

function amounts(augmentation: Exclude<Augmentation, Plain>, side: number, size: number): Record<string, number> {
  if (augmentation.draw === 'shift') {
    const { scaleX: scale, offsetX: offset } = frameOf(augmentation.framing, side, size);
    return { scale, offset, shift: augmentation.shift };
  }
  if (augmentation.draw === 'fastai') {
    const { rotateRad: rotate, zoom, warp, lighting, pAffine, pLighting } = augmentation;
    return { size, rotate, zoom, warp, lighting, pAffine, pLighting };
  }
  const { area, ratio, shift, rotateRad: rotate, erasedArea, erasedRatio } = augmentation;
  return {
    ...{ size, window: windowOf(side), areaLow: area[0], areaHigh: area[1], ratio, shift, rotate },
    ...{ eraseLow: erasedArea[0], eraseHigh: erasedArea[1] },
    ...{ eraseRatioLow: erasedRatio[0], eraseRatioHigh: erasedRatio[1] },
  };
}

/** What `gather` must be able to do for an augmentation's views. */
export function abilities(augmentation: Augmentation, side: number, size: number): Record<string, boolean | number> {
  const { draw, framing } = augmentation;
  return {
    DRAWN: draw !== 'none',
    UPRIGHT: draw === 'none' || draw === 'shift',
    PROJECTIVE: draw === 'fastai',
    LIGHT: draw === 'fastai',
    CUT: draw === 'fer',
    NEAREST: draw === 'shift' && augmentation.shift === 0 && isExact(frameOf(framing, side, size)),
    PADDING: { whole: 1, corners: 2, centre: 0 }[framing],
  };
}
