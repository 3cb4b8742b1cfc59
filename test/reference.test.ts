import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { gradient } from './check.ts';
import { fixture } from './fixtures/vgg.ts';
import { scaled } from './fixtures/weights.ts';
import type { Values } from './reference.ts';
import * as ref from './reference.ts';

/** One operation with its inputs' shapes and PyTorch's f64 results; made by fixtures/reference.py, which says how. */
interface Pinned {
  op: string;
  inputs: [shape: number[], centre: number, spread: number][];
  args?: unknown[];
  shape: number[];
  y: number[];
  gradients: (number[] | null)[];
  runningMean?: number[];
  runningVar?: number[];
}

const { cases } = fixture<{ cases: Pinned[] }>('reference.json');

const DY = 99;

type Operation = (...args: unknown[]) => Values;
const operations: Record<string, Operation> = {
  ...(ref as unknown as Record<string, Operation>),
  batchNorm: (...args) => (ref.batchNorm as (...args: unknown[]) => ref.BatchNormResult)(...args).y,
  concat: (...args) => ref.concat(args.slice(0, -1) as Values[], args.at(-1) as number),
};
const call = ({ op, args = [] }: Pinned, inputs: readonly Values[]): Values => operations[op]!(...inputs, ...args);

const inputsOf = ({ inputs }: Pinned, seed: number): Values[] =>
  inputs.map(([shape, centre, spread], t) => ref.values(shape, scaled(seed, t, ref.sizeOf(shape), centre, spread)));

/** Relative to the largest element: both sides are f64, and only the order of their sums differs. */
function agrees(what: string, got: ArrayLike<number>, want: readonly number[], tolerance: number): void {
  assert.is(got.length, want.length, `${what}: ${got.length} elements, want ${want.length}`);
  const largest = Math.max(1, ...want.map(Math.abs));
  want.forEach((value, i) => {
    const error = Math.abs(got[i]! - value) / largest;
    assert.ok(error <= tolerance, `${what}[${i}]: got ${got[i]}, want ${value}`);
  });
}

cases.forEach((pinned, i) => {
  const inputs = inputsOf(pinned, i + 1);
  const title = `${pinned.op}(${pinned.inputs.map(([shape]) => `[${shape}]`)}) ${JSON.stringify(pinned.args ?? [])}`;

  test(`${title} is PyTorch's, by value and gradient`, () => {
    const y = call(pinned, inputs);
    assert.equal(y.shape, pinned.shape);
    agrees('y', y.data, pinned.y, 1e-12);

    const dy = ref.values(y.shape, scaled(i + 1, DY, y.data.length));
    pinned.gradients.forEach((want, which) => {
      if (!want) return;
      const got = gradient((moved) => call(pinned, moved), inputs, which, dy);
      // Both of the difference quotient's errors are about 1e-11 times the size of what it differences.
      agrees(
        `gradient ${which}`,
        got.map(({ slope }) => slope),
        want,
        1e-9,
      );
    });
  });

  if (pinned.runningMean) {
    test(`${title} moves the running statistics as PyTorch`, () => {
      const [x, gamma, beta, mean, variance] = inputs as [Values, Values, Values, Values, Values];
      const options = pinned.args![0] as ref.BatchNormOptions;
      const { runningMean, runningVar } = ref.batchNorm(x, gamma, beta, mean, variance, options);
      agrees('runningMean', runningMean.data, pinned.runningMean!, 1e-12);
      agrees('runningVar', runningVar.data, pinned.runningVar!, 1e-12);
    });
  }
});

test('every operation of the oracle is pinned', () => {
  const helpers = new Set(
    'values sizeOf stridesOf coordinates map normaliseAxes pair nhwc sigmoidOf broadcastShape broadcastTo channelMoments logSumExp'.split(
      ' ',
    ),
  );
  const optimizers = new Set(['slot', 'sgd', 'adam', 'adamw', 'oneCycle']);
  const pinned = new Set(cases.map(({ op }) => op));
  const missing = Object.keys(ref).filter((name) => !pinned.has(name) && !helpers.has(name) && !optimizers.has(name));
  assert.equal(missing, []);
});

test.run();
