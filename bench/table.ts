import { counted, inPercent } from '../src/core/words.ts';
import type { Ceilings } from './ceilings.ts';
import type { HostResult } from './host.ts';
import { type BenchResult, type CaseResult, timesOf, type WrongCase } from './result.ts';
import type { StepResult } from './step.ts';

// Everything fits into 80 columns.

/** A number with three digits that count: 1234, 123, 12.3, 1.23, 0.123. */
export function digits(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value >= 1 ? value.toFixed(2) : value.toFixed(3);
}

const sizeOf = (bytes: number): string => (bytes >= 2 ** 20 ? `${bytes / 2 ** 20} MiB` : `${bytes / 2 ** 10} KiB`);
const field = (label: string, text: string): string => `  ${label.padEnd(14)}${text}`;

/** A warning where other programs take the cores that a software adapter computes on. */
export const busyLines = ({ cores, load }: BenchResult['machine']): string[] =>
  load < cores / 2
    ? []
    : [`The machine is busy (load ${load.toFixed(1)} on ${cores} cores): expect slow and uneven times.`];

export function ceilingLines({ gflops, gflopsBy, gbps, gbpsBy, copies, dispatch }: Ceilings): string[] {
  const bySize = copies.map((copy) => `${digits(copy.gbps)} at ${sizeOf(copy.bytes)}`);
  const lines = bySize.flatMap((_, i) => (i % 3 === 0 ? [bySize.slice(i, i + 3).join(', ')] : []));
  return [
    'Ceilings of this adapter, as measured',
    field('multiply-add', `${digits(gflops)} GFLOP/s (${gflopsBy})`),
    field('copy', `${digits(gbps)} GB/s (${gbpsBy})`),
    ...lines.map((line, i) => field(i === 0 ? 'by bytes' : '', line)),
    field('dispatch', `${digits(1000 * dispatch.ms)} µs with nothing to do, ${digits(1000 * dispatch.bestMs)} at best`),
  ];
}

export function stepLines(step: StepResult): string[] {
  const total = step.kernels.reduce((sum, { ms }) => sum + ms, 0);
  const parts = step.kernels.slice(0, 8).map(({ name, calls, ms }) => {
    const time = `${digits(ms).padStart(7)} ms ${inPercent(ms / total, 0).padStart(5)} ${`${calls}×`.padStart(4)}`;
    return `${time}  ${name}`;
  });
  return [
    `Training step: ${step.name}, ${counted(step.parameters, 'parameter')}`,
    field(
      'training',
      `${digits(step.imagesPerSecond)} images/s, ${digits(step.msPerImage)} ms an image${noise(step.spread)}`,
    ),
    field(
      'evaluation',
      `${digits(step.evaluationMsPerImage)} ms an image, ${digits(step.evaluationShare)} of training`,
    ),
    field('first step', `${digits(step.firstMs)} ms, with compilation and any tuning`),
    field('GPU memory', `${digits(step.peakGpuBytes / 1e6)} MB at most`),
    field('a step', `${digits(step.ms)} ms, ${step.dispatches} dispatches in ${counted(step.submits, 'submit')}`),
    ...parts.map((line, i) => field(i === 0 ? 'kernels' : '', line)),
    ...(step.wrong ? [`  WRONG: ${step.wrong}`] : []),
  ];
}

function row(name: string, shape: string, ms: string, rate: string, share: string): string {
  const what = `${name.padEnd(23)}${shape.padEnd(19)}`;
  // A long shape takes of the space before the time.
  return `${what}${ms.padStart(50 - what.length)}${rate.padStart(14)}${share.padStart(7)}`;
}

export const caseHead = (): string => row('Kernel', 'shape', 'ms', 'rate', 'share');

export function caseLine(result: CaseResult | WrongCase): string {
  const { name, shape } = result;
  if ('wrong' in result) return `${name.padEnd(23)}${shape}\n  WRONG, not timed: ${result.wrong}`;
  const { ms, gflops, gbps, share, spread } = result;
  const rate = gflops === undefined ? `${digits(gbps ?? 0)} GB/s   ` : `${digits(gflops)} GFLOP/s`;
  return row(name, shape, digits(ms), rate, inPercent(share, 0)) + noise(spread);
}

/** Which variant of the matrix kernels took which cases, where not all took the same. */
export function variantLines(results: readonly (CaseResult | WrongCase)[]): string[] {
  const byVariant = new Map<string, string[]>();
  for (const result of results) {
    if (!('variant' in result) || result.variant === undefined) continue;
    byVariant.set(result.variant, [...(byVariant.get(result.variant) ?? []), result.name]);
  }
  if (byVariant.size < 2) return [];
  return ['Kernels', ...[...byVariant].flatMap(([variant, names]) => wrapped(variant, names))];
}

/** A label and names behind it, in lines of at most 80 columns. */
function wrapped(label: string, names: readonly string[]): string[] {
  const lines = [`  ${label}:`];
  for (const [i, name] of names.entries()) {
    const text = i < names.length - 1 ? `${name},` : name;
    const line = lines.at(-1)!;
    if (line.length + 1 + text.length <= 80) lines[lines.length - 1] = `${line} ${text}`;
    else lines.push(`    ${text}`);
  }
  return lines;
}

export const caseFoot = (): string => 'share: the least time that arithmetic and bytes take at the ceilings ÷ the time';

export function hostLines(host: HostResult): string[] {
  const line = (ms: number, us: number) => `${digits(ms)} ms for ${host.dispatches} dispatches, ${digits(us)} µs each`;
  return [
    'Host, on the null backend',
    field('a step', line(host.msPerStep, host.usPerDispatch)),
    field('repeated', `${line(host.msPerRepeatedStep, host.usPerRepeatedDispatch)}, as in training`),
  ];
}

/** Old and new times of what both runs measured at the same shape. */
export function comparisonLines(before: BenchResult, now: BenchResult, path: string): string[] {
  const lines = [`Against ${path} of ${before.date.slice(0, 10)}: times in ms, and how many times faster`];
  if (before.adapter.fingerprint !== now.adapter.fingerprint) lines.push(`  that was on ${before.adapter.fingerprint}`);
  const old = timesOf(before);
  let compared = 0;
  for (const [name, { shape, ms }] of timesOf(now)) {
    const was = old.get(name);
    if (!was) continue;
    const times = `${name.padEnd(23)}${digits(was.ms).padStart(10)} → ${digits(ms).padStart(8)}   `;
    if (was.shape === shape) lines.push(`${times}${digits(was.ms / ms)}×`);
    else lines.push(`${times}not the same:`, `  ${was.shape}`);
    compared++;
  }
  if (compared === 0) lines.push('  nothing was measured by both');
  return lines;
}

/** Said where repetitions differ so much that small differences mean nothing. */
const noise = (spread: number): string => (spread >= 0.1 ? ` ±${inPercent(spread, 0)}` : '');
