import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ConfigError } from '../src/core/errors.ts';
import * as optim from '../src/optim/index.ts';
import { fixture } from './fixtures/vgg.ts';

interface OneCycle {
  options: {
    epochs: number;
    stepsPerEpoch: number;
    lrMax: number;
    div: number;
    divFinal: number;
    pctStart: number;
    moms: [number, number, number];
  };
  lr: number[];
  momentum: number[];
}

interface Series {
  lr0: number;
  options: Record<string, number>;
  metrics?: number[];
  lr: number[];
}

const schedules = fixture<{ oneCycle: OneCycle[]; cosine: Series[]; step: Series[]; plateau: Series[] }>(
  'schedules.json',
);

function near(got: readonly number[], want: readonly number[], tolerance = 1e-15): void {
  assert.is(got.length, want.length);
  for (const [i, value] of want.entries()) {
    assert.ok(Math.abs(got[i]! - value) <= tolerance, `[${i}]: got ${got[i]}, want ${value}`);
  }
}

for (const { options, lr, momentum } of schedules.oneCycle) {
  const { epochs, stepsPerEpoch, lrMax, div, divFinal, pctStart, moms: momentums } = options;
  test(`one cycle over ${epochs} × ${stepsPerEpoch} steps is fast.ai's`, () => {
    const schedule = optim.oneCycle(lrMax, { div, divFinal, pctStart, momentums });
    const rates = lr.map((_, step) => schedule(step, epochs * stepsPerEpoch));
    near(
      rates.map((rate) => rate.lr),
      lr,
    );
    near(
      rates.map((rate) => rate.momentum),
      momentum,
    );
  });
}

test("one cycle's defaults are fast.ai's", () => {
  const { options, lr, momentum } = schedules.oneCycle[0]!;
  const schedule = optim.oneCycle(options.lrMax);
  near([schedule(3, lr.length).lr, schedule(3, lr.length).momentum], [lr[3]!, momentum[3]!]);
});

test('one cycle begins at its peak where nothing is the way up, and ends there where all of it is', () => {
  const momentums = [0.9, 0.8, 0.7] as const;
  const rates = (pctStart: number) =>
    [0, 10].map((step) => optim.oneCycle(1, { divFinal: 10, pctStart, momentums })(step, 10));
  const [start, end] = rates(0);
  near([start!.lr, start!.momentum, end!.lr, end!.momentum], [1, 0.8, 0.1, 0.7]);
  const [low, top] = rates(1);
  near([low!.lr, low!.momentum, top!.lr, top!.momentum], [1 / 25, 0.9, 1, 0.8]);
});

test("cosine is PyTorch's CosineAnnealingLR", () => {
  const { lr0, options, lr } = schedules.cosine[0]!;
  const schedule = optim.cosine(lr0, 0.9);
  near(
    lr.map((_, step) => schedule(step, options.T_max!).lr),
    lr,
    1e-14,
  );
  assert.is(schedule(5, 12).momentum, 0.9);
});

test("stepDecay is PyTorch's StepLR", () => {
  const { lr0, options, lr } = schedules.step[0]!;
  const schedule = optim.stepDecay(lr0, 0.9, options.step_size!, options.gamma!);
  near(
    lr.map((_, step) => schedule(step, lr.length).lr),
    lr,
  );
});

test("a plateau is PyTorch's ReduceLROnPlateau", () => {
  const { lr0, options, metrics, lr } = schedules.plateau[0]!;
  const { factor, patience, threshold } = options as Record<'factor' | 'patience' | 'threshold', number>;
  const plateau = new optim.Plateau({ factor, patience, threshold });
  const got = metrics!.map((metric) => {
    const rate = lr0 * plateau.state.factor;
    plateau.next(metric);
    return rate;
  });
  near(got, lr);
  assert.ok(lr.at(-1)! < lr0);
});

test('a plateau takes no NaN for its best, as PyTorch does not', () => {
  const plateau = new optim.Plateau({ factor: 0.5, patience: 1 });
  const factors = [Number.NaN, 0.5, 0.25, 0.25, Number.NaN, 0.75, Number.NaN, Number.NaN].map((metric) => {
    plateau.next(metric);
    return plateau.state.factor;
  });
  assert.equal(factors, [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25]);
  assert.is(plateau.state.best, 0.75);
});

test('a plateau goes on from its state', () => {
  const { metrics } = schedules.plateau[0]!;
  const whole = new optim.Plateau({ patience: 2 });
  for (const metric of metrics!) whole.next(metric);
  for (const epochs of [0, 7]) {
    const first = new optim.Plateau({ patience: 2 });
    for (const metric of metrics!.slice(0, epochs)) first.next(metric);
    const second = new optim.Plateau({ patience: 2 });
    second.state = JSON.parse(JSON.stringify(first.state)) as optim.PlateauState;
    assert.equal(second.state, first.state);
    for (const metric of metrics!.slice(epochs)) second.next(metric);
    assert.equal(second.state, whole.state);
  }
});

test('a warm-up rises evenly to the schedule and leaves it alone from then on', () => {
  const schedule = optim.warmUp(optim.constantRate(0.8, 0.9), 4);
  near(
    [0, 1, 2, 3, 4, 9].map((step) => schedule(step, 10).lr),
    [0.2, 0.4, 0.6, 0.8, 0.8, 0.8],
  );
  const fractional = optim.warmUp(optim.constantRate(0.8, 0.9), 2.5);
  near(
    [0, 1, 2, 3].map((step) => fractional(step, 10).lr),
    [0.32, 0.64, 0.8, 0.8],
  );
  const cosine = optim.cosine(1, 0);
  assert.equal(optim.warmUp(cosine, 3)(7, 10), cosine(7, 10));
  const layers = optim.warmUp(
    optim.perLayer([0.25, 0.5], (lr) => optim.constantRate(lr, 0.9)),
    4,
  );
  assert.equal(
    [layers(1, 10).layerLrs, layers(4, 10).layerLrs],
    [
      [0.125, 0.25],
      [0.25, 0.5],
    ],
  );
});

test('beyond the last step the rates stay what they are at its end', () => {
  for (const schedule of [optim.oneCycle(0.1), optim.cosine(0.1, 0.9)])
    assert.equal(schedule(150, 100), schedule(100, 100));
  assert.ok(Math.abs(optim.oneCycle(0.1)(101, 100).lr - 1e-6) < 1e-12);
});

test('schedules refuse numbers that cannot be', () => {
  const refused: [act: () => unknown, message: RegExp][] = [
    [() => optim.oneCycle(Number.NaN), /^oneCycle: lr is NaN; it is a number \(0 or more\)\.$/],
    [() => optim.oneCycle(0.1, { div: 0 }), /^oneCycle: div is 0; it is a number \(above 0\)\.$/],
    [() => optim.oneCycle(0.1, { divFinal: -1 }), /^oneCycle: divFinal is -1; /],
    [() => optim.oneCycle(0.1, { pctStart: 2 }), /^oneCycle: pctStart is 2; it is a number \(0 to 1\)\.$/],
    [() => optim.oneCycle(0.1, { momentums: [0.9, 1, 0.9] }), /^oneCycle momentums: middle is 1; .*0 to below 1/],
    [() => optim.constantRate(-0.1, 0.9), /^constantRate: lr is -0\.1; /],
    [() => optim.cosine(0.1, Number.NaN), /^cosine: momentum is NaN; /],
    [() => optim.stepDecay(0.1, 0.9, 0), /^stepDecay: every is 0; /],
    [() => optim.stepDecay(0.1, 0.9, 5, -0.1), /^stepDecay: gamma is -0\.1; /],
    [() => optim.warmUp(optim.oneCycle(0.1), Number.NaN), /^warmUp: warmup is NaN; /],
    [() => new optim.Plateau({ factor: 1 }), /^Plateau: factor is 1; it is a number \(0 to below 1\)\.$/],
    [() => new optim.Plateau({ patience: 1.5 }), /^Plateau: patience is 1\.5; it is a whole number \(0 or more\)\.$/],
    [() => new optim.Plateau({ threshold: Number.POSITIVE_INFINITY }), /^Plateau: threshold is Infinity; /],
  ];
  for (const [act, message] of refused)
    assert.throws(act, (error: Error) => error instanceof ConfigError && message.test(error.message));
});

test.run();
