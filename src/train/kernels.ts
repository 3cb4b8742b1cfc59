import { debug } from '../gpu/debug.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { planOf } from '../ops/matrix/plan.ts';
import { type PrepareOptions, prepare } from '../ops/matrix/prepare.ts';
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
  const { fingerprint } = gpu.adapter;
  const { winners, verified } = readKernels(fingerprint);
  const { problems, checked, timed, elapsedMs, warnings } = await prepare(gpu, body, {
    verified,
    ...limits,
    ...(kernels !== 'usual' && { winners }),
    ...(kernels === 'remembered' && { totalMs: 0 }),
  });
  const lines = [...warnings];
  if (timed > 0)
    lines.push(`Tuned ${timed} of ${problems.length} matrix kernels in ${(elapsedMs / 1000).toFixed(1)} s.`);
  const unkept = checked + timed > 0 && keepKernels(fingerprint, { winners, verified });
  if (unkept) lines.push(unkept);
  debug(1, () => ['kernels:', ...[...planOf(gpu).used()].map((choice) => `  ${choice.join(': ')}`)].join('\n'));
  return { problems, lines };
}
