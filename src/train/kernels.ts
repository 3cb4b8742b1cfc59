import { debug } from '../gpu/debug.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { planOf } from '../ops/matrix/plan.ts';
import { type PrepareOptions, prepare } from '../ops/matrix/prepare.ts';
import { keepKernels, readKernels } from './kernelcache.ts';

/**
 * Finds the kernels for what `body` computes (see `prepare`): with `tune` the fastest, which are remembered on this machine for
 * each adapter and driver, else the usual ones. `limits` end it earlier, with what it has found. Returns the problems that were met and lines that are worth saying.
 */
export async function prepareKernels(
  gpu: Gpu,
  body: () => unknown,
  tune: boolean,
  limits: Pick<PrepareOptions, 'totalMs' | 'interrupted'> = {},
): Promise<{ problems: readonly string[]; lines: string[] }> {
  const { fingerprint } = gpu.adapter;
  const { winners, verified } = readKernels(fingerprint);
  const { problems, checked, timed, elapsedMs, warnings } = await prepare(gpu, body, {
    verified,
    ...limits,
    ...(tune && { winners }),
  });
  const lines = [...warnings];
  if (timed > 0)
    lines.push(`Tuned ${timed} of ${problems.length} matrix kernels in ${(elapsedMs / 1000).toFixed(1)} s.`);
  const unkept = checked + timed > 0 && keepKernels(fingerprint, { winners, verified });
  if (unkept) lines.push(unkept);
  debug(1, () => ['kernels:', ...[...planOf(gpu).used()].map((choice) => `  ${choice.join(': ')}`)].join('\n'));
  return { problems, lines };
}
