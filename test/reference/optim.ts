/** One parameter and what its optimizer remembers. Each step changes it in place. */
export interface Slot {
  parameter: Float64Array;
  first: Float64Array;
  second: Float64Array;
  steps: number;
}

export const slot = (parameter: ArrayLike<number>): Slot => ({
  parameter: Float64Array.from(parameter),
  first: new Float64Array(parameter.length),
  second: new Float64Array(parameter.length),
  steps: 0,
});

/**
 * One step of torch.optim.SGD, dampening 0.
 *
 *   g += wd·p;  v = momentum·v + g;  p −= lr·(nesterov ? g + momentum·v : v)
 */
export function sgd(
  s: Slot,
  gradient: ArrayLike<number>,
  { lr, momentum = 0, nesterov = false, weightDecay = 0 }: SgdOptions,
): void {
  s.steps++;
  for (let i = 0; i < s.parameter.length; i++) {
    const g = gradient[i]! + weightDecay * s.parameter[i]!;
    s.first[i] = momentum * s.first[i]! + g;
    s.parameter[i]! -= lr * (nesterov ? g + momentum * s.first[i]! : s.first[i]!);
  }
}

export interface SgdOptions {
  lr: number;
  momentum?: number;
  nesterov?: boolean;
  weightDecay?: number;
}

export interface AdamOptions {
  lr: number;
  betas?: readonly [number, number];
  eps?: number;
  weightDecay?: number;
}

function moveByMoments(s: Slot, i: number, g: number, lr: number, [beta1, beta2]: readonly number[], eps: number) {
  s.first[i] = beta1! * s.first[i]! + (1 - beta1!) * g;
  s.second[i] = beta2! * s.second[i]! + (1 - beta2!) * g * g;
  const m = s.first[i]! / (1 - beta1! ** s.steps);
  const v = s.second[i]! / (1 - beta2! ** s.steps);
  s.parameter[i]! -= (lr * m) / (Math.sqrt(v) + eps);
}

/** One step of torch.optim.Adam: weight decay is added to the gradient (L2), eps to √v̂. */
export function adam(
  s: Slot,
  gradient: ArrayLike<number>,
  { lr, betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0 }: AdamOptions,
): void {
  s.steps++;
  for (let i = 0; i < s.parameter.length; i++) {
    moveByMoments(s, i, gradient[i]! + weightDecay * s.parameter[i]!, lr, betas, eps);
  }
}

/** One step of torch.optim.AdamW: the parameter first shrinks by 1 − lr·wd, then moves as Adam's without decay. */
export function adamw(
  s: Slot,
  gradient: ArrayLike<number>,
  { lr, betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0.01 }: AdamOptions,
): void {
  s.steps++;
  for (let i = 0; i < s.parameter.length; i++) {
    s.parameter[i]! *= 1 - lr * weightDecay;
    moveByMoments(s, i, gradient[i]!, lr, betas, eps);
  }
}

export interface OneCycleOptions {
  lrMax: number;
  totalSteps: number;
  pctStart?: number;
  div?: number;
  divFinal?: number;
  moms?: readonly [number, number, number];
}

/**
 * Learning rate and momentum of fast.ai's `fit_one_cycle` before step number `step` (0 is the first).
 *
 * lr goes by a half cosine from lrMax/div to lrMax over the first `pctStart` of the steps, then to lrMax/divFinal at
 * `totalSteps`, which no step reaches; momentum goes through `moms` at the same places.
 */
export function oneCycle(
  step: number,
  { lrMax, totalSteps, pctStart = 0.25, div = 25, divFinal = 1e5, moms = [0.95, 0.85, 0.95] }: OneCycleOptions,
): { lr: number; momentum: number } {
  const position = step / totalSteps;
  const cosine = (from: number, to: number, at: number) =>
    from + ((1 + Math.cos(Math.PI * (1 - at))) * (to - from)) / 2;
  if (position < pctStart) {
    const at = position / pctStart;
    return { lr: cosine(lrMax / div, lrMax, at), momentum: cosine(moms[0], moms[1], at) };
  }
  const at = (position - pctStart) / (1 - pctStart);
  return { lr: cosine(lrMax, lrMax / divFinal, at), momentum: cosine(moms[1], moms[2], at) };
}
