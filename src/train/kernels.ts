import { UsageError } from '../core/errors.ts';
import { inStep, refuseAsync, rehearse } from '../core/step.ts';
import { sparingGradients } from '../core/tape.ts';
import type { Tensor } from '../core/tensor.ts';
import { debug } from '../gpu/debug.ts';
import { currentGpu, type Gpu } from '../gpu/gpu.ts';
import { planOf } from '../ops/matrix/plan.ts';
import { type PrepareOptions, prepare, RACES_MS } from '../ops/matrix/prepare.ts';
import { keepKernels, readKernels } from './kernelcache.ts';

/** The fastest on this adapter, found out now where no run before did; those that earlier runs found to be it; the usual ones. */
export type Kernels = 'fastest' | 'remembered' | 'usual';

/**
 * Settles which kernels do what `body` computes, and checks those that need it (see `prepare`). What is found out is remembered on
 * this machine for each adapter and driver. `limits` end it earlier, with what it has found. Returns the problems that were met and
 * lines that are worth saying.
 */
export async function prepareKernels(
  gpu: Gpu,
  body: () => unknown,
  kernels: Kernels,
  limits: Pick<PrepareOptions, 'totalMs' | 'interrupted'> = {},
): Promise<{ problems: readonly string[]; lines: string[] }> {
  // With bounds checks another kernel may be the fastest.
  const key = `${gpu.adapter.fingerprint} | ${gpu.adapter.flags} flags`;
  const { winners, verified } = readKernels(key);
  const { problems, checked, timed, elapsedMs, warnings } = await prepare(gpu, body, {
    verified,
    ...limits,
    ...(kernels !== 'usual' && { winners }),
    ...(kernels === 'remembered' && { totalMs: 0 }),
  });
  const lines = [...warnings];
  if (timed > 0)
    lines.push(`Tuned ${timed} of ${problems.length} matrix kernels in ${(elapsedMs / 1000).toFixed(1)} s.`);
  const unkept = checked + timed > 0 && keepKernels(key, { winners, verified });
  if (unkept) lines.push(unkept);
  debug(1, () => ['kernels:', ...[...planOf(gpu).used()].map((choice) => `  ${choice.join(': ')}`)].join('\n'));
  return { problems, lines };
}

/**
 * Time for races where they would delay the first step: on a software adapter each takes longer, and the usual kernel wins nearly
 * always. What has not raced by then does so in the next run.
 */
const SOFTWARE_RACES_MS = 4_000;
export const racesMs = ({ adapter }: Gpu): number => (adapter.software ? SOFTWARE_RACES_MS : RACES_MS);

/**
 * Finds the fastest kernels for a training loop of your own, as `npm run train` does for its. Call it once, before the first step:
 *
 *     await train.tune(() => {
 *       const { x, labels } = batches.take([]);
 *       return ops.crossEntropy(model.train().forward(x), labels);
 *     });
 *
 * `loss` is what a step goes back from. It and its gradient are gone through on the host alone: weights, gradients and random numbers
 * stay what they were. On hardware each kernel is held against a simple one before its first use. The first time on an adapter all
 * of it takes up to 15 s (4 s on a software adapter); what was found is remembered on this machine. Returns lines that are worth
 * saying: what was timed, and kernels that are wrong on this device; none where every shape has one kernel or is known.
 */
export async function tune(loss: () => Tensor): Promise<string[]> {
  if (inStep())
    throw new UsageError('tune: it goes through a step of its own; call it before the first one, not within.');
  const gpu = currentGpu();
  const { lines } = await prepareKernels(gpu, () => rehearseLoss(loss), 'fastest', { totalMs: racesMs(gpu) });
  return lines;
}

/** Goes through a loss and its gradient on the host alone, so that `prepareKernels` sees what they compute. */
export const rehearseLoss = (loss: () => Tensor): void =>
  rehearse(() =>
    sparingGradients(() => {
      const root = loss();
      refuseAsync('tune: the function', root);
      if (root.node && !root.node.backward)
        throw new UsageError('tune: the loss has gone back already; return it without calling backward().');
      root.backward();
    }),
  );
