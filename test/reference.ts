/**
 * The oracle: every operation of the engine in plain f64, forward only, channels last, same names and argument order.
 *
 * It is written to be read, not to be fast: one loop nest per definition. It is itself pinned by numbers from PyTorch
 * (`reference.test.ts`). Gradients are central differences of these functions (`gradient` in `check.ts`); the sums over
 * absolute values that the tolerances need are these functions, run on absolute values.
 */
export * from './reference/conv.ts';
export * from './reference/layout.ts';
export * from './reference/norm.ts';
export * from './reference/optim.ts';
export * from './reference/pointwise.ts';
export * from './reference/pool.ts';
export * from './reference/reduce.ts';
export * from './reference/softmax.ts';
export * from './reference/values.ts';
