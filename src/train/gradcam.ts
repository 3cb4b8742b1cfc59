import { ShapeError } from '../core/errors.ts';
import { showShape } from '../core/shape.ts';
import { noGrad, release } from '../core/tape.ts';
import { Tensor } from '../core/tensor.ts';
import type { Network } from '../models/index.ts';
import * as nn from '../nn/index.ts';
import { equal } from '../ops/binary.ts';
import * as ops from '../ops/index.ts';

/**
 * The smallest maps that are looked at. The last ones say most about the class, but at 48 px those of VGG16 are 3×3 and those of
 * ResNet 2×2, which tells hardly more than left from right; five rows keep brow, eyes, nose, mouth and chin apart. At 160 px these are
 * the last maps of every network here.
 */
export const LEAST_MAPS = 5;

export interface GradCamOptions {
  /** For each image the class whose score is explained. Default: the predicted one. */
  classes?: readonly number[];
  /** Takes the last maps of at least so many rows and columns; 1 takes the last of all. Default: `LEAST_MAPS`. */
  least?: number;
}

export interface GradCam {
  /** [N, P, Q]: how much each place speaks for the class, 0 or more, in units of the score. */
  maps: Tensor;
  /** [N, classes] */
  logits: Tensor;
}

/**
 * Grad-CAM: where in the images a network sees a class.
 *
 *   α[n,k] = mean over p, q of ∂y[n,c]/∂A[n,p,q,k],  map[n,p,q] = relu(Σ_k α[n,k]·A[n,p,q,k])
 *
 * y[n,c] is image n's score (logit) of its class c, A [N,P,Q,K] the last maps of a resolution, after batch norm and ReLU and before
 * they are pooled; for ResNet the output of a stage. x [N,S,S,C] → maps [N,P,Q]. Puts the network in evaluation mode, so images do not
 * affect each other; gradients of its parameters are neither computed nor touched. Call it within a step. Where two classes tie for
 * the prediction, the map is that of the sum of their scores. Throws ShapeError for classes that do not fit. Source: Selvaraju et al.
 * 2017; the place of the maps is pytorch-grad-cam's, if they are the last ones.
 */
export function gradCam(model: Network, x: Tensor, { classes, least = LEAST_MAPS }: GradCamOptions = {}): GradCam {
  model.eval();
  const { maps, rest } = noGrad(() => mapsOf(model, x, least));
  const { logits, gradient } = withoutParameters(model, () => {
    maps.requiresGrad = true;
    const logits = new nn.Sequential(rest).forward(maps);
    logits.backward(noGrad(() => (classes ? oneHot(classes, logits) : predicted(logits))));
    return { logits, gradient: maps.grad! };
  });
  maps.requiresGrad = false;
  maps.grad = null;
  const weights = ops.mean(gradient, [1, 2], { keepDims: true });
  // It was kept for an optimizer.
  gradient.free('gradCam');
  return { maps: ops.relu(ops.sum(ops.mul(maps, weights), 3)), logits };
}

/** The last maps of at least `least` a side, or the first ones where none is that large, and the modules that follow. */
function mapsOf(model: Network, x: Tensor, least: number): { maps: Tensor; rest: nn.Module[] } {
  const parts = model.parts();
  let maps = x;
  for (const [i, part] of parts.slice(0, -1).entries()) {
    const next = new nn.Sequential(part).forward(maps);
    if (i > 0 && Math.min(next.shape[1]!, next.shape[2]!) < least) {
      release(next, 'gradCam');
      return { maps, rest: parts.slice(i).flat() };
    }
    if (i > 0) release(maps, 'gradCam');
    maps = next;
  }
  return { maps, rest: parts.at(-1)!.slice() };
}

/** Runs `fn` while nothing of the network asks for a gradient. */
function withoutParameters<T>(model: nn.Module, fn: () => T): T {
  const trained = [...model.parameters().values()].filter(({ requiresGrad }) => requiresGrad);
  for (const parameter of trained) parameter.requiresGrad = false;
  try {
    return fn();
  } finally {
    for (const parameter of trained) parameter.requiresGrad = true;
  }
}

/** 1 at the largest score of each image, else 0. */
const predicted = (logits: Tensor): Tensor => equal(logits, ops.max(logits, 1, { keepDims: true }));

function oneHot(classes: readonly number[], logits: Tensor): Tensor {
  const [n, count] = logits.shape as [number, number];
  if (classes.length !== n || classes.some((c) => !Number.isInteger(c) || c < 0 || c >= count)) {
    throw new ShapeError(
      `gradCam: classes are [${classes}]; it takes one of 0 to ${count - 1} for each row of ${showShape(logits.shape)}.`,
    );
  }
  const values = new Float32Array(n * count);
  for (const [i, c] of classes.entries()) values[i * count + c] = 1;
  return ops.cast(Tensor.from(values, [n, count]), logits.dtype === 'f16' ? 'f16' : 'f32');
}
