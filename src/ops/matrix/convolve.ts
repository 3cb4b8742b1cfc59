import type { Tensor } from '../../core/tensor.ts';
import { lanesDgrad, lanesForward, lanesWgrad } from './lanes.ts';
import { plainDgrad, plainForward, plainWgrad } from './plain.ts';
import { type ConvDgrad, type ConvForward, type ConvShape, type ConvWgrad, convKey } from './problem.ts';
import { tensorDgrads, tensorForwards, tensorWgrads } from './tensor.ts';
import { tileDgrads, tileForwards, tileWgrads } from './tile.ts';
import { compute, type Family } from './variant.ts';
import { winogradDgrads, winogradForwards, winogradWgrads } from './winograd.ts';

export const forwards: Family<ConvForward> = {
  name: 'conv2d forward',
  variants: [...tensorForwards, ...tileForwards, lanesForward, ...winogradForwards, plainForward],
  key: ({ shape, x }) => convKey(shape, x.dtype),
  result: ({ y }) => y,
  on: ({ x, w, bias, y, shape }, like) => ({ x: like(x), w: like(w), bias: bias && like(bias), y: like(y), shape }),
};

export const dgrads: Family<ConvDgrad> = {
  name: 'conv2d dgrad',
  variants: [...tensorDgrads, ...tileDgrads, lanesDgrad, ...winogradDgrads, plainDgrad],
  key: ({ shape, dy }) => convKey(shape, dy.dtype),
  result: ({ dx }) => dx,
  on: ({ dy, w, dx, shape }, like) => ({ dy: like(dy), w: like(w), dx: like(dx), shape }),
};

export const wgrads: Family<ConvWgrad> = {
  name: 'conv2d wgrad',
  variants: [...tensorWgrads, ...tileWgrads, lanesWgrad, ...winogradWgrads, plainWgrad],
  key: ({ shape, x }) => convKey(shape, x.dtype),
  result: ({ dw }) => dw,
  on: ({ x, dy, dw, shape }, like) => ({ x: like(x), dy: like(dy), dw: like(dw), shape }),
};

/** y = x ⋆ w (+ bias). No tape. */
export const convForward = (x: Tensor, w: Tensor, bias: Tensor | null, y: Tensor, shape: ConvShape): void =>
  compute(forwards, { x, w, bias, y, shape });

/** dx from dy and w. No tape. */
export const convDgrad = (dy: Tensor, w: Tensor, dx: Tensor, shape: ConvShape): void =>
  compute(dgrads, { dy, w, dx, shape });

/** dw from x and dy. No tape. */
export const convWgrad = (x: Tensor, dy: Tensor, dw: Tensor, shape: ConvShape): void =>
  compute(wgrads, { x, dy, dw, shape });
