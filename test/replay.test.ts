// Programs that a seed decides, run by `step` and by `repeated`: what they return, throw, train and leave is the same to the bit.
//
//   DAWNGRAD_TEST_SEED=7 DAWNGRAD_TEST_DRAWS=500 npm run test:only -- replay
//
// draws so many, each from a seed of its own: 7, 8, 9, … A failure names the seed; with it and one draw the program comes again. Where no
// number is given there are four, or a hundred in `npm run test:full`, and always the same.
import { test } from 'uvu';
import { addInto } from '../src/core/accumulate.ts';
import { Random } from '../src/core/random.ts';
import { repeated } from '../src/core/repeat.ts';
import { keep, rehearse, step } from '../src/core/step.ts';
import { setSeed, setStepCounter, stepCounter } from '../src/core/stepbuffer.ts';
import { noGrad } from '../src/core/tape.ts';
import { Tensor } from '../src/core/tensor.ts';
import { AUGMENTATIONS } from '../src/data/augment.ts';
import { Batches } from '../src/data/batches.ts';
import * as nn from '../src/nn/index.ts';
import * as ops from '../src/ops/index.ts';
import * as optim from '../src/optim/index.ts';
import { Draws, drawCount, SEED } from './draws.ts';
import { gpu, gpuTest } from './gpu.ts';

const DRAWS = drawCount(4, 100);
const HALF = gpu.adapter.features.has('shader-f16');
const [BATCH, SIDE, WIDTH, CLASSES] = [2, 6, 4, 3];

type Way = typeof repeated;

const eagerly: Way =
  (prepare, body) =>
  (...given) =>
    step(() => {
      prepare(...given);
      return body();
    });

/** Values between -1 and 1. */
const noise = (random: Random, count: number) => Float32Array.from({ length: count }, () => 2 * random.uniform() - 1);

class Residual extends nn.Module {
  readonly inner: nn.Module;
  readonly norm: nn.BatchNorm;

  constructor(inner: nn.Module) {
    super();
    this.inner = inner;
    this.norm = new nn.BatchNorm(WIDTH, { relu: true });
  }

  override children() {
    return [['inner', this.inner] as const, ['norm', this.norm] as const];
  }

  forward(x: Tensor): Tensor {
    return this.norm.forward(this.inner.forward(x), x);
  }
}

function drawNetwork(draws: Draws): nn.Sequential {
  const random = new Random(draws.whole(1, 99));
  const conv = (inChannels: number) =>
    new nn.Conv2d({ inChannels, outChannels: WIDTH, kernel: 3, padding: 1, bias: draws.chance(50) }, random);
  const layers: nn.Module[] = [conv(1)];
  if (draws.chance(50)) layers.push(new nn.BatchNorm(WIDTH, { relu: draws.chance(50) }));
  if (draws.chance(30)) layers.push(new Residual(conv(WIDTH)));
  const pools = [nn.maxPool2d({ kernel: 2 }), nn.avgPool2d({ kernel: 2 }), nn.adaptiveAvgPool2d(3)];
  layers.push(draws.one(pools));
  if (draws.chance(40)) layers.push(new nn.Dropout(0.5));
  layers.push(draws.one([nn.relu, nn.gelu])(), nn.flatten());
  layers.push(new nn.Linear({ inFeatures: (SIDE / 2) ** 2 * WIDTH, outFeatures: CLASSES }, random));
  return new nn.Sequential(layers);
}

/** All that a program works on. */
function drawWorld(draws: Draws) {
  const random = new Random(draws.whole(1, 99));
  setSeed(draws.whole(1, 9));
  const dtype = HALF && draws.chance(30) ? 'f16' : 'f32';
  const net = drawNetwork(draws);
  const pixels = Uint8Array.from({ length: 8 * SIDE * SIDE }, () => random.integer(256));
  const set = {
    pixels,
    labels: Uint8Array.from({ length: 8 }, (_, n) => n % CLASSES),
    count: 8,
    side: SIDE,
    channels: 1,
  };
  const augmentation = draws.one([AUGMENTATIONS.none, AUGMENTATIONS.crop, AUGMENTATIONS.fastai]);
  const mixup = draws.chance(20) ? 0.4 : 0;
  const batches = new Batches(set as never, { batch: BATCH, augmentation, dtype, mixup });
  const given = [0, 1].map(() => Tensor.from(noise(random, BATCH * SIDE * SIDE), [BATCH, SIDE, SIDE, 1], { dtype }));
  const labels = Tensor.from(Uint32Array.of(0, 2));
  const loose = Tensor.from(noise(random, CLASSES), [CLASSES], { requiresGrad: true });
  const total = Tensor.zeros([1]);
  const trap = Tensor.zeros([1]);
  const parameters = [...net.parameters().values(), loose];
  const trained = draws.chance(90) ? parameters : parameters.slice(0, -1);
  const halves = draws.chance(40) ? [trained.slice(0, 2), trained.slice(2)] : [trained];

  const drawOptimizer = (params: Tensor[]): optim.Optimizer => {
    const options = {
      ...(draws.chance(30) && { weightDecay: 0.1 }),
      ...(draws.chance(30) && { clip: draws.one([0.1, 10]) }),
      ...(draws.chance(30) && { ema: 0.9 }),
      ...(dtype === 'f16' && { lossScale: new optim.LossScale({ initial: draws.one([4, 1024]), growthInterval: 2 }) }),
    };
    const groups = draws.chance(30)
      ? [{ params: params.slice(0, 1), lrScale: 3 }, { params: params.slice(1) }]
      : params;
    const kind = draws.whole(0, 3);
    if (kind === 0) return new optim.Adam(groups, options);
    if (kind === 1) return new optim.AdamW(groups, options);
    return new optim.SGD(groups, { ...options, nesterov: kind === 2 });
  };
  const optimizers = halves.map(drawOptimizer);
  const replace = (i: number) => {
    optimizers[i] = drawOptimizer(halves[i]!);
  };
  return { net, batches, given, labels, loose, total, trap, parameters, optimizers, replace, dtype, draws };
}

type World = ReturnType<typeof drawWorld>;

/** What `prepare` is given, and has to do. */
interface Orders {
  inputs: { x: Tensor }[];
  indices: number[];
  rates: optim.StepValues;
  also: (() => void)[];
}

/** What a body has made so far. */
interface Scratch {
  x: Tensor;
  labels: Tensor;
  results: Record<string, unknown>;
}

type Part = (scratch: Scratch) => void;

/** A part that runs the network, and mostly its gradients. */
function drawPass({ draws, net, loose, optimizers, labels, given }: World): Part {
  const [square, smoothing, share] = [draws.chance(30), draws.chance(30) ? 0.1 : 0, draws.one([1, 0.5])];
  const [decays, recorded, backwards] = [draws.chance(20), draws.chance(85), draws.chance(90)];
  const [keeps, fixed] = [draws.chance(15), draws.chance(15)];
  const scaledBy = draws.whole(0, optimizers.length - 1);
  return (scratch) => {
    const forward = () => {
      const logits = ops.add(ops.cast(net.forward(fixed ? given[0]! : scratch.x), 'f32'), loose);
      if (keeps) scratch.results.kept = keep(ops.mul(logits, 2));
      scratch.results.logits = logits;
      const loss = square
        ? ops.mean(ops.square(logits))
        : ops.crossEntropy(logits, fixed ? labels : scratch.labels, { labelSmoothing: smoothing });
      return decays ? ops.add(loss, ops.sum(ops.square(loose))) : loss;
    };
    const loss = recorded ? forward() : noGrad(forward);
    scratch.results.loss = loss;
    if (recorded && backwards) loss.backward(optimizers[scaledBy]!.lossScale?.gradient(share));
  };
}

/** One of the less common things that a body may do. */
function drawOther(world: World): Part {
  const { draws, net, loose, total, trap, parameters, optimizers } = world;
  const p = draws.one(parameters);
  const i = draws.whole(0, optimizers.length - 1);
  const on = draws.chance(50);
  return draws.one<Part>([
    () => {
      if (trap.requiresGrad) throw new Error('the trap');
    },
    () => net.train(on),
    () => optimizers[i]!.zeroGrad(),
    () => {
      p.requiresGrad = on;
    },
    () => {
      loose.requiresGrad = !loose.requiresGrad;
    },
    ({ results }) => {
      results.gradient = ops.mul(p.grad ?? p, 2);
    },
    ({ results }) => {
      if (p.grad) addInto(total, ops.sum(p.grad));
      results.had = ops.add(total, 0);
    },
    ({ results: { loss } }) => {
      if (loss instanceof Tensor && loss.alive) addInto(total, loss);
    },
    () => total.fill(0.5),
    () => p.fill(0.25),
    () => p.write(ops.mul(p, 0.5)),
    () => {
      p.grad = null;
    },
    () => {
      p.grad = ops.mul(p, 0.5);
    },
    ({ x, results }) => {
      results.dropped = ops.dropout(x, 0.5, { training: true });
    },
    () => optimizers[i]!.clearState(),
    ({ results }) => {
      results.weights = p.detach();
    },
    () => ops.sum(ops.mul(loose, 2)).backward(optimizers[i]!.lossScale?.gradient()),
    () => loose.backward(loose),
  ]);
}

/** A body, and the half of `prepare` that belongs to it. */
function drawTraining(world: World, way: Way) {
  const { draws, net, batches, given, labels, loose, total, optimizers } = world;
  const gathers = draws.chance(50);
  const inputs = { x: given[0]! };
  const parts: Part[] = Array.from({ length: draws.one([1, 1, 1, 2, 0]) }, () => drawPass(world));
  const applied = optimizers.map(() => draws.chance(75));
  const ready = draws.chance(95);
  for (const [i, applies] of applied.entries()) if (applies) parts.push(() => optimizers[i]!.apply());
  for (let others = draws.one([0, 0, 1, 2]); others > 0; others--)
    parts.splice(draws.whole(0, parts.length), 0, drawOther(world));
  const form = draws.whole(0, 4);
  const prepare = ({ inputs: [first], indices, rates, also }: Orders) => {
    inputs.x = first!.x;
    if (gathers) batches.choose(indices);
    if (ready) for (const [i, applies] of applied.entries()) if (applies) optimizers[i]!.prepare(rates);
    for (const act of also) act();
  };
  const body = () => {
    const batch = gathers ? batches.gather() : { x: inputs.x, labels };
    const scratch: Scratch = { ...batch, results: {} };
    for (const part of parts) part(scratch);
    const { results } = scratch;
    for (const name in results) if (!(results[name] as Tensor).alive) delete results[name];
    if (form === 0) return;
    if (form === 1) return results.loss;
    if (form === 2) return [results.logits ?? total, { deep: [results.loss] }, 'text'];
    if (form === 3) return { ...results, loose, net, total: total.detach(), batch: scratch.x };
    return results;
  };
  return { repeats: way(prepare, body), steps: eagerly(prepare, body) };
}

const modesOf = (module: nn.Module): string =>
  `${Number(module.training)}${module
    .children()
    .map(([, child]) => modesOf(child))
    .join('')}`;

/** FNV-1a of the words. */
const digest = (words: Uint32Array) => words.reduce((hash, word) => Math.imul(hash ^ word, 16777619) >>> 0, 2166136261);

/** What a value is, of tensors the bits; all reads begin at once. */
async function describe(value: unknown, world: World): Promise<string> {
  if (value instanceof Tensor) {
    const { parameters, total } = world;
    const known = [...parameters, total].indexOf(value);
    return `${value}${known < 0 ? '' : ` #${known}`} ${digest(await value.readInts()).toString(16)}`;
  }
  if (value instanceof Error) return `${value.name}: ${value.message}`;
  if (typeof value !== 'object' || value === null || value instanceof nn.Module) return String(value?.constructor.name);
  const parts = Object.entries(value).map(async ([name, part]) => `${name} ${await describe(part, world)}`);
  return `{ ${(await Promise.all(parts)).join(', ')} }`;
}

/** What the host knows. */
const hostState = ({ net, parameters, optimizers }: World): string =>
  [
    `step ${stepCounter()}, modes ${modesOf(net)}`,
    `wanted ${parameters.map(({ requiresGrad }) => Number(requiresGrad)).join('')}`,
    `gradients ${parameters.map(({ grad }) => Number(grad !== null)).join('')}`,
    `updates ${optimizers.map(({ steps }) => steps)}`,
  ].join(', ');

/** All that is on the GPU. */
const gpuState = (world: World): Promise<string> => {
  const { net, parameters, total, optimizers } = world;
  const state = [...net.state()].map(([name, { tensor }]) => [name, tensor]);
  const gradients = parameters.flatMap(({ grad }, i) => (grad ? [[`gradient ${i}`, grad]] : []));
  const kept = optimizers.flatMap((optimizer, i) =>
    [
      ...optimizer.state().flat(),
      ...(optimizer.average?.tensors ?? []),
      ...(optimizer.lossScale ? [optimizer.lossScale.words] : []),
    ].map((tensor, n) => [`optimizer ${i}.${n}`, tensor]),
  );
  return describe(
    Object.fromEntries([...state, ...gradients, ...kept, ['loose', parameters.at(-1)!], ['total', total]]),
    world,
  );
};

/** What is done to the world between two calls, or in `prepare`. */
function drawChange(world: World, outside: boolean): [what: string, change: () => unknown] {
  const { draws, net, given, loose, total, trap, parameters, optimizers, dtype } = world;
  const n = draws.whole(0, parameters.length - 1);
  const p = parameters[n]!;
  const on = draws.chance(60);
  const i = draws.whole(0, optimizers.length - 1);
  const seed = draws.whole(0, 99);
  const layer = draws.one(net.layers);
  const want = (wanted: (q: Tensor) => boolean) => {
    for (const q of parameters) q.requiresGrad = wanted(q);
  };
  const anywhere: [string, () => unknown][] = [
    [`requiresGrad ${n} ${on}`, () => want((q) => (q === p ? on : q.requiresGrad))],
    [`freeze all but ${n}`, () => want((q) => q === p)],
    ['thaw all', () => want(() => true)],
    [`mode ${on}`, () => net.train(on)],
    [`a layer's mode ${on}`, () => layer.train(on)],
    [`seed ${seed}`, () => setSeed(seed)],
    [`counter ${seed}`, () => setStepCounter(seed)],
    [`fill ${n}`, () => p.fill(seed / 100)],
    [`write ${n}`, () => p.write(noise(new Random(seed), p.size))],
    ['write an input', () => given[0]!.write(noise(new Random(seed), given[0]!.size))],
    [`no gradient ${n}`, () => Object.assign(p, { grad: null })],
    [`a gradient ${n}`, () => Object.assign(p, { grad: Tensor.full(p.shape, 0.125) })],
    ['zeroGrad', () => optimizers[i]!.zeroGrad()],
    ['clearState', () => optimizers[i]!.clearState()],
    ['the trap is set', () => Object.assign(trap, { requiresGrad: true })],
    ['no trap', () => Object.assign(trap, { requiresGrad: false })],
    ['dropout', () => void ops.dropout(total, 0.5, { training: true })],
    ['a backward', () => ops.sum(ops.square(loose)).backward(optimizers[i]!.lossScale?.gradient())],
    ['memory', () => void [16, 64, 300, 1200].map((size) => Tensor.full([size], 7))],
  ];
  if (!outside) return draws.one(anywhere);
  const moment = () => new Promise((resolve) => setTimeout(resolve, 1));
  const forward = () => noGrad(() => net.forward(given[1]!));
  return draws.one([
    ...anywhere,
    ['another optimizer', () => world.replace(i)],
    ['trim', () => gpu.trim()],
    [
      'a collection',
      async () => {
        await moment();
        globalThis.gc?.();
        await moment();
      },
    ],
    ['evaluation', () => step(() => noGrad(() => net.eval().forward(given[1]!)))],
    ['a forward pass outside', forward],
    ['a rehearsal', () => rehearse(forward)],
    ['dropped outside', () => ops.dropout(given[0]!, 0.5, { training: true })],
    ['averages', () => optimizers[i]!.average?.during(() => step(forward))],
    ['the scale', () => optimizers[i]!.lossScale?.restore({ scale: 8, good: 0, updates: 3, skipped: 0 })],
    [`${dtype} gradients, unscaled`, () => void ops.sum(loose).backward()],
  ]);
}

async function outcome(run: () => unknown): Promise<unknown> {
  try {
    return await run();
  } catch (error) {
    return error;
  }
}

/** Runs the program that `seed` decides. Returns what it did and what came of it, line by line. */
async function play(seed: number, way: Way): Promise<string[]> {
  const draws = new Draws(seed);
  const world = drawWorld(draws);
  const { given } = world;
  const trainings = Array.from({ length: draws.one([1, 1, 1, 2, 3]) }, () => drawTraining(world, way));
  const log: (string | Promise<string>)[] = [];
  /** A graph that waits for its `backward` while other things happen. */
  let graph: { loss: Tensor } | null = null;
  let latest = 0;
  let input = 0;
  for (let call = draws.whole(10, 30); call > 0; call--) {
    if (draws.chance(15)) {
      const [what, change] = drawChange(world, true);
      log.push(`${what}: ${await describe(await outcome(change), world)}`);
    }
    if (draws.chance(5)) graph = { loss: ops.sum(ops.square(world.parameters[0]!)) };
    else if (graph && draws.chance(30)) {
      const { loss } = graph;
      log.push(`the graph: ${await describe(await outcome(() => loss.backward()), world)}`);
      graph = null;
    }
    if (draws.chance(20)) latest = draws.whole(0, trainings.length - 1);
    if (draws.chance(8)) input = 1 - input;
    const eager = draws.chance(8);
    const [what, act] = draws.chance(8) ? drawChange(world, false) : ['nothing', () => {}];
    const orders: Orders = {
      inputs: [{ x: given[input]! }],
      indices: [draws.whole(0, 7), draws.whole(0, 7)],
      rates: { lr: draws.one([0.1, 0.01]), momentum: draws.one([0, 0.5, 0.9]) },
      also: [() => void act()],
    };
    const { repeats, steps } = trainings[latest]!;
    const other = draws.chance(8) ? draws.whole(0, trainings.length - 1) : latest;
    const first = outcome(() => (eager ? steps : repeats)(orders));
    // Neither waits for the other.
    const running = other === latest ? first : Promise.all([first, outcome(() => trainings[other]!.repeats(orders))]);
    const seen = describe(await running, world);
    log.push(`${eager ? 'eager' : 'call'} ${latest} of input ${input}, ${what}`, draws.chance(80) ? await seen : seen);
    log.push(hostState(world));
    if (draws.chance(15)) log.push(await gpuState(world));
  }
  log.push(await gpuState(world));
  return Promise.all(log);
}

gpuTest(
  'drawn programs come to the same by repeated steps as by others',
  async () => {
    const wrong: string[] = [];
    for (let seed = SEED; seed < SEED + DRAWS; seed++) {
      const want = await play(seed, eagerly);
      const got = await play(seed, repeated);
      const at = want.findIndex((line, i) => line !== got[i]);
      if (at >= 0)
        wrong.push(
          `seed ${seed}, line ${at}:\n  ${want.slice(Math.max(0, at - 12), at).join('\n  ')}\n- ${want[at]}\n+ ${got[at]}`,
        );
    }
    if (wrong.length > 0) throw new Error(`${wrong.length} of ${DRAWS}:\n${wrong.slice(0, 5).join('\n')}`);
  },
  60_000 + 10_000 * DRAWS,
);

test.run();
